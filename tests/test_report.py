"""A report says what the result directory holds: every map and curve equals a brute force, and no input breaks the page."""

import json
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from brute import Brute
from test_cli import perflaw
from test_confidence import members

from perflaw_jax.catalogue import find_law
from perflaw_jax.curve_runner import run_curve
from perflaw_jax.exact_runner import run_exact
from perflaw_jax.fitted import FittedLaw, save_fitted
from perflaw_jax.job import make_problem
from perflaw_jax.law_forms import as_record
from perflaw_jax.laws import PerformanceDense
from perflaw_jax.optuna_runner import Plan, run_optuna
from perflaw_jax.report import charts, heat, iso_flops, recompute, tables
from perflaw_jax.report import page as pages
from perflaw_jax.report.frames import Score, kept_places, read_axis, skyline
from perflaw_jax.report.gather import gather
from perflaw_jax.report.iso_flops import BINS
from perflaw_jax.report.recompute import Grid
from perflaw_jax.report.writer import write_report
from perflaw_jax.runner import run_sweep
from perflaw_jax.spec import parse_spec
from perflaw_jax.store import REPORT

DENSE = {
    "name": "small",
    "axes": {
        "num_hidden_layers": {"start": 16, "stop": 40, "step": 8},
        "hidden_size": {"start": 1024, "stop": 3072, "step": 512},
        "intermediate_size": {"ratio_to": "hidden_size", "values": [2.0, 3.5], "multiple_of": 256},
        "training_tokens": {"geometric": ["100B", "10T"], "num": 6},
    },
    "limits": {"training_flops": 1e22, "total_params": {"min": "500M"}},
    "output": {"top": 20, "frontier": ["training_flops", "total_params"]},
}
MOE = {
    "name": "sparse",
    "law": "performance-moe",
    "axes": {"num_hidden_layers": [16, 32], "num_experts": [8, 64], "num_experts_per_tok": [1, 2]},
    "fixed": {"hidden_size": 4096, "moe_intermediate_size": 1408, "training_tokens": 4e12},
}
LOSS = {**DENSE, "name": "loss", "law": "chinchilla-replication"}
SPEND = {**DENSE, "axes": {**DENSE["axes"], "training_tokens": "spend"}}


def brute_of(spec) -> Brute:
    return Brute(make_problem(spec, find_law(spec.law)))


def made(spec, path, run=run_sweep, *arguments):
    """A result directory with its report's content and the brute force of its problem."""
    spec = parse_spec(spec)
    run(spec, path, *arguments)
    return SimpleNamespace(path=path, spec=spec, found=gather(path), brute=brute_of(spec))


@pytest.fixture(scope="module")
def dense(tmp_path_factory):
    return made(DENSE, tmp_path_factory.mktemp("dense") / "out")


@pytest.fixture
def copied(dense, tmp_path):
    """A copy of the directory, to be spoilt."""
    for file in dense.path.iterdir():
        if file.is_file():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def change(path, **values):
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps({**manifest, **values}))


def best_over(brute, sign, names):
    """The best score of every pair of values of two axes, by brute force: negated scores where less is better."""
    space = brute.problem.space
    a, b = (next(i for i, axis in enumerate(space.axes) if axis.field == name) for name in names)
    digits = space.digits(np.arange(space.size))
    best = np.full((space.shape[a], space.shape[b]), -np.inf)
    np.maximum.at(best, (digits[a][brute.feasible], digits[b][brute.feasible]), brute.evaluation.score[brute.feasible])
    return np.where(np.isfinite(best), sign * best, np.nan)


def check_maps(found, brute, rtol=1e-6):  # looked at in float32, as rows hold it
    """Every heat map equals the brute force; the best of each is the best of all."""
    for shown in found.heat:
        names = (shown.down.name, shown.across.name)
        np.testing.assert_allclose(shown.score, best_over(brute, found.score.sign, names), rtol=rtol, err_msg=str(names))


