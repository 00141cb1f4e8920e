import errno
import json
import os
import resource
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from perflaw_jax import store
from perflaw_jax.design import FIELDS, FLAGS, Design
from perflaw_jax.files import StoreError, sha256, write_atomic, write_json
from perflaw_jax.manifest import git_state, read_manifest, sealed
from perflaw_jax.store import ResultDir
from perflaw_jax.verify import verify

HEADER = json.dumps({"name": "small", "spec_sha256": "ab" * 32, "law": {"name": "performance-dense"}})
OTHER = json.dumps({"name": "big", "spec_sha256": "cd" * 32})
COMPUTED = ["training_flops", "score", "budget_used"]
COLUMNS = ["candidate_id", *FIELDS, "total_params", "active_params", *COMPUTED]


def make_columns(ids, seed: int = 0) -> dict:
    """Columns of the given candidates as the runner makes them: coded axes, constants, computed numbers."""
    ids = np.asarray(ids, np.int64)
    n = len(ids)
    rng = np.random.default_rng(seed)
    columns: dict = {"candidate_id": ids} | {k: v for k, v in Design._field_defaults.items() if k in FIELDS}
    columns["num_hidden_layers"] = (ids // 8 % 4).astype(np.uint8), np.array([16.0, 32.0, 64.0, 80.0])
    columns["hidden_size"] = (ids // 4 % 2).astype(np.int32), np.array([4096.0, 4160.0])
    columns["intermediate_size"] = rng.integers(1, 2**17, n) * 256.0
    columns["num_attention_heads"] = (ids // 4 % 2).astype(np.int32), np.array([32.0, 32.5])
    columns["training_tokens"] = (ids % 4).astype(np.uint8), np.geomspace(1e11, 3e13, 4)
    columns["total_params"] = rng.integers(10**9, 10**12, n)
    columns["active_params"] = columns["total_params"] // 2
    columns["training_flops"] = rng.uniform(1e21, 1e25, n)
    columns["score"] = rng.uniform(25, 100, n)
    columns["budget_used"] = columns["training_flops"] / 1e25
    return columns


def expected(columns: dict) -> pd.DataFrame:
    """What a reader should see of ``columns``, in float64."""
    n = len(columns["candidate_id"])
    plain = {k: v[1][v[0]] if isinstance(v, tuple) else np.broadcast_to(v, n) for k, v in columns.items()}
    frame = pd.DataFrame(plain)
    if "num_attention_heads" in frame:
        frame["num_attention_heads"] = frame["num_attention_heads"].where(frame["num_attention_heads"] % 1 == 0)
    return frame


def assert_reads_back(file: Path, frame: pd.DataFrame, real: str = "float64") -> None:
    """pandas and DuckDB both see ``frame``, as plain numbers."""
    by_duckdb = duckdb.sql(f"from '{file}'").df()
    for got in (pd.read_parquet(file), by_duckdb):
        assert list(got.columns) == list(frame.columns)
        for name in frame.columns:
            want, seen = frame[name], got[name]
            assert not isinstance(seen.dtype, pd.CategoricalDtype)
            if name in COMPUTED:
                assert seen.dtype == real
                if name == "budget_used" and real == "float32":
                    want = (want * 2**17).round() / 2**17
                want = want.astype(real)
            np.testing.assert_array_equal(seen.to_numpy(float), want.to_numpy(float), err_msg=name)


def encodings(file: Path) -> dict[str, set[str]]:
    group = pq.read_metadata(file).row_group(0)
    chunks = [group.column(i) for i in range(group.num_columns)]
    assert {chunk.compression for chunk in chunks} == {"ZSTD"}
    return {chunk.path_in_schema: set(chunk.encodings) for chunk in chunks}


@pytest.fixture
def directory(tmp_path) -> ResultDir:
    made = ResultDir.create(tmp_path / "out", HEADER)
    made.begin()
    return made


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A complete result directory; tests that damage it take a copy."""
    path = tmp_path_factory.mktemp("finished") / "out"
    write_all(path)
    return path


@pytest.fixture
def damaged(finished, tmp_path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "copy"))


def write_all(path: Path) -> None:
    made = ResultDir.create(path, HEADER)
    made.begin()
    shards = [
        made.write_top(make_columns(range(50))),
        made.write_frontier(make_columns(range(20)) | {"weight_bytes": np.arange(20.0)}),
        made.write_marginals(["hidden_size"] * 2, np.array([4e3, 5e3]), np.array([71.5, np.nan]), np.array([2**60 + 1, -1])),
    ]
    parts = []
    with made.rows("feasible", size=1000) as writer:
        for start in range(0, 1000, 250):
            parts.append(writer.write(start, start + 250, make_columns(range(start, start + 250, 3))))
    made.write_manifest({"counts": {"feasible": 334}}, shards + [part.result() for part in parts])


# ---------------------------------------------------------------- round trips


def test_top_reads_back(directory):
    columns = make_columns([7, 2**62 + 1, 3])
    shard = directory.write_top(columns)
    file = directory.path / shard.path
    assert_reads_back(file, expected(columns)[COLUMNS])
    assert (shard.rows, shard.bytes, shard.sha256) == (3, file.stat().st_size, sha256(file))
    assert pd.read_parquet(file).candidate_id[1] == 2**62 + 1


def test_types_are_the_documented_ones(directory):
    columns = make_columns(range(8))
    directory.write_top(columns)
    schema = pq.read_schema(directory.path / "top.parquet")
    assert schema.names == COLUMNS
    for field in schema:
        wide = pa.int64() if field.name in ("candidate_id", "total_params", "active_params") else pa.int32()
        real = field.name in (*COMPUTED, "training_tokens")
        assert field.type == (pa.bool_() if field.name in FLAGS else pa.float64() if real else wide), field.name
        assert field.nullable == (field.name in ("num_attention_heads", "budget_used"))


def test_frontier_keeps_other_costs_last(directory):
    columns = {"weight_bytes": np.arange(5), **make_columns(range(5))}
    directory.write_frontier(columns)
    assert_reads_back(directory.path / "frontier.parquet", expected(columns)[[*COLUMNS, "weight_bytes"]])
    assert pq.read_schema(directory.path / "frontier.parquet").field("weight_bytes").type == pa.float64()


def test_marginals_hold_null_where_nothing_is_feasible(directory):
    directory.write_marginals(
        ["a", "a", "b"], np.array([1, 2, 3.5]), np.array([70.0, np.nan, 71.0]), np.array([2**60 + 1, 5, 0])
    )
    file = directory.path / "marginals.parquet"
    rows = [("a", 1.0, 70.0, 2**60 + 1), ("a", 2.0, None, None), ("b", 3.5, 71.0, 0)]
    assert duckdb.sql(f"from '{file}'").fetchall() == rows
    frame = pd.read_parquet(file)
    assert frame.axis.tolist() == ["a", "a", "b"]
    assert frame.score.isna().tolist() == frame.candidate_id.isna().tolist() == [False, True, False]


@pytest.mark.parametrize("kind", ["feasible", "compact"])
def test_rows_read_back(directory, kind):
    columns = make_columns(range(10, 400, 3))
    if kind == "compact":
        columns = {name: columns[name] for name in ("candidate_id", "score")}
    with directory.rows(kind, size=10_000) as writer:
        part = writer.write(10, 400, columns)
    shard = part.result()
    assert shard.path == "rows/part-00010-00400.parquet"
    frame = expected(columns)
    assert_reads_back(directory.path / shard.path, frame[[name for name in COLUMNS if name in frame]], "float32")


def test_many_parts_come_in_the_order_of_ids_and_of_names(directory):
    parts = []
    with directory.rows("compact", size=1200) as writer:
        for start in (1100, 0, 700, 90, 8):
            columns = {"candidate_id": np.arange(start, start + 5), "score": np.zeros(5)}
            parts.append(writer.write(start, start + 5, columns))
    paths = sorted(part.result().path for part in parts)
    assert [int(path[10:14]) for path in paths] == [0, 8, 90, 700, 1100]
    assert sorted(file.name for file in directory.path.glob("rows/*")) == [Path(path).name for path in paths]
    ids = duckdb.sql(f"select candidate_id from '{directory.path}/rows/*.parquet'").fetchnumpy()["candidate_id"]
    assert len(ids) == 25 and (np.diff(ids) > 0).all()


def test_row_groups_are_joined_seamlessly(directory, monkeypatch):
    monkeypatch.setattr(store, "ROW_GROUP", 64)
    columns = make_columns(range(200))
    with directory.rows("feasible", size=200) as writer:
        part = writer.write(0, 200, columns)
    file = directory.path / part.result().path
    metadata = pq.read_metadata(file)
    assert [metadata.row_group(i).num_rows for i in range(4)] == [64, 64, 64, 8]
    assert_reads_back(file, expected(columns)[COLUMNS], "float32")


def test_without_a_budget_its_use_is_null(directory):
    directory.write_top(make_columns(range(4)) | {"budget_used": None})
    assert pd.read_parquet(directory.path / "top.parquet").budget_used.isna().all()


def test_rounding_the_use_of_a_budget_keeps_it_on_its_side_of_one(directory):
    use = np.array([0.0, 0.5 + 2**-20, 1 - 2**-20, 1.0, 1 + 2**-16])
    with directory.rows("feasible", size=5) as writer:
        part = writer.write(0, 5, make_columns(range(5)) | {"budget_used": use})
    got = pd.read_parquet(directory.path / part.result().path).budget_used
    assert got.tolist() == [0, 0.5, 1, 1, 1 + 2**-16]


def test_half_a_head_is_null_as_a_constant_too(directory):
    directory.write_top(make_columns(range(4)) | {"num_attention_heads": 32.5})
    assert pd.read_parquet(directory.path / "top.parquet").num_attention_heads.isna().all()


def test_no_rows_make_a_readable_file(directory):
    assert directory.write_top(make_columns([])).rows == 0
    assert len(pd.read_parquet(directory.path / "top.parquet")) == 0


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), n=st.integers(1, 40))
def test_any_columns_read_back(directory, data, n):
    whole = st.integers(0, 2**31 - 1)
    reals = hnp.arrays(np.float64, n, elements=st.floats(allow_infinity=False, allow_nan=False))

    def one_of_the_forms(name: str):
        elements = st.integers(0, 1) if name in FLAGS else whole
        array = hnp.arrays(np.int64, n, elements=elements)
        codes = hnp.arrays(np.uint8, n, elements=st.integers(0, 2))
        return st.one_of(elements, array, st.tuples(codes, hnp.arrays(np.float64, 3, elements=elements)))

    columns = {name: data.draw(one_of_the_forms(name)) for name in FIELDS}
    for name in ("candidate_id", "total_params", "active_params"):
        columns[name] = data.draw(hnp.arrays(np.int64, n, elements=st.integers(0, 2**53)))
    columns |= {name: data.draw(reals) for name in (*COMPUTED, "training_tokens")}
    directory.write_top(columns)
    assert_reads_back(directory.path / "top.parquet", expected(columns)[COLUMNS])


def test_a_column_that_is_missing_is_named(directory):
    columns = make_columns(range(4))
    del columns["hidden_size"]
    with pytest.raises(ValueError, match="hidden_size"):
        directory.write_top(columns)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": np.zeros(3)}, "one length"),
        ({"vocab_size": 150_000.5}, "truncated"),
        ({"vocab_size": 2**31}, "not in range"),
        ({"training_flops": None}, "non-nullable"),
    ],
)
def test_columns_that_do_not_fit_are_refused(directory, change, message):
    with pytest.raises(ValueError, match=message):
        directory.write_top(make_columns(range(4)) | change)
    assert {file.name for file in directory.path.iterdir()} == {"manifest.json"}


# ---------------------------------------------------------------- encodings


def test_each_kind_of_column_has_its_encoding(finished):
    for file in (finished / "rows/part-0000-0250.parquet", finished / "top.parquet", finished / "frontier.parquet"):
        for name, used in encodings(file).items():
            dictionary = "RLE_DICTIONARY" in used
            assert dictionary == (isinstance(make_columns(range(1)).get(name), tuple) and name not in FLAGS), name
            assert ("BYTE_STREAM_SPLIT" in used) == (name in ("weight_bytes", *COMPUTED)), name
            assert ("DELTA_BINARY_PACKED" in used) == (name == "candidate_id"), name


def test_tokens_computed_per_row_are_split_into_bytes(directory):
    columns = make_columns(range(9))
    directory.write_top(columns | {"training_tokens": columns["training_flops"] / 6e9})
    used = encodings(directory.path / "top.parquet")["training_tokens"]
    assert "BYTE_STREAM_SPLIT" in used and "RLE_DICTIONARY" not in used


def test_rows_declare_their_order_and_keep_statistics(directory):
    with directory.rows("compact", size=1000) as writer:
        part = writer.write(0, 1000, {"candidate_id": np.arange(3, 1000), "score": np.zeros(997)})
    group = pq.read_metadata(directory.path / part.result().path).row_group(0)
    assert group.sorting_columns == (pq.SortingColumn(0),)
    statistics = group.column(0).statistics
    assert (statistics.min, statistics.max) == (3, 999)


def test_the_header_rides_in_every_file(finished):
    for file in finished.rglob("*.parquet"):
        assert pq.read_schema(file).metadata == {b"perflaw.manifest": HEADER.encode()}
    (found,) = duckdb.sql(f"select value from parquet_kv_metadata('{finished}/top.parquet')").fetchall()
    assert found[0] == HEADER.encode()


def test_a_rerun_writes_the_same_bytes(finished, tmp_path):
    write_all(tmp_path / "again")
    files = {file.relative_to(finished) for file in finished.rglob("*") if file.is_file()}
    assert len(files) == 8
    for file in files:
        assert (finished / file).read_bytes() == (tmp_path / "again" / file).read_bytes(), file


# ---------------------------------------------------------------- failures while writing


def test_a_write_that_raises_leaves_the_old_file_and_nothing_else(tmp_path):
    file = tmp_path / "top.parquet"
    file.write_text("old")

    def fail(temporary: Path) -> None:
        assert temporary.parent == tmp_path
        temporary.write_text("half of the n")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        write_atomic(file, fail)
    assert [f.name for f in tmp_path.iterdir()] == ["top.parquet"] and file.read_text() == "old"


def test_a_full_disk_is_one_line(tmp_path):
    def fail(temporary: Path) -> None:
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(StoreError) as caught:
        write_atomic(tmp_path / "a.json", fail)
    assert str(caught.value) == f"cannot write {tmp_path}/a.json: No space left on device"
    assert not list(tmp_path.iterdir())


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """The operating system refuses to let any file grow beyond ``size`` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_pyarrow_running_out_of_space_is_one_line(directory):
    with file_size_limit(4096), pytest.raises(StoreError) as caught:
        directory.write_top(make_columns(range(5000)))
    assert f"cannot write {directory.path}/top.parquet: " in str(caught.value) and "\n" not in str(caught.value)
    assert [file.name for file in directory.path.iterdir()] == ["manifest.json"]


def test_nan_is_no_json(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"score": float("nan")})
    assert not list(tmp_path.iterdir())


def compact(start: int) -> dict:
    return {"candidate_id": np.arange(start, start + 10), "score": np.zeros(10)}


def test_a_part_that_fails_is_raised_and_stops_the_others(directory, monkeypatch):
    real, written = pq.ParquetWriter, []

    def full(where, *args, **kwargs):
        written.append(where)
        if len(written) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(where, *args, **kwargs)

    monkeypatch.setattr(pq, "ParquetWriter", full)
    with pytest.raises(StoreError, match=r"rows/part-\d+-\d+\.parquet: No space left on device"):
        with directory.rows("compact", size=10_000) as writer:
            for start in range(0, 10_000, 10):
                writer.write(start, start + 10, compact(start))
    assert len(written) < 100
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("perflaw-rows")]
    assert not list(directory.path.glob("rows/.*"))
    assert all(pq.read_metadata(file).num_rows == 10 for file in directory.path.glob("rows/*"))


def test_a_last_part_that_fails_is_raised_on_leaving(directory, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(pq, "ParquetWriter", full)
    with pytest.raises(StoreError, match="quota"):
        with directory.rows("compact", size=100) as writer:
            writer.write(0, 10, compact(0))
    assert not list(directory.path.glob("rows/*"))


def test_an_error_of_the_caller_is_the_one_that_is_seen(directory):
    with pytest.raises(KeyboardInterrupt):
        with directory.rows("compact", size=100) as writer:
            writer.write(0, 10, compact(0))
            raise KeyboardInterrupt
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("perflaw-rows")]


# ---------------------------------------------------------------- who may write where


def test_a_new_directory_is_made_with_its_parents_and_taken_back(tmp_path):
    made = ResultDir.create(tmp_path / "a" / "b", HEADER)
    made.begin()
    made.discard_if_empty()
    assert not list(tmp_path.iterdir())


def test_a_directory_with_results_is_not_taken_back(directory):
    directory.write_top(make_columns([1]))
    directory.discard_if_empty()
    assert (directory.path / "top.parquet").exists() and (directory.path / "manifest.json").exists()


def test_a_directory_that_was_there_is_not_taken_back(tmp_path):
    made = ResultDir.create(tmp_path, HEADER)
    made.begin()
    made.discard_if_empty()
    assert tmp_path.exists()


def test_a_failed_first_part_leaves_no_directory(tmp_path):
    made = ResultDir.create(tmp_path / "out", HEADER)
    made.begin()
    (made.path / "rows").mkdir()
    made.discard_if_empty()
    assert not list(tmp_path.iterdir())


def test_results_of_another_spec_are_kept(finished):
    before = {file: file.read_bytes() for file in finished.rglob("*") if file.is_file()}
    with pytest.raises(StoreError, match=r"holds the results of another spec 'small'; choose another --out"):
        ResultDir.create(finished, OTHER)
    assert before == {file: file.read_bytes() for file in finished.rglob("*") if file.is_file()}


@pytest.mark.parametrize(
    "manifest", [None, '{"name": "an app"}', "[1]", "{", '{"name": "a", "spec_sha256": "b", "complete": "no", "shards": []}']
)
def test_a_directory_of_something_else_is_refused(tmp_path, manifest):
    (tmp_path / "thesis.tex").write_text("years of work")
    if manifest is not None:
        (tmp_path / "manifest.json").write_text(manifest)
    with pytest.raises(StoreError, match=str(tmp_path)):
        ResultDir.create(tmp_path, HEADER)
    assert (tmp_path / "thesis.tex").exists()


def test_a_file_in_the_way_is_refused(tmp_path):
    file = tmp_path / "out"
    file.write_text("x")
    with pytest.raises(StoreError, match="is not a directory"):
        ResultDir.create(file, HEADER)
    with pytest.raises(StoreError, match="cannot write to .*out/below"):
        ResultDir.create(file / "below", HEADER)


def test_a_directory_without_permission_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)  # permissions do not bind the superuser
    with pytest.raises(StoreError, match="Permission denied"):
        ResultDir.create(tmp_path, HEADER)


