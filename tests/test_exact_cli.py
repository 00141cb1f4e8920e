"""``perflaw search`` (exact) and ``perflaw curve`` as a user sees them: results, exit codes, one line for every mistake."""

import json
import re

import pyarrow.parquet as pq
import pytest
from test_cli import DENSE, complaint, files, perflaw

from perflaw_jax.manifest import read_manifest

PROGRESS = r"tiny: 60 candidates\n(tiny: \d+% done.*\n)*"


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A directory with a spec, swept and searched."""
    where = tmp_path_factory.mktemp("exact")
    (where / "tiny.toml").write_text(DENSE)
    assert perflaw("sweep", "tiny.toml", "--out", "swept", cwd=where).code == 0
    return where, perflaw("search", "tiny.toml", cwd=where)


def test_a_search_writes_what_a_sweep_would(here):
    where, done = here
    assert done.code == 0 and re.fullmatch(PROGRESS, done.err)
    out = where / "results" / "tiny-exact"
    assert files(out) == ["frontier.parquet", "manifest.json", "top.parquet"]
    for name in ("top.parquet", "frontier.parquet"):
        assert pq.read_table(out / name).equals(pq.read_table(where / "swept" / name))
    manifest = read_manifest(out)
    certificate = manifest["certificate"]
    assert manifest["counts"] == {"candidates": 60, "feasible": None, "cut_by_limit": None}
    assert certificate["candidates"] == 60 and certificate["gap"] == 0 and certificate["upper"] == certificate["best"]
    assert certificate["boxes"] > 0 and 0 < certificate["evaluated"]
    assert manifest["search"] == {"method": "exact", "gap": 0.0}
    assert done.out.splitlines()[0] == "tiny: the best by performance-dense"
    assert perflaw("verify", "results/tiny-exact", cwd=where).code == 0


def test_a_gap_is_proven(here):
    where, _ = here
    result = json.loads(perflaw("search", "tiny.toml", "--gap", "5", "--out", "near", "--json", cwd=where).out)
    best = pq.read_table(where / "swept" / "top.parquet")["score"][0].as_py()
    assert 0 <= result["certificate"]["gap"] <= 5 and best <= result["certificate"]["upper"] + 1e-9


def test_mistakes_are_one_line(here):
    where, _ = here
    assert "--gap: must be a finite number >= 0" in complaint(
        perflaw("search", "tiny.toml", "--gap", "-1", "--out", "a", cwd=where), 2
    )
    assert "did you mean 'exact'" in complaint(perflaw("search", "tiny.toml", "--method", "exakt", cwd=where), 2)
    (where / "gammas.py").write_text("import jax\ndef law(design):\n    return jax.lax.lgamma(1.0 * design.hidden_size)\n")
    unbounded = perflaw("search", "tiny.toml", "--set", "law=gammas:law", "--out", "a", cwd=where)
    assert "'lgamma'" in complaint(unbounded, 2) and "--method optuna" in unbounded.err
    nothing = perflaw("search", "tiny.toml", "--set", "limits.total_params=1000", "--out", "none", cwd=where)
    assert nothing.code == 3 and "none of 60 candidates satisfies the limits" in nothing.err
    assert not (where / "a").exists()


def test_a_curve(here):
    where, _ = here
    done = perflaw("curve", "tiny.toml", "--over", "training_flops=1e19:1e24", "--num", "4", cwd=where)
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0] == "the best by performance-dense under limits on training_flops"
    assert lines[2].split()[0] == "limit" and lines[2].split()[-1] == "binds"
    assert any(line.startswith("no candidate satisfies the limits under 1e+19") for line in lines)
    assert files(where / "results" / "tiny-curve") == ["curve.parquet", "curve.png", "manifest.json"]
    result = json.loads(
        perflaw("curve", "tiny.toml", "--over", "total_params=1B:20B", "--num", "2", "--json", "--out", "c", cwd=where).out
    )
    assert (
        result["over"] == "total_params" and len(result["points"]["score"]) == 2 and result["points"]["budget"] == [1e9, 2e10]
    )


@pytest.mark.parametrize(
    ("over", "code", "message"),
    [
        ("training_flops", 2, "--over: must be QUANTITY=LOW:HIGH"),
        ("training_flops=2e20:1e20", 2, "goes from 2e20 down to 1e20"),
        ("params=1:2", 2, "no quantity named 'params'"),
        ("training_flops=1:2", 3, "no candidate satisfies the limits under any of the budgets"),
    ],
)
def test_a_curve_that_cannot_be(here, over, code, message):
    where, _ = here
    done = perflaw("curve", "tiny.toml", "--over", over, "--num", "2", "--out", "never", cwd=where)
    assert done.code == code and message in done.err and "Traceback" not in done.err
