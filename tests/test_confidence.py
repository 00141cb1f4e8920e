"""How far a score can be trusted: ensembles in sweeps and searches, ranking by a quantile, the distance to the data."""

import json
import types
from pathlib import Path

import jax
import numpy as np
import pyarrow.parquet as pq
import pytest

from perflaw_jax import runner
from perflaw_jax.catalogue import find_law
from perflaw_jax.confidence import Confidence
from perflaw_jax.design import Design
from perflaw_jax.distance import distance_to, support_of
from perflaw_jax.exact_runner import run_exact
from perflaw_jax.fitted import DataRecord, FittedLaw, SupportRecord, save_fitted
from perflaw_jax.law_forms import FORMS, as_record, from_record
from perflaw_jax.laws import LAWS, Chinchilla, Ensemble, PerformanceDense, Support
from perflaw_jax.laws.ensemble import rank
from perflaw_jax.spec import parse_spec

MEMBERS = 21
SPEC = {
    "axes": {
        "num_hidden_layers": {"start": 8, "stop": 64, "step": 8},
        "hidden_size": [2048, 4096, 8192],
        "training_tokens": {"geometric": [1e11, 1e13], "num": 9},
    },
    "fixed": {"intermediate_size": 14336},
    "limits": {"training_flops": 1e24},
    "output": {"top": 20, "frontier": ["training_flops"]},
}


def members():
    """Laws that disagree about depth."""
    random = np.random.default_rng(0)
    return {"layers": random.normal(14, 3, MEMBERS).tolist(), "bias": random.normal(9, 4, MEMBERS).tolist()}


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("law") / "mine.json"
    runs = np.array([[7e9, 1e12], [7e10, 1e12], [7e9, 8e12]])
    law = FittedLaw(
        name="mine",
        metric="MMLU",
        source="a test",
        law=as_record(PerformanceDense()),
        sample=members(),
        support=SupportRecord(inputs=("total_params", "training_tokens"), low=runs.tolist(), reach=1.0),
        data=DataRecord(file="runs.csv", sha256="00", rows=3, runs=3),
    )
    save_fitted(law, path)
    return path


def member_scores(design):
    """Every member, one after the other, in plain calls."""
    drawn = members()
    laws = [PerformanceDense(layers=a, bias=b) for a, b in zip(drawn["layers"], drawn["bias"], strict=True)]
    with jax.enable_x64(True):
        return np.array([float(law.clamp(law.raw(design))) for law in laws])


def designs(table):
    names = [name for name in Design._fields if name in table.column_names]
    for row in table.select(names).to_pylist():
        yield Design(**{name: float(value) for name, value in row.items()})


@pytest.mark.parametrize("run", [runner.run_sweep, run_exact])
def test_quantiles_and_the_probability_of_being_best(file, tmp_path, run):
    run(parse_spec({**SPEC, "law": str(file)}), tmp_path / "out")
    top = pq.read_table(tmp_path / "out" / "top.parquet")
    scores = np.array([member_scores(design) for design in designs(top)])
    ascending = np.sort(scores, axis=1)
    for name, share in {"score_p05": 0.05, "score_p50": 0.5, "score_p95": 0.95}.items():
        np.testing.assert_allclose(top[name], ascending[:, rank(share, MEMBERS)], rtol=1e-9)
    np.testing.assert_allclose(top["prob_best"], np.bincount(scores.argmax(axis=0), minlength=20) / MEMBERS)
    with jax.enable_x64(True):
        quoted = [float(PerformanceDense()(design)) for design in designs(top)]
    np.testing.assert_allclose(top["score"], quoted, rtol=1e-12)
    frontier = pq.read_table(tmp_path / "out" / "frontier.parquet")
    assert {"score_p05", "extrapolation", "extrapolated"} <= {*frontier.column_names}


