"""The exact search keeps what the brute force would, whatever the axes, limits, ties and plateaus."""

from dataclasses import replace
from unittest.mock import patch

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from brute import Brute
from grids import DENSE, HIDDEN, LAYERS, SPACE, TOKENS
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from odd_laws import gaps, infinite, stepped
from problems import OneOf, families, problems

from perflaw_jax import box_bounds, exact
from perflaw_jax.bounds import UnboundedPrimitive
from perflaw_jax.boxes import Grid, split
from perflaw_jax.engine import Engine, Problem, as_batch
from perflaw_jax.exact import exact_search
from perflaw_jax.exhaustive import sweep
from perflaw_jax.frontier import Frontier
from perflaw_jax.laws import FunctionLaw, Negated, PerformanceMoE
from perflaw_jax.objective import Bound
from perflaw_jax.reduce import TopK
from perflaw_jax.space import Axis, Space

few = settings(
    max_examples=6,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def search(problem, *, pilot=1, seeds=1, few=0, sharpen_after=exact.SHARPEN_AFTER, **options):
    """An exact search that is told little beforehand, so that the boxes are what finds."""
    with (
        patch.object(exact, "PILOT_BLOCKS", pilot),
        patch.object(exact, "SEEDS", seeds),
        patch.object(exact, "FEW", few),
        patch.object(exact, "SHARPEN_AFTER", sharpen_after),
        patch.object(box_bounds, "BATCHES", (64, 256)),
    ):
        return exact_search(problem, **options)


def everything(problem, top):
    """All candidates through the program that decides in sweeps and searches: of scores on a limit its last bit counts."""
    engine, kept = Engine(problem), [TopK(top, len(problem.costs)), Frontier(len(problem.costs) or 1)]
    blocks = np.unravel_index(np.arange(np.prod(engine.tiling.blocks)), engine.tiling.blocks)
    batch = as_batch(*engine.decide(list(blocks)))
    return [reducer.update(batch).finish().candidate_id for reducer in kept[: 1 + bool(problem.costs)]]


def check(problem, *, top=20, **options):
    """Search and hold the result against the brute force."""
    found = search(problem, top=top, **options)
    ids = [reducer.finish().candidate_id.tolist() for reducer in (found.top, found.frontier) if reducer is not None]
    assert ids == [expected.tolist() for expected in everything(problem, top)]
    brute = Brute(problem)
    if "score" not in problem.limits:
        assert ids[0] == brute.top(top).tolist()
        assert not problem.costs or sorted(ids[1]) == brute.frontier().tolist()
    certificate = found.certificate
    assert (certificate.candidates, certificate.gap) == (problem.space.size, 0)
    scores = brute.evaluation.score[brute.feasible]
    assert "score" in problem.limits or certificate.best == pytest.approx(scores.max(initial=-np.inf), rel=1e-13)
    return found, brute


# --- random problems ---------------------------------------------------------------------------------------------------


@settings(few, max_examples=4)
@given(
    family=families(size=6, keep_fixed=True),
    top=st.integers(1, 50),
    seeds=st.sampled_from([1, 32]),
    few=st.sampled_from([0, 10**6]),
    near=st.none() | st.lists(st.floats(0, 1), min_size=1, max_size=3),
)
def test_search_is_the_brute_force(family, top, seeds, few, near):
    for problem in family:
        ids = None if near is None else np.array([int(share * (problem.space.size - 1)) for share in near])
        check(problem, top=top, seeds=seeds, few=few, near=ids)


@settings(few, max_examples=2)
@given(family=families(size=6, keep_fixed=True), top=st.integers(1, 50))
def test_search_by_slopes_is_the_brute_force(family, top):
    for problem in family:
        check(problem, top=top, sharpen_after=0)


# --- fixed tricky cases ------------------------------------------------------------------------------------------------


def test_more_tokens_than_parameters_are_exact_ties():
    plenty = Axis("training_tokens", tuple(np.linspace(3e14, 1e14, 21)))
    space = Space((plenty, LAYERS, HIDDEN), {"intermediate_size": 8192.0})
    check(Problem(space, DENSE, costs=("training_flops",)), top=60)


def test_everything_at_the_floor_of_the_score_ties():
    widths, layers = Axis("hidden_size", (256.0, 128.0, 256.0)), Axis("num_hidden_layers", tuple(map(float, range(90, 128))))
    space = Space((widths, layers, TOKENS), {"intermediate_size": 512.0})
    _, brute = check(Problem(space, DENSE, costs=("training_flops", "total_params")), top=7)
    assert set(brute.evaluation.score) == {25.0}


def test_a_law_may_return_a_plain_number():
    check(Problem(SPACE, FunctionLaw(lambda design: 3), {"training_flops": Bound(max=1e23)}, ("total_params",)), top=30)


def test_one_candidate():
    fixed = {"num_hidden_layers": 32.0, "intermediate_size": 11008.0, "training_tokens": 2e12}
    check(Problem(Space((Axis("hidden_size", (4096.0,)),), fixed), DENSE, costs=("total_params",)))


def never(design):
    """Not a number."""
    return jnp.log(-design.hidden_size)


def network(design):
    """A small network, of which one field is switched off."""
    weights = np.random.default_rng(1).normal(size=(6, 3))
    x = jnp.log(jnp.stack([design.num_hidden_layers, design.hidden_size * 1e-2, design.training_tokens * 1e-11]))
    return jnp.sum(jnp.tanh(weights @ x)) + 0 * design.intermediate_size


def one_field(design):
    """All but one axis is of no use."""
    return jnp.log(design.hidden_size)


@pytest.mark.parametrize("sharpen", [0, exact.SHARPEN_AFTER])
def test_laws_of_the_users(sharpen):
    for law in OneOf.each(gaps, infinite, stepped, never, one_field):
        check(Problem(SPACE, law, {"score": Bound(min=3.0)}, ("training_flops",)), top=40, sharpen_after=sharpen)


@pytest.mark.parametrize("sharpen", [0, exact.SHARPEN_AFTER])
def test_a_network_of_the_users(sharpen):
    check(Problem(SPACE, FunctionLaw(network), {"score": Bound(min=3.0)}), top=40, sharpen_after=sharpen)


def test_a_law_of_which_less_is_better():
    limits = {"total_params": Bound(min=5e9), "score": Bound(max=-30.0)}
    check(Problem(SPACE, Negated(DENSE), limits, ("training_flops", "kv_cache_bytes")))


def test_axes_in_any_order_relative_to_each_other_and_tokens_that_are_bought():
    hidden = Axis("hidden_size", (64.0, 127.99, 50.5, 128.0), "ratio", "num_hidden_layers", 128)
    layers = Axis("num_hidden_layers", (64.0, 8.0, 96.0, 8.0, 31.0, 40.0, 12.0))
    ffn = Axis("intermediate_size", (4096.0, 0.0, -512.0), "offset", "hidden_size")
    heads = Axis("head_dim", (64.0, 256.0, 128.0))
    law = FunctionLaw(lambda design: DENSE.raw(design) + 0.1 * design.num_attention_heads)
    space = Space((hidden, heads, layers, ffn), spend=1e22)
    check(Problem(space, law, {"training_flops": Bound(max=1e22), "tokens_per_param": Bound(max=500.0)}, ("total_params",)))


# --- boxes -------------------------------------------------------------------------------------------------------------


@few
@given(problem=problems(), seed=st.integers(0, 2**32))
def test_a_box_bounds_its_fields_and_its_pieces_make_it_up(problem, seed):
    random, grid = np.random.default_rng(seed), Grid(problem.space)
    ends = np.sort(random.integers(0, problem.space.shape, (2, 20, len(problem.space.shape)), dtype=np.int32), axis=0)
    first, last = ends
    inside = (first + random.random(first.shape) * (last - first + 1)).astype(np.int32)
    fields = problem.space.fields(grid.digits(inside))
    for name, corners in grid.fields.items():
        low, high = (
            values[tuple(np.where(up, a, b)[:, d] for d, up in zip(corners.dims, corners.rising, strict=True))]
            for values, a, b in ((corners.low, first, last), (corners.high, last, first))
        )
        assert np.all((low <= fields[name]) & (fields[name] <= high))
    ids = problem.space.ids(grid.digits(inside))
    assert np.all(grid.least_ids(first, last) <= ids)
    assert np.array_equal(grid.least_ids(inside, inside), ids)
    cut = random.random(first.shape) < 0.7
    unit = random.integers(1, 4, first.shape[1])
    begin, end, parent = split(first, last, cut, unit)
    assert np.allclose(np.bincount(parent, grid.sizes(begin, end), len(first)), grid.sizes(first, last))
    assert np.all((begin <= end) & (begin >= first[parent]) & (end <= last[parent]))


def dense_space(*counts):
    """A grid of layers, widths, FFN widths and tokens with so many values each."""
    values = [np.arange(1, n + 1) * step for n, step in zip(counts[:3], (1.0, 64.0, 32.0), strict=True)]
    values.append(np.geomspace(1e10, 1e14, counts[3]))
    names = ("num_hidden_layers", "hidden_size", "intermediate_size", "training_tokens")
    return Space(tuple(Axis(name, tuple(map(float, v))) for name, v in zip(names, values, strict=True)))


def test_it_keeps_to_the_last_bit_what_a_sweep_keeps():
    problem = Problem(dense_space(32, 32, 32, 64), DENSE, {"training_flops": Bound(max=1e24)})
    engine = Engine(problem)
    found, kept = exact_search(problem, top=1000, engine=engine), sweep(problem, engine=engine, marginals=False, counts=False)
    for column in ("candidate_id", "score", "training_flops", "total_params"):
        np.testing.assert_array_equal(getattr(found.top.finish(), column), getattr(kept.top.finish(), column))
    assert found.certificate.evaluated < problem.space.size / 4


# --- large spaces ------------------------------------------------------------------------------------------------------

IRRELEVANT = (
    Axis("context_length", tuple(map(float, range(1024, 1024 + 2**12)))),
    Axis("vocab_size", tuple(map(float, range(1000, 1000 + 2**12)))),
    Axis("num_key_value_heads", tuple(map(float, range(2**10, 0, -1)))),
)
HUGE = Space((*IRRELEVANT, *dense_space(2**7, 2**7, 2**7, 2**8).axes[:3], TOKENS))


def test_the_best_of_quintillions():
    """Some axes are of no use to the law, one of them not even to a cost: ties by the billion."""
    assert 10**17 < HUGE.size < 2**63
    steps = []
    found = exact_search(Problem(HUGE, DENSE, {"training_flops": Bound(max=1e24)}), top=5, tick=steps.append)
    ids = found.top.finish().candidate_id
    context, vocabulary, heads, *shape = HUGE.digits(ids)
    assert context.tolist() == [0, 1, 2, 3, 4] and {*vocabulary} == {0} and {*heads} == {2**10 - 1}
    assert found.certificate.boxes < 10**6 and steps[-1].waiting == 0 and steps[-1].settled == 1
    reduced = Space(HUGE.axes[3:], {"context_length": 1024.0, "vocab_size": 1000.0, "num_key_value_heads": 1.0})
    best = exact_search(Problem(reduced, DENSE, {"training_flops": Bound(max=1e24)}), top=1).top.finish()
    assert [int(d[0]) for d in shape] == [int(d[0]) for d in reduced.digits(best.candidate_id)]


@pytest.mark.parametrize("value", ["constant", "below the clamp"])
def test_a_law_by_which_all_are_equal(value):
    law = FunctionLaw(lambda design: 0 * design.hidden_size + 3.0) if value == "constant" else DENSE
    tiny = Axis("hidden_size", tuple(map(float, range(64, 0, -1))))
    axes = (*IRRELEVANT, Axis("num_hidden_layers", tuple(map(float, range(40, 168)))), tiny, TOKENS)
    space = Space(axes, {"intermediate_size": 8.0})
    found = exact_search(Problem(space, law, costs=("total_params",)), top=3)
    expected = {"context_length": [1024, 1025, 1026], "vocab_size": [1000] * 3, "hidden_size": [1] * 3}
    fields = space.fields(space.digits(found.top.finish().candidate_id))
    assert {name: fields[name].tolist() for name in expected} == expected
    assert found.frontier.finish().candidate_id.tolist() == found.top.finish().candidate_id[:1].tolist()
    assert found.certificate.boxes < 10**6


def test_nothing_is_feasible():
    problem = Problem(HUGE, DENSE, {"total_params": Bound(max=1e3)}, ("training_flops",))
    found = exact_search(problem)
    assert not len(found.top.finish().score) and not len(found.frontier.finish().score)
    assert (found.certificate.boxes, found.certificate.evaluated, found.certificate.best) == (1, 0, -np.inf)
    assert found.certificate.gap == 0


# --- options -----------------------------------------------------------------------------------------------------------


def test_who_cannot_wait_for_sharper_bounds_gets_none(monkeypatch):
    problem = Problem(dense_space(8, 8, 8, 8), DENSE, {"training_flops": Bound(max=1e23)}, ("training_flops",))
    monkeypatch.setattr(box_bounds.BoxBounds, "sharpened", lambda self: pytest.fail("sharpened"))
    check(problem, sharpen=False, sharpen_after=1)


def test_few_boxes_may_wait():
    problem = Problem(dense_space(16, 16, 16, 16), DENSE, {"training_flops": Bound(max=1e23)}, ("training_flops",))
    waiting = []
    found, _ = check(problem, most_boxes=16, tick=lambda progress: waiting.append(progress.waiting))
    assert 16 < max(waiting) < 64 < found.certificate.boxes / 10


def test_a_gap_is_proven():
    problem = Problem(dense_space(64, 64, 64, 64), DENSE, {"training_flops": Bound(max=1e24)})
    exactly, nearly = (exact_search(problem, top=1, gap=gap).certificate for gap in (0.0, 0.5))
    assert 0 < nearly.gap <= 0.5 and nearly.best <= exactly.best <= nearly.upper
    assert nearly.boxes < exactly.boxes and exactly.gap == 0 and exactly.upper == exactly.best


def test_bounds_by_slopes_take_fewer_boxes():
    problem = Problem(dense_space(128, 128, 128, 128), DENSE, {"training_flops": Bound(max=1e24)})
    plain, sharp = (search(problem, sharpen_after=after, seeds=8, pilot=1024) for after in (exact.SHARPEN_AFTER, 0))
    assert sharp.top.finish().candidate_id.tolist() == plain.top.finish().candidate_id.tolist()
    assert sharp.certificate.boxes < 0.9 * plain.certificate.boxes


def test_the_frontier_may_be_against_some_of_the_costs():
    costs = ("training_flops", "total_params")
    problem = Problem(dense_space(16, 16, 16, 16), DENSE, {"training_flops": Bound(max=1e23)}, costs)
    for cost in costs:
        found = search(problem, frontier=(cost,))
        alone = search(replace(problem, costs=(cost,)))
        np.testing.assert_array_equal(found.frontier.finish().candidate_id, alone.frontier.finish().candidate_id)
        np.testing.assert_array_equal(found.frontier.finish().costs, alone.frontier.finish().costs)
    assert search(problem, frontier=()).frontier is None


def test_what_scores_too_little_is_left_out():
    problem = Problem(dense_space(64, 64, 64, 64), DENSE, {"training_flops": Bound(max=1e24)})
    best = exact_search(problem, top=1)
    score = best.certificate.best
    for least, same in ((score, True), (score - 1e-9, True), (score + 1e-9, False)):
        found = search(problem, top=1, least=least)
        assert (found.certificate.best == score) == same or not same
        assert found.certificate.upper == pytest.approx(max(least, score), abs=0)
        assert not same or found.top.finish().candidate_id == best.top.finish().candidate_id
    assert search(problem, top=1, least=score + 1).certificate.boxes < search(problem, top=1).certificate.boxes


def test_a_law_without_bounds_is_refused_in_one_line():
    law = FunctionLaw(lambda design: jax.scipy.special.gammaln(design.hidden_size))
    with pytest.raises(UnboundedPrimitive, match="^bounds: the primitive 'lgamma' .*") as caught:
        exact_search(Problem(SPACE, law))
    assert "\n" not in str(caught.value)


def test_two_programs_serve_the_whole_search(nothing_compiled):
    problem = Problem(SPACE, PerformanceMoE(), {"training_flops": Bound(max=1e23)}, ("total_params",))
    engine, counts = Engine(problem), []
    with patch.object(box_bounds, "_terms", wraps=box_bounds._terms) as terms:
        exact_search(problem, engine=engine, tick=lambda progress: counts.append(terms.call_count))
        exact_search(replace(problem, limits={"training_flops": Bound(max=1e22)}))
        assert terms.call_count == counts[-1]
    assert counts[-1] <= 2 and engine.programs.decide._cache_size() <= 2
