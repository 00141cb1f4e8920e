"""The rankings as laws: exact search and sweep by them equal sorting everything."""

import jax
import numpy as np
import pytest
from brute import evaluate_all
from hypothesis import given, settings
from hypothesis import strategies as st

from perflaw_jax.engine import Problem
from perflaw_jax.exact import Searcher
from perflaw_jax.exhaustive import sweep
from perflaw_jax.laws import LAWS, Negated, PerformanceDense
from perflaw_jax.objective import Bound
from perflaw_jax.planner.ranking import RANKINGS, Ranked
from perflaw_jax.space import Axis, Space

DENSE = PerformanceDense()
BALANCE, SHALLOW = RANKINGS["balance"], RANKINGS["shallow"]
KEYS = {
    "performance": lambda score, layers: score,
    "balance": lambda score, layers: score**2 / np.log(1 + layers),
    "shallow": lambda score, layers: score - 128 * layers,
}


@st.composite
def spaces(draw):
    """Small grids of one shape, tokens beyond the cap among them so that there are ties."""
    layers = sorted(draw(st.lists(st.integers(4, 120), min_size=5, max_size=5, unique=True)))
    hidden = sorted(draw(st.lists(st.integers(4, 64), min_size=4, max_size=4, unique=True)))
    tokens = np.geomspace(1e11, draw(st.sampled_from([1e12, 4e13])), 8)
    return Space(
        (
            Axis("num_hidden_layers", tuple(map(float, layers))),
            Axis("hidden_size", tuple(128.0 * h for h in hidden)),
            Axis("intermediate_size", (1.0, 2.0, 3.5), "ratio", "hidden_size", 64),
            Axis("training_tokens", tuple(tokens.tolist())),
        )
    )


def expected(space, ranking, least, budget, top):
    """Ids of the best by plain sorting: ranking value, then the engine's order of merit."""
    evaluation, quantities = evaluate_all(space, DENSE)
    feasible = (evaluation.raw >= least - 1e-12 * (1 + abs(least))) & (quantities["training_flops"] <= budget)
    value = KEYS[ranking](evaluation.score, quantities["num_hidden_layers"])
    ids = np.flatnonzero(feasible)
    order = np.lexsort((ids, quantities["total_params"][ids], quantities["training_flops"][ids], -value[ids]))
    return ids[order][:top], value


@pytest.mark.parametrize("ranking", KEYS)
@settings(max_examples=8)
@given(space=spaces(), place=st.floats(0, 1), share=st.floats(0.2, 1))
def test_search_and_sweep_rank_as_sorting_does(ranking, space, place, share):
    evaluation, quantities = evaluate_all(space, DENSE)
    least = float(np.sort(evaluation.raw)[int(place * (space.size - 1))])  # hit exactly by a design
    budget = float(np.quantile(quantities["training_flops"], share, method="lower"))
    problem = Problem(space, Ranked(DENSE, RANKINGS[ranking], least), {"training_flops": Bound(max=budget)})
    ids, value = expected(space, ranking, least, budget, 20)
    for found in (Searcher(problem).search(top=20), sweep(problem, top=20, marginals=False, counts=False)):
        top = found.top.finish()
        assert len(top.candidate_id) == len(ids)
        np.testing.assert_allclose(top.score, value[ids], rtol=1e-13)
        # where values differ by more than rounding, so do the designs
        clear = np.flatnonzero(np.diff(value[ids]) < -1e-9)
        if len(clear):
            assert {*top.candidate_id[: clear[-1] + 1]} == {*ids[: clear[-1] + 1]}


def test_a_limit_met_exactly_is_met_in_both_precisions():
    from perflaw_jax.design import Design

    design = Design(62, 4096.0, 8192.0, 32.0, 6.5e12)
    with jax.enable_x64(True):
        raw = float(DENSE.raw(jax.tree.map(np.float64, design)))
        for least, met in ((raw, True), (raw + 1e-9, False), (raw - 1e-9, True)):
            assert np.isfinite(Ranked(DENSE, BALANCE, least).raw(jax.tree.map(np.float64, design))) == met
    single = jax.tree.map(np.float32, design)
    assert np.isfinite(Ranked(DENSE, BALANCE, np.float32(raw)).raw(single))  # float32 finds what float64 will decide on
    assert np.isfinite(Ranked(DENSE, SHALLOW, np.float32(raw + 1e-4)).raw(single))
    assert not np.isfinite(Ranked(DENSE, SHALLOW, np.float32(raw + 1)).raw(single))


def test_shallow_first_takes_laws_of_which_less_is_better():
    from perflaw_jax.design import Design

    law = Negated(LAWS["chinchilla"].law)
    shallow, deep = (Ranked(law, SHALLOW).raw(Design(n, 4096.0, 14336.0, 32.0, 1e12)) for n in (30.0, 31.0))
    assert shallow > deep
