"""The search loop: exact verdicts, hard limits, cells, every sampler, seeds."""

import warnings
from math import isclose

import numpy as np
import optuna
import pytest
from brute import Brute
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from problems import families

from perflaw_jax.cells import Cells
from perflaw_jax.columns import Columns
from perflaw_jax.engine import Engine, Problem
from perflaw_jax.laws import FunctionLaw, PerformanceDense
from perflaw_jax.objective import Bound
from perflaw_jax.proposals import Choices
from perflaw_jax.sampled import Judge, search
from perflaw_jax.samplers import SAMPLERS, check_sampler, default_sampler, make_proposer
from perflaw_jax.space import Axis, Space
from perflaw_jax.studies import InMemory

AXES = (
    Axis("num_hidden_layers", tuple(np.arange(4.0, 68.0, 4))),
    Axis("hidden_size", tuple(np.arange(256.0, 4096.0, 256))),
    Axis("intermediate_size", (2.0, 3.0, 4.0), "ratio", "hidden_size", 64),
    Axis("training_tokens", tuple(np.geomspace(1e10, 1e13, 40))),
)
LIMITS = {"training_flops": Bound(max=3e22), "total_params": Bound(max=3e9), "aspect_ratio": Bound(min=32.0)}
COSTS = ("training_flops", "kv_cache_bytes")


@pytest.fixture(scope="module")
def brute():
    return Brute(Problem(Space(AXES), PerformanceDense(), LIMITS, COSTS))


@pytest.fixture(scope="module")
def judges(brute):
    columns = Columns(Engine(brute.problem), None)
    choices = Choices(brute.problem.space, (), LIMITS)
    return {multi: Judge(columns, choices, multi) for multi in (False, True)}


def run(judge, sampler="tpe", trials=64, seed=0):
    directions = ["maximize"] + ["minimize"] * 2 * judge.multi
    return search(judge, make_proposer(sampler, judge.choices.counts, directions, [seed]), InMemory(trials))


def available(name):
    try:
        check_sampler(name, objectives=1, axes=4)
    except ValueError as error:
        pytest.skip(str(error))