def check_iso(found, brute):
    """Every point keeps to its level and scores what brute force says; the best of a level is the best there is."""
    size, flops = brute.quantities["total_params"], brute.quantities["training_flops"]
    score, sign = brute.evaluation.score, found.score.sign
    for level, part in found.iso.groupby("level"):
        inside = brute.feasible & (flops <= level)
        assert inside[part["candidate_id"]].all()
        np.testing.assert_allclose(part["score"], sign * score[part["candidate_id"]], rtol=1e-12)
        assert np.array_equal(part["total_params"], size[part["candidate_id"]])
        assert sign * part["score"].max() <= score[inside].max() * (1 + 1e-12)
        best = sign * (part["score"].max() if sign > 0 else part["score"].min())
        assert best == pytest.approx(score[inside].max(), rel=1e-12)


def test_maps_curves_and_words_of_a_sweep(dense):
    found = dense.found
    assert not found.missing and found.kind == "a sweep" and len(found.top) == 20
    assert [heat.names for heat in found.heat][0] == "layers × hidden size" and len(found.heat) == 5
    check_maps(found, dense.brute)
    check_iso(found, dense.brute)
    assert found.iso["level"].nunique() >= 3 and len(found.iso) > 10
    counts = found.cuts.set_index("limit")["count"].to_dict()
    assert counts == {name: n for name, n in dense.brute.cut.items() if name in counts} and len(counts) == 2
    assert {"mmlu", "training_flops", "name"} <= {*found.models} and not found.models["mmlu"].isna().any()
    assert (found.errors["count"].iloc[-1], found.errors["kind"].iloc[-1]) == (200, "all")


def test_iso_flops_bin_by_bin(dense):
    """Each point is the best that a brute force finds in its bin; a bin without a point is empty."""
    found, size, score = dense.found, dense.brute.quantities["total_params"], dense.brute.evaluation.score
    edges = np.geomspace(size[dense.brute.feasible].min(), size[dense.brute.feasible].max(), BINS + 1)
    for level, part in found.iso.groupby("level"):
        inside = dense.brute.feasible & (dense.brute.quantities["training_flops"] <= level)
        place = np.clip(np.searchsorted(edges, size, side="right") - 1, 0, BINS - 1)
        expected = [score[inside & (place == i)].max() for i in range(BINS) if (inside & (place == i)).any()]
        np.testing.assert_allclose(part["score"], expected, rtol=1e-7)


@pytest.mark.parametrize("rows", ["feasible", "compact"])
def test_rows_give_the_same_maps(dense, tmp_path, rows):
    spec = {**DENSE, "output": {**DENSE["output"], "rows": rows}}
    run_sweep(parse_spec(spec), tmp_path / "out")
    found = gather(tmp_path / "out", ["training_tokens", "intermediate_size"])
    assert found.heat[0].names == "training tokens × FFN size / hidden size"
    check_maps(found, dense.brute)
    assert "feasible rows" in found.heat[0].how


def test_many_rows_stream(tmp_path, monkeypatch):
    """Over 10^5 rows are read a few at a time, and only two of their columns."""
    axes = {**DENSE["axes"], "training_tokens": {"geometric": ["100B", "10T"], "num": 4000}}
    spec = parse_spec({**DENSE, "axes": axes, "output": {"top": 5, "rows": "feasible"}, "limits": {"training_flops": 1e24}})
    outcome = run_sweep(spec, tmp_path)
    assert outcome.counts.feasible > 10**5
    monkeypatch.setattr(tables, "BATCH", 2**12)
    read, manifest = [], json.loads((tmp_path / "manifest.json").read_text())
    plan = heat.Plan(spec.space(), 0, 3, [0, 0, 0, 7], 1)

    def batches():
        for batch in tables.batches(tables.row_files(tmp_path, manifest), ["candidate_id", "score"]):
            read.append(batch.num_rows)
            assert batch.schema.names == ["candidate_id", "score"]
            yield batch["candidate_id"].to_numpy(), batch["score"].to_numpy()

    maps = heat.from_rows(plan, batches())
    assert max(read) <= 2**12 and sum(read) == outcome.counts.feasible
    assert maps[0].score.shape == (4, 64) and "of training tokens one value in 63" in maps[0].how
    whole = pd.concat(pq.read_table(file).to_pandas() for file in tables.row_files(tmp_path, manifest))
    best = whole.groupby(["num_hidden_layers", "training_tokens"])["score"].max().unstack()
    np.testing.assert_allclose(maps[0].score, best[maps[0].columns].to_numpy(), rtol=1e-6)