def test_the_same_spec_overwrites_and_nothing_stale_survives(damaged):
    foreign, leftover = damaged / "notes.txt", damaged / "rows" / ".part-0000-0250.parquet.77.tmp"
    foreign.write_text("mine")
    leftover.write_text("half")
    made = ResultDir.create(damaged, HEADER)
    assert read_manifest(damaged)["complete"] and len(list(damaged.rglob("*.parquet"))) == 7
    made.begin()
    assert not read_manifest(damaged)["complete"] and not list(damaged.rglob("*.parquet"))
    assert foreign.exists() and not leftover.exists()
    assert verify(damaged) == ["manifest.json: the run has not finished"]


def test_a_killed_run_can_be_run_again_but_not_by_another_spec(directory):
    directory.write_top(make_columns([1]))
    with pytest.raises(StoreError, match="another spec"):
        ResultDir.create(directory.path, OTHER)
    again = ResultDir.create(directory.path, HEADER)
    again.begin()
    again.write_manifest({}, [])
    assert verify(directory.path) == []


# ---------------------------------------------------------------- manifest and verify


def test_the_manifest_is_header_run_and_shards(finished):
    manifest = read_manifest(finished)
    assert manifest["name"] == "small" and manifest["complete"] and manifest["counts"] == {"feasible": 334}
    assert [shard["path"] for shard in manifest["shards"]] == sorted(
        file.relative_to(finished).as_posix() for file in finished.rglob("*.parquet")
    )
    assert sum(shard["rows"] for shard in manifest["shards"] if shard["path"].startswith("rows/")) == 336
    assert verify(finished) == []


