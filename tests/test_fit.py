"""Fits against known truths, published protocols and a slow solver; the table's checks; the files that come of it."""

import dataclasses
import json

import jax
import numpy as np
import pandas as pd
import pytest
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st

from perflaw_jax.catalogue import find_law
from perflaw_jax.fit import Rows, fit, refit, resampled_runs
from perflaw_jax.fit_runner import Wanted, fit_law, plan_of
from perflaw_jax.fit_table import read_table
from perflaw_jax.fitted import save_fitted
from perflaw_jax.laws import LAWS
from perflaw_jax.laws.entry import coefficients
from perflaw_jax.laws.loss import Chinchilla
from perflaw_jax.minimise import huber
from perflaw_jax.recipes import LOSS_LAWS, RECIPES, SCORE_MAPS

TRUTH = Chinchilla()
BOOTSTRAP = 40  # one number of resamples, and 33 to 64 rows, where neither is the point: all then share their programs


def chinchilla_loss(n, d, c=TRUTH):
    """As the paper reads."""
    return c.irreducible + c.scale_params / n**c.exponent_params + c.scale_tokens / d**c.exponent_tokens


def chinchilla_runs(count=60, noise=0.0, seed=0):
    random = np.random.default_rng(seed)
    n, d = 10 ** random.uniform(7.5, 10, count), 10 ** random.uniform(9, 11.5, count)
    loss = chinchilla_loss(n, d) * np.exp(noise * random.standard_t(3, count))
    return pd.DataFrame({"params": n, "tokens": d, "loss": loss})


def rows_of(frame, run=None):
    inputs = {"total_params": frame["params"].to_numpy(float), "training_tokens": frame["tokens"].to_numpy(float)}
    return Rows(inputs, frame["loss"].to_numpy(float), np.arange(len(frame)) if run is None else run)


@pytest.fixture
def write(tmp_path):
    def write(frame, name="runs.csv"):
        frame.to_csv(tmp_path / name, index=False)
        return read_table(tmp_path / name)

    return write


# --- the solver ----------------------------------------------------------------------------------------------------------


@given(residual=st.floats(-10, 10), delta=st.floats(0.01, 5))
def test_huber(residual, delta):
    size = abs(residual)
    expected = residual**2 / 2 if size <= delta else delta * (size - delta / 2)
    with jax.enable_x64(True):
        assert float(huber(residual, delta)) == pytest.approx(expected, rel=1e-12, abs=1e-300)


def test_a_law_without_noise_is_found_again():
    found = fit(RECIPES["chinchilla"], rows_of(chinchilla_runs()))
    for name, value in coefficients(TRUTH).items():
        assert coefficients(found.law)[name] == pytest.approx(value, rel=1e-3)
    assert found.notes == () and found.agreeing > 0.5


def test_the_optimum_is_that_of_a_slow_solver():
    frame, delta = chinchilla_runs(60, 0.01), 1e-3

    def objective(v):
        law = Chinchilla(*np.exp(v))
        off = np.abs(np.log(chinchilla_loss(frame.params, frame.tokens, law)) - np.log(frame.loss))
        return float(np.where(off <= delta, off**2 / 2, delta * (off - delta / 2)).sum())

    found = fit(RECIPES["chinchilla"], rows_of(frame))
    start = np.log(np.array(list(coefficients(TRUTH).values())))
    slow = scipy.optimize.minimize(objective, start, method="Nelder-Mead", options={"maxiter": 20000, "fatol": 1e-14})
    assert found.objective <= slow.fun * (1 + 1e-4)
    assert found.objective == pytest.approx(objective(np.log(list(coefficients(found.law).values()))), rel=1e-9)


def test_resamples_draw_whole_runs():
    frame = chinchilla_runs(60, 0.005)
    run = np.arange(len(frame)) // 3  # three checkpoints each
    rows = rows_of(frame, run)
    found = fit(RECIPES["chinchilla"], rows)
    draws = resampled_runs(20, BOOTSTRAP, seed=1)
    assert (draws.sum(axis=1) == 20).all()
    laws, good = refit(RECIPES["chinchilla"], rows, found, draws)
    one = int(np.flatnonzero(good)[0])
    again = fit(RECIPES["chinchilla"], rows_of(frame.loc[np.repeat(np.arange(60), draws[one][run])], None))
    predicted = [float(chinchilla_loss(1e9, 2e10, law)) for law in (jax.tree.map(lambda leaf: leaf[one], laws), again.law)]
    assert predicted[0] == pytest.approx(predicted[1], rel=1e-3)


