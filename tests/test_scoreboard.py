"""The scoreboard: figures on the shipped table, and that no law has seen what it is held against."""

import json
from copy import copy

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from test_cli import complaint, perflaw

from perflaw_jax.datasets import MODELS, load_models, model_fields
from perflaw_jax.fitted import FittedLaw, save_fitted
from perflaw_jax.held_out import Intervals, Refit, Rows, left_out, left_out_intervals, reach
from perflaw_jax.law_forms import as_record
from perflaw_jax.laws import ComputeSigmoid, MmluCalibrated
from perflaw_jax.scoreboard import FREE, LEFT_OUT, PUBLISHED, Result, measures, scoreboard, year_of

LATER = "fitted before 2024-07"


@pytest.fixture(scope="module")
def board():
    return scoreboard(load_models())


@pytest.fixture(scope="module")
def figures(board):
    return {(result.law, result.protocol): measures(result, board.models) for result in board.results}


@pytest.fixture(scope="module")
def few():
    """Twenty-four models of six organisations, and a baseline to refit on them."""
    table = load_models().dropna(subset=["tokens_t", "mmlu"])
    table = table[table["organization"].isin(["Alibaba", "Meta", "Google", "AI2", "EleutherAI", "01.AI"])]
    table = table.groupby("organization").head(4).reset_index(drop=True)
    years = np.array([year_of(released, "") for released in table["released"]])
    rows = Rows(model_fields(table), years, table["mmlu"].to_numpy(float))
    return Refit(ComputeSigmoid(), FREE[ComputeSigmoid], rows), table["organization"].to_numpy(str)


# --- the shipped table --------------------------------------------------------------------------------------------------


def test_the_calibrated_law_beats_the_baselines_on_organisations_not_seen(figures):
    ours, sigmoid = figures["mmlu-calibrated", LEFT_OUT], figures["compute-sigmoid", LEFT_OUT]
    assert ours["count"] == sigmoid["count"] == 200
    assert ours["mean_absolute_error"] == pytest.approx(4.473, abs=0.01)
    assert sigmoid["mean_absolute_error"] == pytest.approx(6.8, abs=0.15)
    assert 5.5 < figures["performance-moe", LEFT_OUT]["mean_absolute_error"] < 6.5
    assert abs(ours["bias"]) < 0.2 and ours["rank_correlation"] > sigmoid["rank_correlation"] > 0.88
    assert 0.85 <= ours["coverage"] <= 0.95 and 15 < ours["width"] < 25


def test_later_models_are_a_tie(figures):
    ours, sigmoid = figures["mmlu-calibrated", LATER], figures["compute-sigmoid", LATER]
    assert ours["count"] == sigmoid["count"] == 36
    assert ours["mean_absolute_error"] == pytest.approx(5.452, abs=0.02) and 0.85 <= ours["coverage"] <= 0.95
    assert sigmoid["mean_absolute_error"] == pytest.approx(5.0, abs=0.15)


def test_laws_as_published(board, figures):
    assert figures["performance-dense", PUBLISHED]["mean_absolute_error"] == pytest.approx(10.6, abs=0.2)
    assert figures["performance-dense", PUBLISHED]["count"] == figures["compression", PUBLISHED]["count"] == 180
    assert figures["performance-moe", PUBLISHED]["mean_absolute_error_moe"] == pytest.approx(15.0, abs=0.2)
    assert ("compression", LEFT_OUT) not in figures
    assert [law for law, protocol in figures if protocol == LATER] == [
        "performance-dense",
        "performance-moe",
        "mmlu-calibrated",
        "compute-sigmoid",
    ]
    assert (len(board.post_trained), len(board.unknown), board.notes) == (5, 20, [])


@pytest.mark.parametrize("law", [MmluCalibrated(), ComputeSigmoid()])
def test_the_published_coefficients_are_those_of_the_refit(board, law):
    table = load_models()
    table = table[table["name"].isin(board.models["name"]) & ~table["score_is_post_trained"]]
    years = np.array([year_of(released, "") for released in table["released"]])
    refit = Refit(law, FREE[type(law)], Rows(model_fields(table), years, table["mmlu"].to_numpy(float)))
    refit.start = refit.start * 1.1
    np.testing.assert_allclose(
        refit.fit(np.ones(len(table), bool)), [getattr(law, name) for name in FREE[type(law)]], rtol=1e-3
    )


def test_the_published_interval_is_that_of_the_organisations_left_out(board):
    result = next(r for r in board.results if (r.law, r.protocol) == ("mmlu-calibrated", LEFT_OUT))
    law = MmluCalibrated()
    found = reach(law, result.predicted, board.models["mmlu"].to_numpy(float)[result.rows])
    np.testing.assert_allclose(found, (law.below, law.above), rtol=1e-3)


# --- nothing that is held out has a say ---------------------------------------------------------------------------------