def test_no_manifest_is_an_error(tmp_path):
    with pytest.raises(StoreError, match="holds no perflaw results"):
        verify(tmp_path)


def test_verify_finds_missing_extra_and_truncated_files(damaged):
    (damaged / "top.parquet").unlink()
    shutil.copy(damaged / "frontier.parquet", damaged / "rows" / "part-2000-3000.parquet")
    file = damaged / "marginals.parquet"
    size = file.stat().st_size
    os.truncate(file, size - 10)
    with (damaged / "frontier.parquet").open("ab") as frontier:
        frontier.write(b"tail")
    missing, extra = "top.parquet: missing", "rows/part-2000-3000.parquet: not in the manifest"
    truncated = f"marginals.parquet: truncated: {size - 10} bytes, the manifest says {size}"
    problems = verify(damaged)
    assert {missing, extra, truncated} < set(problems) and len(problems) == 4
    assert any(problem.startswith("frontier.parquet: too long") for problem in problems)


def flip(file: Path, position: int) -> None:
    content = bytearray(file.read_bytes())
    content[position] ^= 16
    file.write_bytes(content)


def test_verify_names_the_column_with_a_flipped_bit(damaged):
    file = damaged / "rows" / "part-0250-0500.parquet"
    group = pq.read_metadata(file).row_group(0)
    score = next(c for c in map(group.column, range(group.num_columns)) if c.path_in_schema == "score")
    flip(file, score.data_page_offset + score.total_compressed_size - 5)
    (problem,) = verify(damaged)
    assert problem.startswith("rows/part-0250-0500.parquet: SHA-256 differs")
    assert problem.endswith("damaged: score in row group 0")