def test_what_is_not_identified_is_said():
    frame = chinchilla_runs(40).assign(tokens=2e10)
    frame["loss"] = chinchilla_loss(frame.params, frame.tokens)
    assert any("not identified" in note for note in fit(RECIPES["chinchilla"], rows_of(frame)).notes)


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 1000))
def test_every_recipe_finds_its_own_law(seed):
    random = np.random.default_rng(seed)
    for name in ("linear", "top-one-error"):
        recipe = SCORE_MAPS[name]
        loss = random.uniform(2, 4, 40)
        with jax.enable_x64(True):
            score = np.asarray(recipe.law.of_loss(loss))
        found = fit(recipe, Rows({"loss": loss}, score, np.arange(40)))
        with jax.enable_x64(True):
            np.testing.assert_allclose(found.law.of_loss(loss), score, rtol=1e-3)


def test_recipes_name_coefficients_that_exist():
    for name, recipe in RECIPES.items():
        assert {*recipe.spread} <= {*coefficients(recipe.law)}, name
        assert recipe.positive <= {*recipe.spread}
        assert recipe.target in ("loss", "score")


# --- public data ---------------------------------------------------------------------------------------------------------

CHANCE = {"arc_challenge": 0.25, "arc_easy": 0.25, "boolq": 0.5, "csqa": 0.2, "hellaswag": 0.25}
CHANCE |= {"openbookqa": 0.25, "piqa": 0.5, "socialiqa": 1 / 3, "winogrande": 0.5, "mmlu": 0.25}
FLP_ERRORS = {  # task -> checkpoints, relative errors (per cent) of FLP and FP at 7B and at 13B: facts on the public runs
    "hellaswag": (2755, 3.1, 35, 5.0, 47),
    "arc_easy": (3167, 3.8, 19, 4.0, 24),
    "arc_challenge": (1470, 10.4, 7.6, 7.6, 1.7),
    "boolq": (2445, 22.9, 14.7, 22.7, 12.9),
    "csqa": (3142, 1.7, 29, 2.5, 37),
    "openbookqa": (1583, 3.0, 7.4, 3.9, 19),
    "piqa": (3134, 1.3, 5.5, 1.0, 7.4),
    "socialiqa": (3216, 12.4, 4.6, 15.5, 3.6),
    "winogrande": (1115, 1.9, 8.5, 2.1, 8.6),
    "mmlu": (1648, 7.8, 8.4, 8.6, 8.0),
}


@pytest.fixture(scope="module")
def ladder(shared_data):
    table = read_table(shared_data / "olmo_ladder.csv")
    losses = tuple(name for name in table.frame.columns if name.startswith("loss_"))
    return table.where(["role=sampling"]), table.where(["role=target"]), losses


def relative_errors(law, targets, task):
    flops = targets.quantity("training_flops")
    with jax.enable_x64(True):
        return 100 * np.abs(np.asarray(law.of(flops)) / targets.column(f"acc_{task}") - 1)


@pytest.mark.parametrize("task", FLP_ERRORS)
def test_flp_on_the_ladder_as_published(ladder, task):
    sampling, targets, losses = ladder
    checkpoints, *expected = FLP_ERRORS[task]
    wanted = Wanted(target=f"acc_{task}", loss=losses, chance=CHANCE[task], bootstrap=0)
    flp, stages = fit_law("flp", sampling, wanted)
    assert [len(stage.rows.target) for stage in stages] == [25, checkpoints]
    assert flp.law["loss"]["exponent"] == pytest.approx(0.046606, rel=1e-4)
    fp, _ = fit_law("flops-to-performance", sampling, wanted)
    found = [relative_errors(law.entry().law, targets, task) for law in (flp, fp)]
    assert np.abs(np.stack(found, axis=1).ravel() - expected).max() < 1.0


def test_the_projects_variant_is_better_than_flp(ladder):
    sampling, targets, losses = ladder
    errors = {}
    for name in ("flp", "flp-logistic"):
        each = []
        for task in ("boolq", "mmlu"):
            wanted = Wanted(target=f"acc_{task}", loss=losses, chance=CHANCE[task], bootstrap=0)
            law, _ = fit_law(name, sampling, wanted)
            each.append(relative_errors(law.entry().law, targets, task))
        errors[name] = np.mean(each, axis=0)
    assert (errors["flp-logistic"] < 0.4 * errors["flp"]).all()


def test_registry_constants_of_flp_are_those_of_the_fit(ladder):
    sampling, _, losses = ladder
    sampling = dataclasses.replace(sampling, frame=sampling.frame.assign(mmlu=100 * sampling.frame.acc_mmlu))
    for name in ("flp", "flp-logistic", "flops-to-performance"):
        fitted, _ = fit_law(name, sampling, Wanted(target="mmlu", loss=losses, chance=25.0, bootstrap=0))
        expected = coefficients(LAWS[name].law)
        for key, value in fitted.entry().quoted.items():
            assert value == pytest.approx(expected[key], rel=1e-4), key


