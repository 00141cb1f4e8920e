"""perflaw fit as a command: a law from runs, swept with and predicted by; mistakes in one line."""

import importlib.util
import json
import shutil

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from test_cli import complaint, files, perflaw
from test_fit import CHECKPOINTS, chinchilla_runs

from perflaw_jax.fit_table import read_table

SPEC = """
law = "mine.json"
axes = { num_hidden_layers = [8, 16, 32, 64], training_tokens = "spend" }
fixed = { hidden_size = 2048, intermediate_size = 5632 }
limits = { training_flops = 1e21 }
output = { top = 4, frontier = ["total_params"] }
"""


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    where = tmp_path_factory.mktemp("fit")
    chinchilla_runs(40, 0.01).to_csv(where / "runs.csv", index=False)
    return where, perflaw("fit", "chinchilla", "runs.csv", "--out", "mine.json", "--bootstrap", "40", cwd=where)


def test_a_law_is_fitted_and_told(fitted):
    where, done = fitted
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0] == "chinchilla: 40 rows of 40 runs"
    assert any(line.startswith("exponent_tokens") for line in lines)
    assert lines[-1] == "the law is in mine.json"
    assert files(where) == ["mine.json", "runs.csv"]


def test_it_is_swept_with_and_predicted_by(fitted):
    where, _ = fitted
    (where / "spec.toml").write_text(SPEC)
    done = perflaw("sweep", "spec.toml", "--out", "out", "--set", "output.rank_by=score_p95", cwd=where)
    assert done.code == 0 and "95 %" in done.out
    top = pq.read_table(where / "out" / "top.parquet")
    assert top["score"].to_pylist() == top["score_p95"].to_pylist() == sorted(top["score"].to_pylist())
    assert sum(top["prob_best"].to_pylist()) == pytest.approx(1)
    manifest = json.loads((where / "out" / "manifest.json").read_text())
    assert len(manifest["law"]["file_sha256"]) == 64
    shape = ("--layers", "32", "--hidden", "4096", "--ffn", "14336")
    told = perflaw("predict", *shape, "--tokens", "1e17", "--law", "mine.json", cwd=where)
    assert "nine of ten between" in told.out and "beyond the data" in told.out


def test_a_law_beside_its_spec(fitted, tmp_path):
    where, _ = fitted
    beside, here = tmp_path / "specs" / "mine.json", tmp_path / "mine.json"
    spec = tmp_path / "specs" / "spec.toml"
    spec.parent.mkdir()
    spec.write_text(SPEC)
    sweep = ("sweep", "specs/spec.toml", "--out", "out")
    told = complaint(perflaw(*sweep, cwd=tmp_path), 2)
    assert "law: mine.json: cannot be read: no such file in the current directory, nor beside a spec" in told
    here.write_bytes((where / "mine.json").read_bytes())
    written = []
    for place in (here, beside):  # the current directory, then the spec's own, which goes first
        place.write_bytes((where / "mine.json").read_bytes())
        assert perflaw(*sweep, cwd=tmp_path).code == 0
        written.append(json.loads((tmp_path / "out" / "manifest.json").read_text()))
        again = perflaw("sweep", str(spec), "--out", "out", "--resume", cwd=tmp_path)
        assert again.code == 0 and json.loads((tmp_path / "out" / "manifest.json").read_text()) == written[-1]
        shutil.rmtree(tmp_path / "out")
    assert [manifest["spec"]["law"] for manifest in written] == ["mine.json", "specs/mine.json"]
    assert written[0]["law"] == written[1]["law"]
    here.write_text("{}")  # what the shell names is looked for where the shell is
    assert "mine.json: name" in complaint(perflaw(*sweep, "--set", "law=./mine.json", cwd=tmp_path), 2)
    for i in range(2):
        assert perflaw(*sweep, "--shard", f"{i}/2", cwd=tmp_path).code == 0
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["complete"]


def test_json(fitted):
    where, _ = fitted
    CHECKPOINTS.to_csv(where / "steps.csv", index=False)
    done = perflaw("fit", "flp", "steps.csv", "--target", "score", "--chance", "0.25", "--bootstrap", "20", "--json", cwd=where)
    told = json.loads(done.out)
    assert told["out"] == "flp.json" and told["metric"] == "score" and told["data"]["runs"] == 20
    assert np.shape(told["covariance"]["matrix"]) == (4, 4)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("chinchila", "runs.csv"), "did you mean 'chinchilla'"),
        (("chinchilla", "none.csv"), "cannot be read"),
        (("chinchilla", "runs.csv", "--loss", "losss"), "did you mean 'loss'"),
        (("chinchilla", "runs.csv", "--where", "params"), "COLUMN=VALUE"),
        (("chinchilla", "runs.csv", "--where", "loss=9"), "no row with loss=9"),
        (("chinchilla", "runs.csv", "--hold", "irreducible"), "NAME=VALUE"),
        (("chinchilla", "runs.csv", "--huber", "0"), "must be > 0"),
        (("chinchilla", "runs.csv", "--bootstrap", "-1"), "must be >= 0"),
        (("chinchilla", "runs.csv", "--form", "product"), "only flp-m"),
        (("flp-m", "runs.csv", "--huber", "1"), "not for flp-m"),
        (("flp", "runs.csv"), "--target"),
    ],
)
def test_mistakes_are_one_line(fitted, arguments, words):
    where, _ = fitted
    before = files(where)
    assert words in complaint(perflaw("fit", *arguments, cwd=where), 2)
    assert files(where) == before