@settings(max_examples=4, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(families(size=6), st.data())
def test_verdicts_are_the_brute_force(family, data):
    for problem in family:
        check_verdicts(problem, data)


def check_verdicts(problem, data):
    brute, choices = Brute(problem), Choices(problem.space, (), problem.limits)
    judge = Judge(Columns(Engine(problem), None), choices, multi=True)
    score_ends = [end for end in problem.limits.get("score", Bound())[:2] if end is not None]
    rows = [[data.draw(st.integers(0, n - 1)) for n in choices.counts.values()] for _ in range(5)]
    judged = judge.judge(np.array(rows, np.int64).reshape(5, len(choices.counts)))
    ids = judged.rows.ids
    decided = np.array([not any(isclose(brute.evaluation.raw[id], end) for end in score_ends) for id in ids])
    assert np.array_equal((judged.violation == 0)[decided], brute.feasible[ids][decided])  # the last bit may fall either way
    assert np.isfinite(judged.violation).all() and (judged.violation >= 0).all()
    good = judged.violation == 0
    verdicts = judge.verdicts(judged)
    told = np.array([v.values for v in verdicts])
    assert np.isfinite(told).all() and told.shape == (5, 1 + len(problem.costs))
    np.testing.assert_allclose(told[good, 0], brute.evaluation.score[ids[good]], rtol=1e-12)
    assert np.array_equal(told[good, 1:], brute.costs[ids[good], : len(problem.costs)])
    assert [v.violation for v in verdicts] == judged.violation.tolist()


def test_what_breaks_a_limit_is_worth_less_than_what_does_not_and_the_further_the_less(judges, brute):
    judge = judges[False]
    shapes = np.array([[15, 14, 2, 0], [15, 10, 2, 0], [0, 14, 0, 5]])  # far too large, too large, feasible
    judged = judge.judge(shapes)
    values = [v.values[0] for v in judge.verdicts(judged)]
    assert judged.violation[0] > judged.violation[1] > 0 == judged.violation[2]
    assert values[0] < values[1] < brute.evaluation.score[brute.feasible].min() <= values[2]


@pytest.fixture
def one_thread():
    """torch on one thread: two spin ten times as long over matrices of a few dozen rows, to the same end."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_searches(sampler, judges, brute, request):
    available(sampler)
    trials = 96
    with warnings.catch_warnings():
        if sampler == "gp":
            warnings.simplefilter("ignore")  # torch
            request.getfixturevalue("one_thread")
            trials = 24
        ids = run(judges[False], sampler, trials)
        again = run(judges[False], sampler, trials)
    assert ids == again and len(ids) == trials
    assert len({*ids}) > 16 and brute.feasible[ids].sum() > 8
    if sampler != "random":
        assert ids != run(judges[False], "random", trials)


@pytest.mark.parametrize("sampler", ["nsgaii", "nsgaiii", "tpe", "rustuna"])
def test_several_objectives(sampler, judges, brute):
    available(sampler)
    ids = np.array(run(judges[True], sampler, 96))
    front = {*brute.frontier().tolist()}
    assert len({*ids}) > 40 and (brute.feasible[ids].sum() > 20 or front & {*ids.tolist()})


def test_the_default_finds_the_optimum_of_a_small_space(judges, brute):
    best = max(run(judges[False], trials=320), key=lambda id: (brute.feasible[id], brute.evaluation.score[id]))
    assert brute.evaluation.score[best] > brute.evaluation.score[brute.top(1)[0]] - 0.3


def test_seeds_differ(judges):
    assert run(judges[False], "random", 32, seed=1) != run(judges[False], "random", 32, seed=2)


@settings(max_examples=4, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(families(costs=(), size=5), st.data())
def test_a_cell_has_the_best_of_its_candidates(family, data):
    fields = [axis.field for axis in family[0].space.axes]
    cell = tuple(data.draw(st.lists(st.sampled_from(fields), min_size=1, max_size=len(fields) - 1, unique=True)))
    for problem in family:
        check_cells(problem, cell, data)


def check_cells(problem, cell, data):
    space, brute = problem.space, Brute(problem)
    choices = Choices(space, cell, problem.limits)
    cells = Cells(problem, choices.open)
    digits = space.digits(np.arange(space.size))
    for _ in range(3):
        at = space.digits(np.array([data.draw(st.integers(0, space.size - 1))]))
        inside = [digits[i] == at[i] for i in range(len(at)) if i not in choices.open]
        members = np.flatnonzero(np.logical_and.reduce(inside))
        expected = [id for id in brute.ranked if id in {*members.tolist()}]
        assert cells.best([int(d[0]) for d in at]) == (expected[0] if expected else None)
        corners = space.ids(cells.corners([int(d[0]) for d in at]))
        assert {*corners.tolist()} <= {*members.tolist()} and len(corners) == 2 ** len(cell)


def test_all_cells_share_their_programs(nothing_compiled, brute, monkeypatch):
    made = []
    monkeypatch.setattr("perflaw_jax.cells.Engine", lambda problem: made.append(Engine(problem)) or made[-1])
    choices = Choices(brute.problem.space, ("num_hidden_layers", "training_tokens"), LIMITS)
    judge = Judge(Columns(Engine(brute.problem), None), choices)
    ids = run(judge, "random", 40)
    assert len(made) == 1 and made[0].programs.sure.find._cache_size() == 1 and made[0].programs.decide._cache_size() <= 3
    assert brute.feasible[ids].all()
    score = brute.evaluation.score[ids].max()
    assert score > brute.evaluation.score[brute.top(1)[0]] - 1


def test_a_space_of_one_candidate():
    space = Space(tuple(Axis(axis.field, axis.values[:1], axis.relation, axis.base) for axis in AXES))
    problem = Problem(space, PerformanceDense(), {})
    judge = Judge(Columns(Engine(problem), None), Choices(space))
    assert run(judge, "random", 3) == run(judge, default_sampler(3, objectives=1, axes=0), 3) == [0, 0, 0]


def test_less_may_be_better(brute):
    columns = Columns(Engine(brute.problem), None, sign=-1)
    judge = Judge(columns, Choices(brute.problem.space, (), LIMITS))
    told = []
    ids = search(
        judge, make_proposer("random", judge.choices.counts, ["minimize"], [0]), InMemory(32), lambda *a: told.append(a)
    )
    assert told[-1] == (0, pytest.approx(-brute.evaluation.score[[i for i in ids if brute.feasible[i]]].max()))


@pytest.mark.parametrize(
    ("name", "objectives", "axes", "said"),
    [("tpee", 1, 3, "did you mean 'tpe'?"), ("cmaes", 2, 3, "one objective"), ("cmaes", 1, 1, "two axes")],
)
def test_samplers_that_cannot(name, objectives, axes, said):
    with pytest.raises(ValueError) as error:
        check_sampler(name, objectives=objectives, axes=axes)
    assert said in str(error.value)


@pytest.mark.parametrize(("name", "extra"), [("gp", "gp"), ("rustuna", "rustuna")])
def test_a_missing_package_is_named_with_its_extra(name, extra, monkeypatch):
    monkeypatch.setattr("perflaw_jax.samplers.find_spec", lambda package: None)
    with pytest.raises(ValueError, match=rf"perflaw_jax\[{extra}\]"):
        check_sampler(name, objectives=1, axes=3)
    assert default_sampler(10**5, objectives=1, axes=3) == "cmaes" and default_sampler(10**5, objectives=2, axes=3) == "nsgaii"


def test_the_constraint_is_where_optuna_looks_for_it():
    from perflaw_jax.samplers import CONSTRAINT, LIMITS

    trial = optuna.trial.create_trial(value=1.0, system_attrs={CONSTRAINT: 0.5})
    assert trial.constraints == {LIMITS: 0.5}


def test_a_cell_of_a_mixture_keeps_the_share_that_takes_the_rest():
    shares = (0.0, 0.2, 0.4)
    axes = (Axis("data_fraction.code", shares), Axis("data_fraction.math", shares))
    shape = {"num_hidden_layers": 2.0, "hidden_size": 256.0, "intermediate_size": 512.0, "training_tokens": 1e9}
    law = FunctionLaw(lambda design: design.data_fraction["web"] - 2 * abs(design.data_fraction["code"] - 0.2))
    cells = Cells(Problem(Space(axes, shape, rest="data_fraction.web"), law, {}), open=(0,))
    assert [cells.best((0, math)) for math in range(3)] == [3, 4, 5]  # code 0.2 beside each share of math