def test_a_loss_is_better_when_less(tmp_path):
    done = made(LOSS, tmp_path / "out")
    found = done.found
    assert not found.score.higher_is_better and set(found.missing) == {"models"}
    check_maps(found, done.brute)
    check_iso(found, done.brute)
    best = found.top["score"].iloc[0]
    assert np.nanmin(found.heat[0].score) == pytest.approx(best) and found.readings["hidden_size"].best == pytest.approx(best)
    front = skyline(found.frontier, "training_flops", found.score)
    assert np.all(np.diff(front["score"]) < 0) and np.all(np.diff(front["training_flops"]) > 0)
    drawn = charts.heat_map(found.heat[0], found.score)
    assert drawn.data[0].reversescale  # bright is better
    row, column = np.unravel_index(np.nanargmin(found.heat[0].score), found.heat[0].score.shape)
    assert (drawn.data[1].y[0], drawn.data[1].x[0]) == (row, column)


def test_experts_swept_and_searched(tmp_path, monkeypatch):
    """As on a grid of which not every candidate can be looked at."""
    monkeypatch.setattr(recompute, "STREAMED", 0)
    monkeypatch.setattr(iso_flops, "BINS", 4)
    sparse = made(MOE, tmp_path)
    check_maps(sparse.found, sparse.brute, rtol=1e-12)
    check_iso(sparse.found, sparse.brute)
    assert "of all candidates" in sparse.found.heat[0].how
    assert "reconstruction" in pages.page(sparse.found) and sparse.found.missing == {"cuts": "the spec has no limits"}


def test_tokens_that_the_budget_buys(tmp_path, monkeypatch):
    monkeypatch.setattr(iso_flops, "BINS", 4)  # a search each
    bought = made(SPEND, tmp_path)
    check_maps(bought.found, bought.brute)
    sizes = bought.brute.quantities["total_params"]
    flops = bought.found.iso["training_flops"] / bought.found.iso["level"]
    assert (
        bought.found.iso["level"].nunique() > 3 and (flops <= 1).all() and (flops > 0.999).all()
    )  # each level buys its own tokens
    assert set(bought.found.iso["total_params"]) <= set(sizes)


def test_a_law_with_resamples_is_reported_with_its_quantiles(tmp_path):
    law = FittedLaw(name="mine", metric="MMLU", source="a test", law=as_record(PerformanceDense()), sample=members())
    save_fitted(law, tmp_path / "mine.json")
    fitted = made({**DENSE, "law": str(tmp_path / "mine.json")}, tmp_path / "out")
    assert set(fitted.found.missing) == set()
    check_maps(fitted.found, fitted.brute)
    check_iso(fitted.found, fitted.brute)
    top = fitted.found.top
    assert (top["score_p05"] < top["score"]).all() and (top["score"] < top["score_p95"]).all()
    written = write_report(fitted.path, tmp_path)
    text = written[0].read_text(encoding="utf-8")
    assert ">5 %</button>" in text and ">95 %</button>" in text and "not how far models scatter" in text
    assert f">{top['score_p05'].iloc[0]:.2f}</td>" in text and ">mine<" in text
    assert {path.stem for path in written[1:]} == {"frontier", "marginals", "heat-map", "iso-flops", "cuts"}


def test_searches_and_curves(dense, tmp_path):
    exact = made(DENSE, tmp_path / "exact", run_exact)
    check_maps(exact.found, dense.brute)
    assert exact.found.kind == "a search by exact" and set(exact.found.missing) == {"cuts"}
    pd.testing.assert_frame_equal(
        exact.found.marginals, dense.found.marginals[["axis", "value", "score"]], check_dtype=False, rtol=1e-12
    )
    trials = made(DENSE, tmp_path / "optuna", run_optuna, Plan(trials=30, sampler="random"))
    check_maps(trials.found, dense.brute)
    assert "not of the grid" in pages.page(trials.found)
    curve = tmp_path / "curve"
    run_curve(parse_spec(DENSE), curve, "training_flops", [1e21, 1e22, 1e23])
    files = write_report(curve, curve)
    found, text = gather(curve), files[0].read_text()
    assert len(found.top) == 3 and found.best["budget"] == 1e23 and "frontier" in found.missing
    assert "Best design per budget" in text and "figures/curve.png" in {f.relative_to(curve).as_posix() for f in files}