FIVE = [("d=96_l=8_h=4", 1), ("d=512_l=8_h=4", 1), ("d=576_l=24_h=8", 1), ("d=1024_l=24_h=8", 1), ("d=96_l=8_h=4", 16)]


@pytest.fixture(scope="module")
def gadre(shared_data):
    frame = pd.read_csv(shared_data / "gadre_runs.csv")

    def runs(data, chosen):
        rows = [frame[(frame.train_set == data) & (frame.model == m) & (frame.chinchilla_multiplier == k)] for m, k in chosen]
        return pd.concat(rows)

    return frame, runs


@pytest.mark.parametrize("data", ["c4", "redpajama", "refinedweb"])
def test_over_training_constants_are_those_of_the_repository(gadre, data):
    _, runs = gadre
    five = runs(data, FIVE)
    recipe = dataclasses.replace(RECIPES["overtraining"], logarithmic=False, delta=np.inf)
    found = fit(recipe, rows_of(five.rename(columns={"loss_c4_val": "loss"})))
    for name, value in coefficients(LAWS[f"overtraining-{data}"].law).items():
        assert coefficients(found.law)[name] == pytest.approx(value, rel=0.01), name
    six = runs(data, [*FIVE, ("open_lm_1b", 1)])
    for tasks in (17, 46):
        rows = Rows({"loss": six.loss_c4_val.to_numpy()}, six[f"top1_error_{tasks}_tasks"].to_numpy(), np.arange(6))
        error = fit(RECIPES["top-one-error"], rows)
        for name, value in coefficients(LAWS[f"overtraining-{data}-error{tasks}"].law.score).items():
            assert coefficients(error.law)[name] == pytest.approx(value, rel=0.01), (tasks, name)


def test_over_training_targets(gadre):
    frame, _ = gadre
    loss_error, task_error = [], []
    for row in frame[frame.role == "target"].sort_values("params").itertuples():
        law = LAWS["overtraining-c4-error17"].law
        with jax.enable_x64(True):
            loss = float(law.loss.of(float(row.params), float(row.tokens)))
            error = float(law.score.of_loss(loss))
        loss_error.append(100 * abs(loss / row.loss_c4_val - 1))
        task_error.append(100 * abs(error / row.top1_error_17_tasks - 1))
    assert loss_error == pytest.approx([1.50, 4.30], abs=0.1)
    assert task_error == pytest.approx([9.58, 0.14], abs=0.3)


# --- tables and files ----------------------------------------------------------------------------------------------------


def test_a_fitted_law_is_a_file_that_is_a_law(write, tmp_path):
    fitted, _ = fit_law("chinchilla", write(chinchilla_runs(40, 0.01)), Wanted(bootstrap=BOOTSTRAP))
    save_fitted(fitted, tmp_path / "mine.json")
    first = (tmp_path / "mine.json").read_bytes()
    save_fitted(fitted, tmp_path / "mine.json")
    assert (tmp_path / "mine.json").read_bytes() == first
    entry = find_law(str(tmp_path / "mine.json"))
    assert entry.metric == "loss" and not entry.higher_is_better
    assert entry.quoted == fitted.entry().quoted
    record = json.loads(first)
    assert record["data"]["rows"] == 40 and len(record["sample"]["irreducible"]) == BOOTSTRAP
    assert len(record["support"]["low"]) == 40
    assert np.all(np.linalg.eigvalsh(record["covariance"]["matrix"]) >= -1e-6)


def test_the_same_seed_gives_the_same_file(write):
    table, wanted = write(chinchilla_runs(40, 0.01)), Wanted(bootstrap=BOOTSTRAP)
    assert fit_law("chinchilla", table, wanted)[0] == fit_law("chinchilla", table, wanted)[0]


def bad(frame, **columns):
    return frame.assign(**columns)


RUNS = chinchilla_runs(40)
CHECKPOINTS = pd.DataFrame(
    {
        "run": np.repeat(np.arange(20), 4),
        "flops": np.tile([1e18, 2e18, 3e18, 4e18], 20) * np.repeat(np.arange(1, 21), 4),
        "loss": np.linspace(4, 2, 80),
        "score": np.linspace(0.2, 0.6, 80),
    }
)