@settings(max_examples=8)
@given(place=st.integers(0, 5), poison=st.lists(st.floats(0, 100), min_size=4, max_size=4))
def test_an_organisation_left_out_does_not_enter_its_own_fit(few, place, poison):
    refit, groups = few
    everything, own = np.ones(len(groups), bool), groups == np.unique(groups)[place]
    clean = left_out(refit, groups, everything)
    poisoned = copy(refit)  # the same programs: reported scores are no part of them
    poisoned.rows = refit.rows._replace(reported=np.where(own, np.resize(poison, len(own)), refit.rows.reported))
    again = left_out(poisoned, groups, everything)
    np.testing.assert_array_equal(again[own], clean[own])
    assert np.any(again[~own] != clean[~own])


def test_intervals_know_nothing_of_an_organisation_left_out(few):
    baseline, groups = few
    refit = Refit(MmluCalibrated(), ("limit", "progress"), baseline.rows)
    own = groups == "Meta"
    predicted = np.linspace(25, 80, len(groups))
    clean = left_out_intervals(refit, groups, predicted)
    refit.rows = refit.rows._replace(reported=np.where(own, 100 - refit.rows.reported, refit.rows.reported))
    again = left_out_intervals(refit, groups, predicted)
    np.testing.assert_array_equal(np.array(again)[:, own], np.array(clean)[:, own])
    assert np.any(np.array(again)[:, ~own] != np.array(clean)[:, ~own])


def test_models_left_out_have_no_say_as_if_they_were_not_there(few):
    refit, groups = few
    among = np.isin(groups, ["Meta", "Google", "AI2"])
    alone = Refit(refit.law, refit.free, refit.rows.where(among))
    np.testing.assert_allclose(refit.fit(among), alone.fit(np.ones(among.sum(), bool)), rtol=1e-7)
    law = ComputeSigmoid(*refit.fit(among))
    flops = np.array([6e21 * 7 * 2, 6e21 * 70 * 15])
    by_hand = 25 + 65 / (1 + np.exp(-law.intercept - law.slope * np.log(flops / 1e21)))
    np.testing.assert_allclose([float(law.of(f)) for f in flops], by_hand, rtol=1e-5)


def test_reach_is_the_conformal_quantile():
    errors = np.random.default_rng(0).normal(size=59)
    predicted = np.append(np.full(59, 25.0), np.nan)  # at chance the scale of errors is 2
    found = reach(MmluCalibrated(), predicted, np.append(25 + 2 * errors, 60.0))
    assert found == pytest.approx((-np.sort(errors)[2], np.sort(errors)[56]))  # ceil(60 x 0.95) is the 57th of 59


# --- measures -----------------------------------------------------------------------------------------------------------


def test_measures():
    models = pd.DataFrame({"mmlu": [25.0, 40.0, 60.0, 60.0, 80.0], "kind": ["dense", "dense", "moe", "dense", "moe"]})
    predicted = np.array([30.0, 40.0, 50.0, 75.0])
    result = Result("law", "protocol", np.array([0, 2, 3, 4]), predicted, Intervals(predicted - 10, predicted + 4))
    found = measures(result, models)
    assert found.pop("rank_correlation") == pytest.approx(scipy.stats.spearmanr(predicted, [25, 60, 60, 80])[0])
    assert found == {
        "count": 4,
        "mean_absolute_error": 10.0,
        "mean_absolute_error_above_chance": pytest.approx(35 / 3),
        "mean_absolute_error_dense": 7.5,
        "mean_absolute_error_moe": 12.5,
        "bias": -7.5,
        "coverage": 0.25,
        "width": 14.0,
    }
    flat = measures(Result("law", "protocol", np.array([0, 2, 4]), np.full(3, 25.0)), models)
    assert flat["rank_correlation"] is None and flat["coverage"] is None and flat["width"] is None


# --- a user's table and law ---------------------------------------------------------------------------------------------


def table(**columns) -> pd.DataFrame:
    """A few rows of the shipped table, some columns changed; None drops one."""
    frame = pd.read_csv(MODELS)
    frame = frame[frame["organization"].isin(["Meta", "Google"]) & (frame["kind"] == "dense")].dropna(
        subset=["tokens_t", "mmlu"]
    )
    return frame.drop(columns=[name for name, v in columns.items() if v is None]).assign(
        **{name: v for name, v in columns.items() if v is not None}
    )


@pytest.fixture
def here(tmp_path):
    """A directory with a small table, a user's law and a fitted one."""
    table(organization=None).to_csv(tmp_path / "mine.csv", index=False)
    (tmp_path / "scorelaw.py").write_text(
        "import jax.numpy as jnp\n\ndef deep(design):\n    return 10 * jnp.log(design.num_hidden_layers)\n\n"
        "def nothing(design):\n    return jnp.log(-design.num_hidden_layers)\n"
    )
    record = as_record(ComputeSigmoid(slope=0.7))
    save_fitted(
        FittedLaw(name="compute-sigmoid", metric="mmlu", experts=True, source="s", law=record), tmp_path / "fitted.json"
    )
    return tmp_path