def test_too_large_a_grid_is_cut_through_the_best(dense, monkeypatch):
    monkeypatch.setattr(recompute, "STREAMED", 0)
    monkeypatch.setattr(heat, "MOST_SWEPT", 10)
    grid = Grid(dense.spec, dense.found.entry, dense.found.manifest, int(dense.brute.top(1)[0]))
    maps = grid.heat_maps(None, dense.path, dense.found.manifest)
    best = dense.brute.top(1)[0]
    at = [int(d) for d in dense.brute.problem.space.digits(best)]
    shown = maps[0]
    assert "slice through the best design" in shown.how and len(maps) == 5
    assert np.nanmax(shown.score) == pytest.approx(dense.found.top["score"].iloc[0], rel=1e-12)
    for row, column in np.ndindex(shown.score.shape):
        id = int(dense.brute.problem.space.ids([row, column, *at[2:]]))
        expected = dense.brute.evaluation.score[id] if dense.brute.feasible[id] else np.nan
        assert shown.score[row, column] == pytest.approx(expected, rel=1e-12, nan_ok=True)


def test_nothing_is_feasible(tmp_path):
    run_sweep(parse_spec({**DENSE, "limits": {**DENSE["limits"], "training_flops": 1e3}}), tmp_path)
    found = gather(tmp_path)
    assert found.top.empty and {"frontier", "heat", "iso"} <= set(found.missing)
    assert "none of 240 candidates is feasible" in pages.page(found)
    assert [path.name for path in write_report(tmp_path, tmp_path)] == ["report.html", "cuts.png", "cuts.svg"]


def test_a_law_that_is_gone_leaves_its_reason(copied):
    manifest = json.loads((copied / "manifest.json").read_text())
    change(copied, spec={**manifest["spec"], "law": "nowhere_to_be_found:score"})
    found = gather(copied)
    assert found.heat is None and "nowhere_to_be_found" in found.missing["heat"] and found.readings
    assert "nowhere_to_be_found" in pages.page(found)
    change(copied, spec=manifest["spec"], law={**manifest["law"], "coefficients": {"layers": 1.0}})
    assert "another one by now" in gather(copied).missing["heat"]


class Scripts(HTMLParser):
    """The elements of a page."""

    def __init__(self, text):
        super().__init__()
        self.elements = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))