@pytest.mark.parametrize("name", ["runs.tsv", "semicolons.csv", "runs.jsonl", "runs.json", "runs.parquet"])
def test_tables_of_other_kinds(name, tmp_path):
    frame = chinchilla_runs(12, 0.01).rename(columns={"loss": " loss "})
    path = tmp_path / name
    match path.suffix:
        case ".jsonl" | ".json":
            frame.to_json(path, orient="records", lines=path.suffix == ".jsonl", double_precision=15)
        case ".parquet":
            frame.to_parquet(path)
        case _:
            frame.to_csv(path, index=False, sep=";" if name.startswith("semi") else "\t")
    np.testing.assert_allclose(read_table(path).column("loss"), frame[" loss "], rtol=1e-12)


def test_another_unit_is_no_run(tmp_path):
    frame = chinchilla_runs(12, 0.01)
    frame.assign(params=frame["params"] / 1e9).to_csv(tmp_path / "runs.csv", index=False)
    with pytest.raises(ValueError, match=r"params: must be at least 500 \(in another unit the column is total_params_b\), not"):
        read_table(tmp_path / "runs.csv").quantity("total_params")


def test_without_the_extra(fitted, monkeypatch):
    where, _ = fitted
    real = importlib.util.find_spec
    monkeypatch.setattr("perflaw_jax.cli_fit.find_spec", lambda name: None if name == "optax" else real(name))
    assert "pip install 'perflaw_jax[fit]'" in complaint(perflaw("fit", "chinchilla", "runs.csv", cwd=where), 2)


MIX = {"training_flops": [], "data_fraction.code": [], "data_fraction.text": [], "loss_a": [], "loss_b": [], "score": []}


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A directory with a mixture law."""
    where = tmp_path_factory.mktemp("mix")
    random, rows = np.random.default_rng(0), []
    for flops in (1e19, 3e19, 1e20):
        for code in (0.1, 0.3, 0.5, 0.7, 0.9):
            a, b = (1.5 + 2 * (flops / 1e17 * share) ** -0.15 for share in (code + 0.2, 1.2 - code))
            a, b = (loss * np.exp(0.002 * random.normal()) for loss in (a, b))
            rows.append([flops, code, 1 - code, a, b, 1 / (1 + np.exp(3 * ((a + b) / 2 - 2.3)))])
    pd.DataFrame(rows, columns=[*MIX]).to_csv(where / "mixed.csv", index=False)
    done = perflaw("fit", "flp-m", "mixed.csv", "--out", "mix.json", "--bootstrap", "6", cwd=where)
    return where, done


def test_a_mixture_is_fitted_and_predicted_by(mixed):
    where, done = mixed
    assert done.code == 0 and done.out.splitlines()[-1] == "the law is in mix.json"
    shape = ("predict", "--layers", "8", "--hidden", "1024", "--ffn", "4096", "--tokens", "1e11", "--law", "mix.json")
    told = perflaw(*shape, "--data-fraction", "code=0.5", "--json", cwd=where)
    assert told.code == 0
    judged = json.loads(told.out)
    low, middle, high = (judged["confidence"][name] for name in ("score_p05", "score_p50", "score_p95"))
    assert low < high and abs(middle - judged["score"]) < 0.05
    wrong = {
        (): "data_fraction.code is missing",
        ("--data-fraction", "code"): "must be a number",
        ("--data-fraction", "code=1.5"): "must be in [0, 1]",
        ("--data-fraction", "cod=0.5"): "did you mean 'data_fraction.code'",
        ("--data-fraction", "code=0.5", "--data-fraction", "text=0.6"): "must sum to 1",
    }
    for arguments, words in wrong.items():
        assert words in complaint(perflaw(*shape, *arguments, cwd=where), 2)
    dense = (*shape[:-1], "chinchilla", "--data-fraction", "code=0.5")
    assert "knows no data domains" in complaint(perflaw(*dense, cwd=where), 2)
