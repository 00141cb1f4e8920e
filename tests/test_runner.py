"""A result directory equals a float64 brute force, column by column, and says so in its manifest."""

import hashlib
import json
import re
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import duckdb
import jax
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from brute import Brute

from perflaw_jax.catalogue import find_law
from perflaw_jax.design import FIELDS, FLAGS
from perflaw_jax.job import header, make_problem
from perflaw_jax.manifest import HEADER_KEY
from perflaw_jax.runner import run_sweep
from perflaw_jax.spec import parse_spec
from perflaw_jax.verify import verify

# Hidden sizes in steps of 192: every other one is no multiple of head_dim. One limit cuts on each side of many candidates.
DENSE = {
    "name": "dense",
    "axes": {
        "num_hidden_layers": {"start": 8, "stop": 40, "step": 8},
        "hidden_size": {"start": 1024, "stop": 2560, "step": 192},
        "intermediate_size": {"ratio_to": "hidden_size", "values": [2.0, 3.5], "multiple_of": 256},
        "training_tokens": {"geometric": ["100B", "10T"], "num": 5},
    },
    "fixed": {"tie_word_embeddings": True},
    "limits": {
        "training_flops": {"accelerators": 256, "peak_flops": 1e15, "mfu": 0.4, "days": 6},
        "total_params": {"min": "400M"},
        "aspect_ratio": {"min": 40, "max": 250},
    },
    "output": {"top": 20, "frontier": ["training_flops", "kv_cache_bytes"]},
}
SPEND = {
    "name": "spend",
    "law": "performance-moe",
    "axes": {
        "num_hidden_layers": [8, 16, 24],
        "hidden_size": [1024, 2048],
        "num_experts": [4, 8, 16],
        "num_experts_per_tok": [1, 2, 8],
        "training_tokens": "spend",
    },
    "fixed": {"moe_intermediate_size": 1408, "shared_expert_intermediate_size": 1408},
    "limits": {"training_flops": 1e22, "total_params": "3B"},
    "output": {"top": 50, "frontier": ["total_params"], "rows": "feasible"},
}


def spec_of(base, **output):
    return parse_spec({**base, "output": {**base["output"], **output}})


class Result(NamedTuple):
    """A finished directory and what must be in it."""

    path: Path
    manifest: dict
    brute: Brute
    space: object

    def table(self, name) -> pa.Table:
        return pq.read_table(self.path / name)

    def rows(self) -> pa.Table:
        """All parts, in the order of their names."""
        return pa.concat_tables([pq.read_table(part) for part in sorted((self.path / "rows").glob("*.parquet"))])

    def expected(self, ids, real=np.float64) -> dict[str, np.ndarray]:
        """The usual columns of candidates, by brute force."""
        q, e = self.brute.quantities, self.brute.evaluation
        budget = self.manifest["spec"]["limits"]["training_flops"]["max"]
        columns = {"candidate_id": ids} | {name: q[name][ids] for name in FIELDS}
        columns |= {name: q[name][ids] for name in ("total_params", "active_params")}
        columns |= {"training_flops": q["training_flops"][ids].astype(real), "score": e.score[ids].astype(real)}
        return columns | {"budget_used": (q["training_flops"][ids] / budget).astype(real)}


def finish(base, path, **output) -> Result:
    spec = spec_of(base, **output)
    run_sweep(spec, path)
    problem = make_problem(spec, find_law(spec.law))
    return Result(path, json.loads((path / "manifest.json").read_text()), Brute(problem), problem.space)


@pytest.fixture(scope="module", params=["none", "feasible", "compact"])
def dense(request, tmp_path_factory) -> Result:
    return finish(DENSE, tmp_path_factory.mktemp(request.param) / "dense", rows=request.param)


@pytest.fixture(scope="module")
def spend(tmp_path_factory) -> Result:
    return finish(SPEND, tmp_path_factory.mktemp("spend") / "spend")


def check_columns(table: pa.Table, expected: dict[str, np.ndarray], *, score_rtol: float, budget_atol: float = 0.0):
    """Every column equals the brute force: counts and fields exactly, the score up to the order of its roundings."""
    assert table.column_names[: len(expected)] == list(expected)
    for name, values in expected.items():
        column = table[name]
        if name == "num_attention_heads":
            whole = values == np.floor(values)
            assert np.array_equal(column.is_valid().to_numpy(), whole)
            assert np.array_equal(column.drop_null().to_numpy(), values[whole])
        elif name == "score":
            np.testing.assert_allclose(column.to_numpy(), values, rtol=score_rtol)
        elif name == "extrapolation":
            np.testing.assert_allclose(column.to_numpy(), values, atol=2.0**-11)
        elif name == "budget_used":
            np.testing.assert_allclose(column.to_numpy(), values, rtol=1e-15, atol=budget_atol)
        else:
            assert np.array_equal(column.to_numpy(), values), name