@pytest.mark.parametrize(
    ("law", "frame", "wanted", "words"),
    [
        ("chinchilla", RUNS.drop(columns="params"), {}, ("missing column", "total_params", "params")),
        ("chinchilla", RUNS.drop(columns="loss"), {}, ("'loss'",)),
        ("chinchilla", RUNS.assign(params=[-1.0, *RUNS.params[1:]]), {}, ("params", "must be > 0", "line 2")),
        ("chinchilla", RUNS.assign(tokens=[*RUNS.tokens[:-1], 0.0]), {}, ("tokens", "must be > 0", "line 41")),
        ("chinchilla", RUNS.assign(loss=["x", *RUNS.loss[1:]]), {}, ("loss", "number", "line 2")),
        ("chinchilla", RUNS.assign(loss=[np.inf, *RUNS.loss[1:]]), {}, ("loss", "finite", "line 2")),
        ("chinchilla", RUNS.head(4), {}, ("4 distinct rows", "5 coefficients")),
        ("chinchilla", pd.concat([RUNS, RUNS.tail(1)]), {}, ("duplicate", "lines 41, 42")),
        ("chinchilla", RUNS, {"hold": {"alpha": 1.0}}, ("--hold", "'alpha'")),
        ("chinchilla", RUNS, {"runs": "name"}, ("'name'",)),
        ("flp", CHECKPOINTS, {}, ("--target", "score")),
        ("flp", CHECKPOINTS, {"target": "scor"}, ("'scor'", "did you mean 'score'")),
        ("flp", CHECKPOINTS, {"target": "score", "chance": 0.9}, ("no checkpoint is above 0.95",)),
        ("flp", CHECKPOINTS.assign(flops=0.0), {"target": "score"}, ("flops", "must be > 0", "line 2, 3")),
        ("flp", pd.concat([CHECKPOINTS, CHECKPOINTS.head(2)]), {"target": "score"}, ("duplicate",)),
        ("flp", CHECKPOINTS.assign(is_final=True), {"target": "score"}, ("is_final", "one row")),
    ],
)
def test_what_is_wrong_with_a_table(write, law, frame, wanted, words):
    with pytest.raises(ValueError) as told:
        fit_law(law, write(frame), Wanted(bootstrap=0, **wanted))
    message = str(told.value)
    assert "\n" not in message and all(word in message for word in words), message


def test_what_cannot_be_fitted():
    for name, words in {
        "flpp": "did you mean 'flp'",
        "chinchilla + line": "did you mean 'linear'",
        "linear": "LOSS + SCORE",
    }.items():
        with pytest.raises(ValueError, match=words.replace("+", r"\+")):
            plan_of(name)
    assert plan_of("overtraining-c4") == ("overtraining",)
    assert plan_of("overtraining-c4-error46") == ("overtraining", "top-one-error")
    assert plan_of("compression") == ("chinchilla", "compression")
    assert all({*plan_of(name)} <= {*RECIPES} for name in LAWS)
    assert all(plan_of(name) == (name,) for name in LOSS_LAWS)


def test_stages_take_the_rows_that_are_theirs(write):
    fitted, (loss, score) = fit_law("flp", write(CHECKPOINTS), Wanted(target="score", chance=0.25, bootstrap=0))
    assert loss.rows.target.tolist() == CHECKPOINTS.groupby("run").loss.last().tolist()
    assert score.rows.target.min() > 0.3 and len(score.rows.target) == int((CHECKPOINTS.score > 0.3).sum())
    assert fitted.law["score"]["chance"] == 0.25 and fitted.law["loss"]["flops"] == "training_flops"
    assert "chance" not in fitted.note


def test_columns_under_other_names_and_tokens_from_flops(write):
    plain, _ = fit_law("chinchilla", write(RUNS), Wanted(bootstrap=0))
    other = pd.DataFrame({"Model Size": RUNS.params, "FLOP": 6 * RUNS.params * RUNS.tokens, "loss": RUNS.loss, "params": 1.0})
    table = write(other).renamed(["params=Model Size", "training_flops = FLOP"])
    again, _ = fit_law("chinchilla", table, Wanted(bootstrap=0))
    assert again.entry().quoted == pytest.approx(plain.entry().quoted, rel=1e-3)
    for pair, words in {
        "params": "NAME=COLUMN",
        "params=Size": "no column 'Size'; allowed: Model Size, FLOP",
        "params=x": "no column 'x'; allowed: Model Size, FLOP",
    }.items():
        with pytest.raises(ValueError, match=words):
            write(other).renamed([pair])


def test_blank_runs_are_left_out_and_counted(write):
    fitted, stages = fit_law("chinchilla", write(RUNS.assign(loss=[np.nan, np.nan, *RUNS.loss[2:]])), Wanted(bootstrap=0))
    assert len(stages[0].rows.target) == 38 and "2 of 40 runs left out" in fitted.note
