"""``perflaw search --method optuna`` as a user sees it: results, exit codes, one line for every mistake."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from brute import Brute
from test_cli import DENSE, complaint, files, perflaw

from perflaw_jax.catalogue import find_law
from perflaw_jax.job import make_problem
from perflaw_jax.manifest import read_manifest
from perflaw_jax.spec import load_spec

LIMIT = "limits.aspect_ratio={min=70}"  # tokens can be repaired, this cannot
OPTUNA = ("--method", "optuna", "--trials", 40, "--sampler", "random", "--set", LIMIT)
RESULTS = ["frontier.parquet", "manifest.json", "top.parquet", "trials.parquet"]


@pytest.fixture
def here(tmp_path):
    (tmp_path / "tiny.toml").write_text(DENSE)
    return tmp_path


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A directory with a finished search, and what the command said."""
    where = tmp_path_factory.mktemp("searched")
    (where / "tiny.toml").write_text(DENSE)
    return where, perflaw("search", "tiny.toml", *OPTUNA, cwd=where)


def test_results(searched):
    where, done = searched
    assert (done.code, done.err) == (0, "tiny: 60 candidates\n")
    out = where / "results" / "tiny-optuna"
    assert files(out) == RESULTS
    spec = load_spec(where / "tiny.toml", [LIMIT])
    brute = Brute(make_problem(spec, find_law(spec.law)))
    trials = pq.read_table(out / "trials.parquet").to_pydict()
    ids, feasible = np.array(trials["candidate_id"]), np.array(trials["feasible"])
    assert trials["trial"] == list(range(40)) and np.array_equal(feasible, brute.feasible[ids])
    assert 0 < feasible.sum() < 40
    top = pq.read_table(out / "top.parquet")["candidate_id"].to_pylist()
    assert top == [id for id in brute.ranked if id in ids][:7]
    manifest = read_manifest(out)
    assert manifest["counts"] == {"candidates": 60, "feasible": None, "cut_by_limit": None}
    assert manifest["trials"] == {"finished": 40, "feasible": feasible.sum(), "distinct": len({*trials["candidate_id"]})}
    assert manifest["search"] == {
        "method": "optuna",
        "sampler": "random",
        "trials": 40,
        "cell": [],
        "multi": False,
        "seed": 0,
    }
    best, found = brute.top(1)[0], brute.evaluation.score[top[0]]
    distance = brute.evaluation.score[best] - found
    assert manifest["optimum"]["candidate_id"] == best
    assert manifest["optimum"]["distance"] == pytest.approx(distance, abs=1e-12)
    lines = done.out.splitlines()
    assert lines[0] == "tiny: the best found by performance-dense"
    assert f"40 trials by random, {feasible.sum()} feasible, {len({*ids.tolist()})} distinct candidates" in lines
    assert any("away from the certified optimum" in line for line in lines)
    assert lines[-1].endswith("s; results in results/tiny-optuna")
    checked = perflaw("verify", "results/tiny-optuna", cwd=where)
    assert checked.code == 0 and "3 files" in checked.out


def test_a_rerun_writes_the_same_bytes(searched):
    where, _ = searched
    again = perflaw("search", "tiny.toml", *OPTUNA, "--out", "again", "--json", cwd=where)
    result = json.loads(again.out)
    assert result["trials"]["finished"] == 40 and result["optimum"]["distance"] >= 0 and len(result["best"]["score"]) <= 7
    for name in RESULTS:
        if name.endswith("parquet"):
            assert (where / "again" / name).read_bytes() == (where / "results" / "tiny-optuna" / name).read_bytes()


def test_a_damaged_trial_is_found(searched, tmp_path):
    where, _ = searched
    path = where / "again-damaged"
    perflaw("search", "tiny.toml", *OPTUNA, "--out", path, cwd=where)
    content = bytearray((path / "trials.parquet").read_bytes())
    content[40] ^= 1
    (path / "trials.parquet").write_bytes(content)
    done = perflaw("verify", path, cwd=where)
    assert done.code == 1 and "trials.parquet: SHA-256 differs" in done.out


def test_several_objectives_and_cells(here):
    multi = perflaw("search", "tiny.toml", *OPTUNA[:4], "--multi", "--out", "multi", cwd=here)
    cell = perflaw("search", "tiny.toml", *OPTUNA, "--cell", "hidden_size, training_tokens", "--out", "cell", cwd=here)
    assert multi.code == cell.code == 0
    assert "40 trials by nsgaii" in multi.out and "nothing away from the certified optimum" in cell.out


def test_nothing_feasible(here):
    done = perflaw("search", "tiny.toml", *OPTUNA, "--set", "limits.total_params=1e6", "--storage", "study.log", cwd=here)
    assert complaint(done, 3) == "perflaw: none of 40 trials satisfies the limits"
    assert pq.read_table(here / "results" / "tiny-optuna" / "top.parquet").num_rows == 0
    assert perflaw("verify", "results/tiny-optuna", cwd=here).code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--sampler", "tpee"], 2, "did you mean 'tpe'?"),
        (["--method", "optunna"], 2, "did you mean 'optuna'?"),
        (["--trials", "0"], 2, "--trials: must be >= 1"),
        (["--trials", "-5"], 2, "--trials: must be >= 1"),
        (["--seed", "-1"], 2, "--seed: must be >= 0"),
        (["--cell", "layers"], 2, "--cell: 'layers' is no axis"),
        (["--cell", ""], 2, "--cell: '' is no axis"),
        (["--cell", "num_hidden_layers,hidden_size,training_tokens"], 2, "every axis"),
        (["--multi", "--set", "output.frontier=[]"], 2, "set output.frontier"),
        (["--multi", "--cell", "hidden_size"], 2, "--multi"),
        (["--multi", "--sampler", "cmaes"], 2, "one objective"),
        (["--study", "mine"], 2, "--storage"),
        (["--storage", "redis://host"], 2, "allowed: sqlite:///FILE"),
        (["--storage", "sqlite:///no/where.db"], 1, "cannot be used: unable to open"),
        (["--set", "law=broken:branches"], 2, "cannot be traced"),
        (["--set", "output.tob=3"], 2, "did you mean 'top'?"),
    ],
)
def test_wrong_input(arguments, code, said, here):
    (here / "broken.py").write_text("def branches(design):\n    return 1.0 if design.hidden_size > 3 else 2.0\n")
    assert said in complaint(perflaw("search", "tiny.toml", *OPTUNA, *arguments, cwd=here), code)
    assert {"results", "study.db"}.isdisjoint({*files(here)}) and not (here / "results").exists()


def test_results_of_another_method_are_not_overwritten(here):
    assert perflaw("sweep", "tiny.toml", "--set", LIMIT, "--out", "there", cwd=here).code == 0
    before = files(here)
    done = perflaw("search", "tiny.toml", *OPTUNA, "--out", "there", cwd=here)
    assert "there holds the results of a sweep of this spec" in complaint(done, 1)
    assert files(here) == before