@pytest.mark.parametrize("by", ["score_p05", "score_p95"])
def test_ranking_by_a_quantile_is_the_brute_force(file, tmp_path, by):
    spec = parse_spec({**SPEC, "law": str(file), "output": {"top": 20, "frontier": [], "rank_by": by}})
    runner.run_sweep(spec, tmp_path / "sweep")
    run_exact(spec, tmp_path / "exact")
    swept, searched = (pq.read_table(tmp_path / name / "top.parquet") for name in ("sweep", "exact"))
    assert swept["candidate_id"].to_pylist() == searched["candidate_id"].to_pylist()
    assert swept["score"].to_pylist() == swept[by].to_pylist()
    space, everything = spec.space(), []
    fields = space.fields(space.digits(np.arange(space.size)))
    law = find_law(str(file)).law
    share = {"score_p05": 0.05, "score_p95": 0.95}[by]
    with jax.enable_x64(True):
        batch = jax.jit(jax.vmap(lambda one: law.quantile(Design(**one), share)))(fields)
        flops = 6 * np.asarray(jax.jit(jax.vmap(lambda one: runner_total(Design(**one))))(fields))
    everything = np.where(flops * fields["training_tokens"] <= 1e24, np.asarray(batch), -np.inf)
    assert swept["score"][0].as_py() == pytest.approx(everything.max(), rel=1e-12)
    np.testing.assert_allclose(swept["score"], np.sort(everything)[::-1][:20], rtol=1e-12)


def runner_total(design):
    from perflaw_jax.accounting import total_params

    return total_params(design)


def test_ranking_needs_an_ensemble(tmp_path):
    spec = parse_spec({**SPEC, "output": {"rank_by": "score_p05"}})
    with pytest.raises(ValueError, match=r"output.rank_by: performance-dense has no ensemble"):
        runner.run_sweep(spec, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_settings_reach_every_member(file):
    entry = find_law(str(file)).with_settings({"gamma": 2.0})
    assert entry.quoted["gamma"] == 2.0
    assert np.asarray(entry.law.members.gamma).tolist() == [2.0] * MEMBERS
    with pytest.raises(ValueError, match="did you mean 'gamma'"):
        entry.with_settings({"gama": 2.0})


# --- distance ------------------------------------------------------------------------------------------------------------


def test_distance_is_0_at_the_data_and_in_a_range():
    support = Support.of_ranges({"total_params": (1e9, 1e11), "training_tokens": (1e11, 1e13)})
    inside, above = np.array([[1e10, 1e12], [1e9, 1e13]]), np.array([[np.e * 1e11, 1e12]])
    assert distance_to(support, inside).tolist() == [0, 0]
    assert distance_to(support, above) == pytest.approx([np.sqrt(0.5)])
    points = np.array([[1.0, 1.0], [np.e, 1.0], [np.e**3, 1.0]])
    fitted = support_of(("total_params", "training_tokens"), points)
    assert fitted.reach == pytest.approx(np.sqrt(2.0))  # the last from the second: 2 / sqrt(2)
    assert distance_to(fitted, points).tolist() == [0, 0, 0]
    assert distance_to(fitted, np.array([[1.0, np.e]])) == pytest.approx([np.sqrt(0.5)])


def test_a_design_far_from_the_runs_is_flagged(file):
    near = {"num_hidden_layers": 32.0, "hidden_size": 4096.0, "intermediate_size": 14336.0, "training_tokens": 1e12}
    fields = {name: np.array([value, value]) for name, value in near.items()}
    fields["num_attention_heads"] = np.array([32.0, 32.0])
    fields["training_tokens"][1] = 1e17
    columns = Confidence(find_law(str(file))).columns(fields)
    assert columns["extrapolated"].tolist() == [False, True]
    assert columns["extrapolation"][0] < 0.5 < 5 < columns["extrapolation"][1]


@pytest.mark.parametrize("law", ["", "overtraining-c4", "mmlu-calibrated"])
def test_rows_carry_their_distance(law, file, tmp_path):
    law = law or str(file)
    spec = parse_spec({**SPEC, "law": law, "output": {"top": 5, "frontier": [], "rows": "feasible"}})
    runner.run_sweep(spec, tmp_path / "out")
    rows = pq.read_table(tmp_path / "out" / "rows")
    names = [*spec.space().tables, "num_attention_heads"]
    fields = {name: rows[name].to_numpy().astype(float) for name in names}
    told = Confidence(find_law(law)).columns(fields)
    np.testing.assert_allclose(rows["extrapolation"], told["extrapolation"], atol=2**-11 + 1e-6)
    assert rows["extrapolated"].to_pylist() == told["extrapolated"].tolist()
    assert 0 < rows.num_rows and (law == "mmlu-calibrated" or told["extrapolated"].any())


def test_no_designs():
    entry = LAWS["chinchilla"]
    fields = {name: np.zeros(0) for name in ("num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads")}
    columns = Confidence(entry).columns({**fields, "training_tokens": np.zeros(0)})
    assert {name: len(column) for name, column in columns.items()} == {"extrapolation": 0, "extrapolated": 0}


# --- files ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name, entry in LAWS.items() if type(entry.law) in FORMS.values()])
def test_every_law_is_data_and_back(name):
    record = json.loads(json.dumps(as_record(LAWS[name].law)))
    assert from_record(record) == jax.tree.map(float, LAWS[name].law)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": "perflaw-law-2"}, "format"),
        ({"metric": 3}, "metric"),
        ({"colour": 3}, "colour"),
        ({"law": {"form": "chinchila"}}, "did you mean 'chinchilla'"),
        ({"law": {"form": "chinchilla", "alpha": 1.0}}, "no such coefficient"),
        ({"law": {"form": "chinchilla", "irreducible": "x"}}, "must be a number"),
        ({"law": {"form": "chinchilla", "irreducible": None}}, "must be"),
        ({"law": {"form": "two-stage"}}, "needs loss, score"),
        ({"sample": {"layers": [1.0, 2.0], "bias": [1.0]}}, "same number of values"),
        ({"sample": {"depth": [1.0]}}, "depth"),
    ],
)
def test_what_is_wrong_with_a_file(file, tmp_path, change, words):
    broken = tmp_path / "broken.json"
    broken.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(ValueError) as told:
        find_law(str(broken))
    assert words in str(told.value) and "\n" not in str(told.value) and "broken.json" in str(told.value)