def types(real: str, **extra: str) -> dict[str, str]:
    """The documented columns and types of candidates."""
    special = {"training_tokens": "double"} | dict.fromkeys(FLAGS, "bool")
    fields = {name: special.get(name, "int32") for name in FIELDS}
    counts = {"total_params": "int64", "active_params": "int64"}
    return {"candidate_id": "int64"} | fields | counts | dict.fromkeys(("training_flops", "score", "budget_used"), real) | extra


def test_the_brute_force_is_worth_comparing(dense, spend):
    for result in (dense, spend):
        assert 20 < result.brute.feasible.sum() < result.space.size
    assert {"possible_shape", "total_params"} == {name for name, n in spend.brute.cut.items() if n}
    assert all(n for name, n in dense.brute.cut.items() if name != "possible_shape")


def test_files_columns_and_types(dense):
    names = {file.relative_to(dense.path).as_posix() for file in dense.path.rglob("*.*")}
    kind = dense.manifest["spec"]["output"]["rows"]
    kept = {"manifest.json", "top.parquet", "frontier.parquet", "marginals.parquet"}
    digits = len(str(dense.space.size))
    parts = sorted(names - kept)
    spans = [
        tuple(map(int, re.fullmatch(rf"rows/part-(\d{{{digits}}})-(\d{{{digits}}})\.parquet", name).groups())) for name in parts
    ]
    assert bool(parts) == (kind != "none")
    assert all(begin < end for begin, end in spans) and all(a[1] <= b[0] for a, b in pairwise(spans))
    schemas = {name: {f.name: str(f.type) for f in pq.read_schema(dense.path / name)} for name in names - {"manifest.json"}}
    trust = {"extrapolation": "double", "extrapolated": "bool"}
    assert schemas.pop("top.parquet") == types("double", **trust)
    assert schemas.pop("frontier.parquet") == types("double", **trust, kv_cache_bytes="double")
    marginals = {"axis": "string", "value": "double", "score": "double", "candidate_id": "int64"}
    assert schemas.pop("marginals.parquet") == marginals
    compact = {"candidate_id": "int64", "score": "float"}
    full = types("float", extrapolation="float", extrapolated="bool")
    assert list(schemas.values()) == {"none": [], "feasible": [full], "compact": [compact]}[kind] * len(parts)


def test_duckdb_and_pandas_read_every_file_and_agree(dense):
    for file in dense.path.rglob("*.parquet"):
        by_pandas = pd.read_parquet(file)
        by_duckdb = duckdb.sql(f"select * from '{file}'").df()
        assert len(by_pandas) > 0
        pd.testing.assert_frame_equal(by_pandas, by_duckdb, check_dtype=False)


def test_top_is_the_brute_force(dense):
    check_columns(dense.table("top.parquet"), dense.expected(dense.brute.top(20)), score_rtol=1e-13)


def test_frontier_is_the_brute_force(dense):
    table = dense.table("frontier.parquet")
    ids = table["candidate_id"].to_numpy()
    assert sorted(ids) == dense.brute.frontier().tolist()
    assert (np.diff(table["score"].to_numpy()) <= 0).all() or (np.diff(table["training_flops"].to_numpy()) >= 0).all()
    check_columns(table, dense.expected(ids), score_rtol=1e-13)
    assert np.array_equal(table["kv_cache_bytes"].to_numpy(), dense.brute.quantities["kv_cache_bytes"][ids])


def test_marginals_are_the_brute_force(dense):
    table = dense.table("marginals.parquet").to_pydict()
    axes = dense.space.axes
    assert table["axis"] == [axis.field for axis in axes for _ in axis.values]
    assert table["value"] == [value for axis in axes for value in axis.values]
    best = np.concatenate(dense.brute.marginals())
    assert table["candidate_id"] == [None if i < 0 else i for i in best.tolist()]
    assert table["score"] == [None if i < 0 else pytest.approx(dense.brute.evaluation.score[i]) for i in best]


