"""The optimum at each budget is the sweep's, what binds is what a sweep without it improves on, and exponents are recovered."""

import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from brute import Brute

from perflaw_jax.curve import curve, free_choice, power_law, within
from perflaw_jax.curve_runner import run_curve
from perflaw_jax.engine import Problem
from perflaw_jax.exact import Searcher
from perflaw_jax.laws import PerformanceDense
from perflaw_jax.objective import Bound
from perflaw_jax.space import Axis, Space
from perflaw_jax.spec import parse_spec
from perflaw_jax.spec_values import number_range
from perflaw_jax.verify import verify

AXES = (
    Axis("num_hidden_layers", tuple(map(float, range(8, 64, 4)))),
    Axis("hidden_size", tuple(map(float, range(1024, 8192, 1024)))),
    Axis("intermediate_size", (2.0, 3.0, 4.0), "ratio", "hidden_size", 256),
)
TOKENS = Axis("training_tokens", tuple(np.geomspace(1e10, 1e13, 12)))
LIMITS = {"total_params": Bound(min=2e9), "weight_bytes": Bound(max=4e10)}
BUDGETS = np.geomspace(1e19, 1e26, 8)


def best(problem):
    brute = Brute(problem)
    ids = brute.top(1)
    return (int(ids[0]), float(brute.evaluation.score[ids[0]])) if len(ids) else (None, -np.inf)


@pytest.mark.parametrize("spend", [None, 1.0])
def test_each_point_is_the_optimum_and_names_what_binds(spend):
    problem = Problem(Space(AXES if spend else (*AXES, TOKENS), {}, spend), PerformanceDense(), LIMITS, ("total_params",))
    points = curve(Searcher(within(problem, "training_flops", 1e22)), "training_flops", BUDGETS)
    assert [point.budget for point in points] == BUDGETS.tolist()
    assert (points[0].candidate_id is None) == (spend is None) and points[-1].candidate_id is not None
    for point, budget in zip(points, BUDGETS, strict=True):
        space = replace(problem.space, spend=budget) if spend else problem.space
        limits = {**LIMITS, "training_flops": Bound(max=budget)}
        here = Problem(space, problem.law, limits)
        candidate, score = best(here)
        assert point.candidate_id == candidate
        if candidate is None:
            assert point.binds == ()
            continue
        for name in limits:
            free = replace(here, limits={n: b for n, b in limits.items() if n != name})
            if spend and name == "training_flops":
                free = replace(free, space=replace(space, spend=2 * budget))
            assert (best(free)[1] > score) == any(b in point.binds for b in (f"{name} min", f"{name} max"))
        for axis, digit in zip(space.axes, space.digits(np.array([candidate])), strict=True):
            assert (digit == 0) == (f"{axis.field} start" in point.binds)
            assert (digit == len(axis.values) - 1) == (f"{axis.field} stop" in point.binds)


def test_power_laws_are_recovered():
    budget = np.geomspace(1e20, 1e26, 9)
    law = power_law(budget, 3e-4 * budget**0.45)
    assert law.exponent == pytest.approx(0.45) and law.coefficient == pytest.approx(3e-4) and law.points == 9
    assert law.error == pytest.approx(0, abs=1e-9)
    noisy = power_law(budget, 3e-4 * budget**0.45 * np.exp(0.1 * np.cos(np.arange(9.0))))
    assert noisy.exponent == pytest.approx(0.45, abs=3 * noisy.error) and noisy.error > 1e-4


@pytest.mark.parametrize("values", [[1.0, 2.0], [1.0, 0.0, 2.0], [1.0, np.nan, 2.0]])
def test_too_few_points_give_no_power_law(values):
    assert power_law(np.geomspace(1, 10, len(values)), np.array(values)) is None


def test_one_budget_gives_no_power_law():
    assert power_law(np.full(5, 1e21), np.arange(1.0, 6.0)) is None


def test_a_choice_is_free_where_the_budget_alone_binds():
    class Of:
        def __init__(self, *binds):
            self.binds = binds

    points = [Of("training_flops max"), Of("training_flops max", "hidden_size stop"), Of("weight_bytes max"), Of()]
    assert free_choice(points, "training_flops", ["num_hidden_layers"]).tolist() == [True, True, False, False]
    assert free_choice(points, "training_flops", ["hidden_size"]).tolist() == [True, False, False, False]


SPEC = {
    "name": "small",
    "axes": {
        "num_hidden_layers": {"start": 8, "stop": 60, "step": 4},
        "hidden_size": {"start": 1024, "stop": 7168, "step": 1024},
        "training_tokens": {"geometric": [1e10, 1e13], "num": 12},
    },
    "fixed": {"intermediate_size": 8192},
    "limits": {"training_flops": 1e20, "total_params": {"min": 2e9}},
}


def test_a_curve_is_written_and_verified(tmp_path):
    seen = []
    budgets = np.geomspace(1e19, 1e25, 7)
    outcome = run_curve(parse_spec(SPEC), tmp_path / "out", "training_flops", budgets, lambda *told: seen.append(told))
    table = pq.read_table(tmp_path / "out" / "curve.parquet").to_pandas()
    assert table["budget"].tolist() == [b for b in budgets if b not in outcome.without] and outcome.without
    assert (table["training_flops"] <= table["budget"]).all() and (np.diff(table["score"]) >= 0).all()
    np.testing.assert_allclose(table["budget_used"], table["training_flops"] / table["budget"])
    assert table["binds"].str.contains("training_flops max").any()
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["complete"] and manifest["curve"]["over"] == "training_flops"
    assert manifest["without_optimum"] == outcome.without
    assert {*manifest["power_laws"]} == {"num_hidden_layers", "hidden_size", "total_params", "training_tokens"}
    assert verify(tmp_path / "out") == []
    assert (tmp_path / "out" / "curve.png").read_bytes()[:4] == b"\x89PNG"
    assert [told[:2] for told in seen] == [(done / 7, 0) for done in range(1, 8)]  # budgets are no candidates


def test_a_curve_over_nothing_known_names_the_nearest(tmp_path):
    with pytest.raises(ValueError, match="--over: no quantity named 'trainig_flops'; did you mean 'training_flops'"):
        run_curve(parse_spec(SPEC), tmp_path / "out", "trainig_flops", [1e20])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("training_flops", "--over: must be QUANTITY=LOW:HIGH"),
        ("training_flops=1e21", "--over: must be QUANTITY=LOW:HIGH"),
        ("a=1:x", "--over: must be a number such as 4096, 1.5e12 or \"15T\", not 'x'"),
        ("a=0:1", "--over: must be > 0"),
        ("a=2:1", "--over: the range goes from 2 down to 1"),
        ("a=1:inf", "--over: must be a number"),
    ],
)
def test_a_range_that_is_none(text, message):
    with pytest.raises(ValueError) as caught:
        number_range(text, "--over")
    assert str(caught.value).startswith(message)