def test_a_users_table_and_law(here):
    done = perflaw("validate", "--models", "mine.csv", "--law", "scorelaw:deep", "--before", "2023-12", "--json", cwd=here)
    assert (done.code, done.err) == (0, "")
    told = json.loads(done.out)
    assert told["notes"] == ["organisations were not left out one by one: the table has no column organization"]
    assert {row["law"] for row in told["laws"]} == {"scorelaw:deep", "performance-moe", "mmlu-calibrated", "compute-sigmoid"}
    assert {row["protocol"] for row in told["laws"]} == {PUBLISHED, f"{PUBLISHED}, from 2023-12", "fitted before 2023-12"}
    first, models = told["laws"][0], told["models"]
    assert told["models_scored"] == first["count"] == len(models) == len(table())
    shipped = table().set_index("name")
    for model in models:
        said = model["predicted"]["scorelaw:deep"][PUBLISHED]
        assert said == pytest.approx(10 * np.log(shipped.loc[model["name"], "num_hidden_layers"]))
        low, high = model["intervals"]["mmlu-calibrated"][PUBLISHED]
        assert low < model["predicted"]["mmlu-calibrated"][PUBLISHED] < high
    errors = [abs(model["predicted"]["scorelaw:deep"][PUBLISHED] - model["mmlu"]) for model in models]
    assert first["mean_absolute_error"] == pytest.approx(np.mean(errors))


def test_a_fitted_law_of_the_same_name_on_too_few_models(here):
    table().head(3).to_csv(here / "three.csv", index=False)
    done = perflaw("validate", "--models", "three.csv", "--law", "fitted.json", cwd=here)
    assert (done.code, done.err) == (0, "")
    assert "compute-sigmoid (yours)" in done.out and "\ncompute-sigmoid  " in done.out
    assert f"NOTE: mmlu-calibrated, {LEFT_OUT}: 0 models of 0 organisations without the largest; needs 8 of 2" in done.out
    assert "NOTE: compute-sigmoid, fitted before 2024-07: 3 models before and 0 after; needs 4 before and one after" in done.out
    assert LATER not in done.out.split("NOTE")[0] and "at chance" in done.out


def test_a_law_without_a_finite_score(here):
    done = perflaw("validate", "--models", "mine.csv", "--law", "scorelaw:nothing", "--before", "2000-01", cwd=here)
    assert f"NOTE: scorelaw:nothing gives no finite score for {len(table())} of these models" in done.out


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (
            {},
            ("--law", "kaplan"),
            "law: kaplan predicts loss, of which less is better, not MMLU; laws that do: performance-dense, ",
        ),
        ({}, ("--law", "mmlu"), "law: no law named 'mmlu'"),
        ({}, ("--before", "soon"), "--before: must be a year and month such as 2024-07, not soon"),
        ({}, ("--before", "2024-13"), "--before: must be a year and month"),
        ({"mmlu": 0.5}, (), "mmlu: must be in points, 0 to 100, not a fraction, not 0.5 (row "),
        ({"mmlu": 101}, (), "mmlu: must be 0 to 100 points, not 101 (row "),
        ({"tokens_t": 0}, (), "tokens_t: must be > 0, not 0 (row "),
        ({"tokens_t": np.nan}, (), "no model of the table has both MMLU and training tokens"),
        ({"score_is_post_trained": True}, (), "no model of the table has both MMLU and training tokens"),
        ({"released": "2024-20"}, (), "released (row "),
        ({"mmlu": None}, (), "wrong.csv: missing column mmlu"),
    ],
)
def test_wrong_input(here, change, options, message):
    table(**change).to_csv(here / "wrong.csv", index=False)
    assert message in complaint(perflaw("validate", "--models", "wrong.csv", *options, cwd=here), 2)


def test_a_blank_organisation_is_told():
    blank = load_models()
    blank = blank.loc[blank["name"].isin(["Llama-2-7B", "Llama-2-13B"])].assign(organization=[None, "Meta"])
    board = scoreboard(blank)
    assert "organisations were not left out one by one: organization is blank (row Llama-2-7B)" in board.notes
    assert {result.protocol for result in board.results} == {PUBLISHED}


def test_what_the_command_prints(board, figures, capsys):
    from perflaw_jax import answers

    answers.validated(board, False)
    lines = capsys.readouterr().out.splitlines()
    ours = next(line.split() for line in lines if line.startswith("mmlu-calibrated") and LEFT_OUT in line)
    assert ours[4:] == ["200", "4.5", "5.0", "4.1", "7.4", "0.0", "0.928", "91.0%", "20.9"]
    assert any("65 models at chance (28 or less)" in line for line in lines)
    assert any(line.startswith("left out, post-trained: 5 (Phi-3-mini-3.8B") for line in lines)
    answers.validated(board, True)
    told = json.loads(capsys.readouterr().out)
    assert [(row["law"], row["protocol"]) for row in told["laws"]] == [*figures]
    assert (told["models_scored"], told["at_chance"]) == (200, 65)