def test_names_are_text(copied, tmp_path):
    """Nothing that a manifest or a table of models says can become markup or end a script."""
    nasty = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
    manifest = json.loads((copied / "manifest.json").read_text())
    change(copied, name=nasty, law={**manifest["law"], "note": nasty, "source": nasty}, device=nasty)
    table = pd.read_csv(pages.__file__.replace("report/page.py", "data/models.csv"))
    models = tmp_path / "models.csv"
    table.assign(name=table["name"].str.slice(stop=0) + nasty).to_csv(models, index=False)
    for found in (gather(copied, models=models), gather(copied)):
        text = pages.page(found)
        seen = Scripts(text).elements
        assert [attrs.get("type") for tag, attrs in seen if tag == "script"] == ["application/json", None, None]
        assert not [attrs for tag, attrs in seen if tag == "img" or any(name.startswith("on") for name in attrs)]
        assert "alert(1)" in text
    policy = next(attrs["content"] for tag, attrs in seen if attrs.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'") and "unsafe-inline" not in policy.split("style-src")[0]
    assert not [a for _, a in seen if a.get("src") or str(a.get("href", "#")).startswith("http")]


def test_the_command(dense, copied):
    done = perflaw("report", copied, "--heat", "hidden_size, training_tokens", cwd=copied)
    names = [line.removeprefix(f"{copied}/") for line in done.out.splitlines()]
    assert done.code == 0 and not done.err and names[0] == "report.html" and len(names) == 11
    assert set(names) <= set(REPORT) and all((copied / name).stat().st_size > 1000 for name in names)
    text = (copied / "report.html").read_text()
    assert (
        text.index("hidden size × training tokens") < text.index("layers × hidden size")
        if "layers × hidden size" in text
        else 1
    )
    checked = perflaw("verify", copied, cwd=copied)
    assert checked.code == 0 and "3 files" in checked.out
    before = {name: (copied / name).read_bytes() for name in names}
    again = perflaw("report", copied, "--out", "there", "--heat", "hidden_size,training_tokens", "--json", cwd=copied)
    assert json.loads(again.out)["files"][0] == "there/report.html"
    assert before == {name: (copied / "there" / name).read_bytes() for name in names}  # the same bytes
    spec = copied / "spec.toml"
    spec.write_text("[axes]\nnum_hidden_layers = [2]\n")
    run_sweep(parse_spec(DENSE), copied)
    assert not [name for name in REPORT if (copied / name).exists()]  # it was about results that are gone


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        (["--heat", "layers,hidden_size"], 2, "--heat: no axis 'layers' with more than one value here"),
        (["--heat", "hidden_size"], 2, "--heat: write two different axes, AXIS,AXIS; here there are num_hidden_layers"),
        (["--heat", "hidden_size,hidden_size"], 2, "--heat: write two different axes"),
        (["--heat", ""], 2, "--heat: no axis ''"),
        (["--models", "manifest.json"], 2, "manifest.json"),
        (["--out", "top.parquet"], 1, "top.parquet"),
    ],
)
def test_mistakes_are_one_line(copied, options, code, told):
    done = perflaw("report", copied, *options, cwd=copied)
    assert done.code == code and told in done.err and done.err.count("\n") == 1 and not done.out
    assert not (copied / "report.html").exists()


def test_directories_without_results(copied, tmp_path_factory):
    empty = tmp_path_factory.mktemp("empty")
    assert "holds no perflaw results" in perflaw("report", empty, cwd=empty).err
    assert perflaw("report", copied / "top.parquet", cwd=empty).code == 1
    (copied / "frontier.parquet").write_bytes(b"PAR1")
    assert "frontier.parquet" in perflaw("report", copied, cwd=empty).err
    (copied / "frontier.parquet").unlink()
    assert "frontier.parquet is missing" in perflaw("report", copied, cwd=empty).err
    change(copied, complete=False)
    assert "has not finished" in perflaw("report", copied, cwd=empty).err
    change(copied, complete=True, law="none")
    done = perflaw("report", copied, cwd=empty)
    assert done.code == 1 and "does not say which spec and law" in done.err and not any(empty.iterdir())


def test_without_the_extra(copied, monkeypatch):
    monkeypatch.setattr("perflaw_jax.cli_show.find_spec", lambda name: None if name == "plotly" else 1)
    done = perflaw("report", copied, cwd=copied)
    assert done.code == 2 and done.err == "perflaw: perflaw report needs plotly: pip install 'perflaw_jax[plot]'\n"


def test_reading_an_axis():
    values, scores = np.array([1.0, 2, 4, 8, 16, 3]), np.array([50.0, 60, 70, 69.6, np.nan, 69.0])
    reading = read_axis(values, scores, Score("MMLU"))
    assert (reading.value, reading.best, reading.low, reading.high) == (4, 70, 4, 8)
    assert reading.half == (2, 10) and reading.double[0] == 8 and not (reading.at_start or reading.at_end)
    less = read_axis(values, -scores, Score("loss", higher_is_better=False))
    assert less.value == 4 and less.best == -70
    assert read_axis(values, np.full(6, np.nan), Score("MMLU")) is None
    one = read_axis(np.array([7.0]), np.array([3.0]), Score("loss", False))
    assert (one.low, one.high, one.half, one.at_start, one.at_end) == (7, 7, None, True, True)


@pytest.mark.parametrize("count", [1, 64, 65, 200, 10**6])
def test_thinned_axes_hold_the_best(count):
    for best in {0, count // 2, count - 1}:
        kept = kept_places(count, best)
        assert best in kept and len(kept) <= 64 and len({*np.diff(kept)}) <= 1