def test_no_file_and_no_json(tmp_path):
    with pytest.raises(ValueError, match="cannot be read"):
        find_law(str(tmp_path / "none.json"))
    (tmp_path / "text.json").write_text("{")
    with pytest.raises(ValueError, match="not JSON"):
        find_law(str(tmp_path / "text.json"))


# --- composition ---------------------------------------------------------------------------------------------------------


def test_any_loss_under_any_map():
    entry = find_law("chinchilla + overtraining-c4-error17")
    design = Design(32.0, 4096.0, 14336.0, 32.0, 1e12)
    with jax.enable_x64(True):
        loss = LAWS["chinchilla"].law.raw(design)
        assert float(entry.law.raw(design)) == float(LAWS["overtraining-c4-error17"].law.score.of_loss(loss))
    assert not entry.higher_is_better and entry.metric == "top-1 error, mean of 17 tasks"
    again = find_law("flp + compression")
    assert again.law.loss == LAWS["flp"].law.loss and again.metric == "MMLU"
    for name, words in {"performance-dense + flp": "does not predict a loss", "chinchilla + kaplan": "no map"}.items():
        with pytest.raises(ValueError, match=words):
            find_law(name)


def test_an_ensemble_of_equal_members_is_one_law():
    same = jax.tree.map(lambda leaf: np.full(5, leaf), Chinchilla())
    law = Ensemble(Chinchilla(), same)
    design = Design(32.0, 4096.0, 14336.0, 32.0, 1e12)
    with jax.enable_x64(True):
        for share in (0.05, 0.5, 0.95):
            assert float(law.quantile(design, share)) == pytest.approx(float(law.raw(design)), rel=1e-15)
    assert isinstance(law.inputs, tuple) and law.domains == ()
    assert types.SimpleNamespace(**law.point._asdict()).irreducible == 1.8169