def test_rows_are_the_brute_force_in_order(dense):
    kind = dense.manifest["spec"]["output"]["rows"]
    ids = np.flatnonzero(dense.brute.feasible)
    if kind == "none":
        return
    rows, expected = dense.rows(), dense.expected(ids, np.float32)
    if kind == "compact":
        expected = {name: expected[name] for name in ("candidate_id", "score")}
    else:  # the law's published range is 5e8 to 1e12 parameters
        size = expected["total_params"]
        expected["extrapolation"] = np.log(np.maximum(1.0, np.maximum(5e8 / size, size / 1e12)))
        expected["extrapolated"] = expected["extrapolation"] > 0
    assert rows.column_names == list(expected)
    check_columns(rows, expected, score_rtol=1.2e-7, budget_atol=2.0**-18)
    if kind == "feasible":
        assert rows["budget_used"].to_numpy().max() <= 1
        assert 0 < rows["num_attention_heads"].null_count < len(rows)


def test_the_manifest_counts_what_the_brute_force_counts(dense, spend):
    for result in (dense, spend):
        assert result.manifest["complete"] is True
        counts = result.manifest["counts"]
        assert (counts["candidates"], counts["feasible"]) == (result.space.size, result.brute.feasible.sum())
        assert counts["cut_by_limit"] == result.brute.cut


def test_the_manifest_lists_every_file(dense):
    shards = {shard["path"]: shard for shard in dense.manifest["shards"]}
    assert sorted(shards) == sorted(file.relative_to(dense.path).as_posix() for file in dense.path.rglob("*.parquet"))
    for name, shard in shards.items():
        content = (dense.path / name).read_bytes()
        assert (shard["bytes"], shard["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
        assert shard["rows"] == pq.read_metadata(dense.path / name).num_rows
    assert verify(dense.path) == []


def test_the_manifest_rides_in_every_file(dense):
    spec = spec_of(DENSE, rows=dense.manifest["spec"]["output"]["rows"])
    for file in dense.path.rglob("*.parquet"):
        carried = json.loads(pq.read_schema(file).metadata[HEADER_KEY])
        assert carried == {name: dense.manifest[name] for name in carried}
        assert carried["spec"] == json.loads(spec.canonical()) and carried["spec_sha256"] == spec.sha256()
        assert carried["law"]["coefficients"]["tokens"] == 5.39801689
        assert {"jax", "numpy", "pyarrow", "python", "perflaw_jax"} <= carried["versions"].keys()
        assert len(carried["source_sha256"]) == 64 and "cpu" in carried["device"]
        assert {"commit", "dirty"} == dense.manifest["git"].keys() and "git" not in carried


def test_a_rerun_writes_the_same_bytes(dense, tmp_path):
    again = finish(DENSE, tmp_path / "again", rows=dense.manifest["spec"]["output"]["rows"])
    files = sorted(file.relative_to(dense.path) for file in dense.path.rglob("*.parquet"))
    assert files == sorted(file.relative_to(again.path) for file in again.path.rglob("*.parquet"))
    assert all((dense.path / file).read_bytes() == (again.path / file).read_bytes() for file in files)


def test_the_budget_is_spent(spend):
    rows = spend.rows()
    check_columns(
        rows, spend.expected(np.flatnonzero(spend.brute.feasible), np.float32), score_rtol=1.2e-7, budget_atol=2.0**-18
    )
    tokens, active = (rows[name].to_numpy() for name in ("training_tokens", "active_params"))
    assert tokens.tolist() == [10**22 // (6 * int(a)) for a in active]
    used = rows["budget_used"].to_numpy()
    assert 0.999 < used.min() and used.max() <= 1
    top = spend.table("top.parquet")
    check_columns(top, spend.expected(spend.brute.top(50)), score_rtol=1e-13)
    assert top["budget_used"].to_numpy().max() <= 1


def test_progress_ends_at_one(tmp_path):
    told = []
    run_sweep(spec_of(SPEND, rows="compact"), tmp_path / "out", lambda *now: told.append(now))
    shares, candidates, best = zip(*told, strict=True)
    assert shares[-1] == 1 and candidates[-1] == 54 and list(shares) == sorted(shares)
    assert best[-1] == pytest.approx(pq.read_table(tmp_path / "out" / "top.parquet")["score"][0].as_py())


def test_coefficients_of_any_pytree_are_recorded(monkeypatch):
    @jax.tree_util.register_pytree_with_keys_class
    class Mine:
        def tree_flatten_with_keys(self):
            return ((jax.tree_util.GetAttrKey("weights"), np.array([1.0, 2.0])),), None

        def tree_unflatten(self, *_):
            return Mine()

        def raw(self, design):
            return 1.0 * design.hidden_size

        def clamp(self, raw):
            return raw

    monkeypatch.setattr("perflaw_jax.catalogue._load", lambda *_: Mine())
    entry = find_law("my:law")
    assert json.loads(header(spec_of(DENSE), entry))["law"]["coefficients"] == {"weights": [1.0, 2.0]}