def test_verify_survives_a_flipped_bit_anywhere(damaged):
    file = damaged / "marginals.parquet"
    sound = file.read_bytes()
    for position in range(0, len(sound), 7):
        flip(file, position)
        problems = verify(damaged)
        assert problems and all(problem.startswith("marginals.parquet: ") for problem in problems)
        file.write_bytes(sound)


def rewrite_manifest(path: Path, **changes) -> None:
    write_json(path / "manifest.json", sealed(read_manifest(path) | changes))


def test_verify_compares_row_counts_and_headers(damaged):
    shards = read_manifest(damaged)["shards"]
    shards[0]["rows"] += 1
    rewrite_manifest(damaged, shards=shards[:1], spec_sha256="ef" * 32)
    for shard in shards[1:]:
        (damaged / shard["path"]).unlink()
    rows, header = verify(damaged)
    assert rows == "frontier.parquet: 20 rows, the manifest says 21"
    assert header == "frontier.parquet: its header differs from the manifest in 'spec_sha256': the file comes from another run"


@pytest.mark.parametrize("change", [{"counts": {"feasible": 335}}, {"name": "other"}, {"more": 1}])
def test_verify_finds_a_manifest_that_was_changed(damaged, change):
    write_json(damaged / "manifest.json", read_manifest(damaged) | change)
    assert "manifest.json: was changed after it was written" in verify(damaged)


def test_verify_wants_a_header(damaged):
    file = damaged / "top.parquet"
    pq.write_table(pa.table({"score": [1.0]}), file)
    shards = read_manifest(damaged)["shards"]
    for shard in shards:
        if shard["path"] == "top.parquet":
            shard |= {"rows": 1, "bytes": file.stat().st_size, "sha256": sha256(file)}
    rewrite_manifest(damaged, shards=shards)
    assert verify(damaged) == ["top.parquet: carries no perflaw.manifest header"]


# ---------------------------------------------------------------- git


def git(directory: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", "-C", str(directory), *identity, *arguments], check=True, capture_output=True)


def test_git_state_of_a_checkout_and_of_what_merely_lies_in_one(tmp_path):
    unknown = {"commit": None, "dirty": None}
    package, elsewhere = tmp_path / "package", tmp_path / "elsewhere"
    for path in (package, elsewhere):
        path.mkdir()
        (path / "a.py").write_text("a = 1\n")
    assert git_state(package) == unknown
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "package")
    assert git_state(package) == unknown  # no commit yet
    git(tmp_path, "commit", "-qm", "first")
    state = git_state(package)
    assert state["dirty"] is False and len(str(state["commit"])) == 40
    assert git_state(elsewhere) == unknown
    (package / "a.py").write_text("a = 2\n")
    assert git_state(package) == state | {"dirty": True}


def test_git_state_without_git(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(tmp_path) == {"commit": None, "dirty": None}


def test_a_link_stays_one_and_a_pipe_is_not_replaced(tmp_path):
    (tmp_path / "there").mkdir()
    link, pipe = tmp_path / "link.json", tmp_path / "pipe"
    link.symlink_to(tmp_path / "there" / "real.json")
    for value in (1, 2):
        write_json(link, value)
    assert link.is_symlink() and (tmp_path / "there" / "real.json").read_text() == "2\n"
    os.mkfifo(pipe)
    with pytest.raises(StoreError, match="a device or a pipe"):
        write_json(pipe, 1)
    assert pipe.is_fifo() and sorted(path.name for path in tmp_path.iterdir()) == ["link.json", "pipe", "there"]
