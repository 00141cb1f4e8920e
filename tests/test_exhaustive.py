"""A sweep equals the brute force: the same ids in the same order, whatever the tiles, limits and ties."""

from contextlib import contextmanager, nullcontext
from copy import deepcopy
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
from problems import OneOf, families

from perflaw_jax import engine as engines
from perflaw_jax import exhaustive as module
from perflaw_jax import frontier, settling
from perflaw_jax import pilot as piloting
from perflaw_jax import tiling as tilings
from perflaw_jax.exhaustive import Engine, Kept, Problem, run, sweep
from perflaw_jax.frontier import Frontier
from perflaw_jax.kernel import Task
from perflaw_jax.laws import FunctionLaw, Negated, PerformanceMoE
from perflaw_jax.objective import Bound
from perflaw_jax.programs import Finding
from perflaw_jax.reduce import Batch, Counts, Marginals, TopK, distinct, leading_bits
from perflaw_jax.settling import flatnonzero
from perflaw_jax.space import Axis, Space

few = settings(
    max_examples=4,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@contextmanager
def small_batches():
    """Batches so small, and a pilot so eager, that few candidates fill many of them and leave a rest; coarse prices of rows."""
    tiny = (4, 16)
    with (
        patch.multiple(engines, REFINED=tiny, BATCHES=tiny),
        patch.multiple(module, REFINED=tiny),
        patch.multiple(settling, BATCHES=tiny),
        patch.multiple(piloting, AROUND=8, SPARSE=1, RARE=1),
        patch.multiple(tilings, MOST_RATES=3, FEWEST_RATES=1),
    ):
        yield


def check(problem, *, top=20, target=1024, pilot=8):
    """Sweep with a small pilot, so that the finding program is what finds, and hold the result against the brute force."""
    brute = Brute(problem)
    with patch.object(piloting, "PILOT_BLOCKS", pilot):
        kept = sweep(problem, top=top, engine=Engine(problem, target=target))
    assert_same(kept, brute, top)
    return kept, brute


def assert_same(kept, brute, top):
    assert kept.top.finish().candidate_id.tolist() == brute.top(top).tolist()
    for best, expected in zip(kept.marginals.finish(), brute.marginals(), strict=True):
        assert best.candidate_id.tolist() == expected.tolist()
    if kept.frontier is not None:
        assert np.sort(kept.frontier.finish().candidate_id).tolist() == brute.frontier().tolist()
    counts = kept.counts.finish()
    assert (counts.candidates, counts.feasible) == (brute.problem.space.size, int(brute.feasible.sum()))
    assert counts.cut == brute.cut


# --- random problems ---------------------------------------------------------------------------------------------------


@few
@given(
    family=families(size=6),
    top=st.integers(1, 50),
    target=st.sampled_from([64, 300, 1000, 4096]),
    pilot=st.sampled_from([1, 16]),
    batches=st.sampled_from([small_batches, nullcontext]),
)
def test_sweep_is_the_brute_force(family, top, target, pilot, batches):
    with batches():
        for problem in family:
            check(problem, top=top, target=target, pilot=pilot)


@pytest.mark.parametrize(("cost", "rates"), [("training_flops", 3), ("tokens_per_param", 8192)])
def test_rows_held_against_prices(cost, rates):
    """The frontier along rows of tokens that end in the middle of a block, of which some tiles hold a part."""
    tokens = Axis("training_tokens", tuple(np.geomspace(1e10, 1e13, 170)))
    problem = Problem(Space((tokens, LAYERS, HIDDEN), {"intermediate_size": 8192.0}), DENSE, costs=(cost,))
    with small_batches(), patch.multiple(tilings, MOST_RATES=rates):
        for limits in ({}, {"training_flops": Bound(max=1e23)}):
            check(replace(problem, limits=limits), target=100)


# --- fixed tricky cases ------------------------------------------------------------------------------------------------


def test_more_tokens_than_parameters_are_exact_ties():
    plenty = Axis("training_tokens", tuple(np.linspace(3e14, 1e14, 11)))
    check(Problem(Space((plenty, LAYERS, HIDDEN), {"intermediate_size": 8192.0}), DENSE, costs=("training_flops",)))


def test_everything_at_the_floor_of_the_score_ties():
    tiny = Space(
        (Axis("hidden_size", (256.0, 128.0, 256.0)), Axis("num_hidden_layers", tuple(map(float, range(90, 128)))), TOKENS)
    )
    problem = Problem(Space(tiny.axes, {"intermediate_size": 512.0}), DENSE, costs=("training_flops", "total_params"))
    _, brute = check(problem, top=700)
    assert set(brute.evaluation.score) == {25.0}


def test_nothing_is_feasible():
    kept, brute = check(
        Problem(SPACE, DENSE, {"training_flops": Bound(max=1e15)}, ("training_flops", "weight_bytes")), target=300
    )
    assert not brute.feasible.any() and not len(kept.top.finish().score)


def test_a_law_may_return_a_plain_number():
    check(Problem(SPACE, FunctionLaw(lambda design: 3), {"training_flops": Bound(max=1e23)}, ("total_params",)), top=30)


def test_one_candidate():
    space = Space(
        (Axis("hidden_size", (4096.0,)),), {"num_hidden_layers": 32.0, "intermediate_size": 11008.0, "training_tokens": 2e12}
    )
    check(Problem(space, DENSE, costs=("total_params",)))


def test_axes_that_the_law_hardly_sees():
    heads, vocabulary = Axis("num_key_value_heads", (8.0, 1.0, 8.0, 64.0)), Axis("vocab_size", (32000.0, 256000.0, 32000.0))
    few_tokens = Axis("training_tokens", (1e9, 2e9))  # never capped: the size is then of no use
    for order in ([heads, LAYERS, vocabulary, few_tokens], [few_tokens, LAYERS, heads, vocabulary]):
        check(
            Problem(Space(tuple(order), {"hidden_size": 4096.0, "intermediate_size": 8192.0}), DENSE, costs=("kv_cache_bytes",))
        )


def test_a_law_of_which_less_is_better():
    limits = {"total_params": Bound(min=5e9), "score": Bound(max=-30.0)}
    check(Problem(SPACE, Negated(DENSE), limits, ("training_flops",)))


def test_ratios_are_exact_where_a_limit_lies_on_a_candidate():
    vocabulary = Axis("vocab_size", tuple(11000.0 + 1500 * i for i in range(18)))
    tokens = Axis("training_tokens", (12.49e12, 705e9, 129e9))
    fixed = {"num_hidden_layers": 23.0, "hidden_size": 896.0, "intermediate_size": 2304.0, "tie_word_embeddings": 1.0}
    context = Axis("context_length", (4096.0, 8192.0, 16384.0, 32768.0))
    problem = Problem(Space((tokens, vocabulary, context), fixed), DENSE)
    ratio = Brute(problem).quantities["tokens_per_param"]
    check(Problem(problem.space, DENSE, {"tokens_per_param": Bound(ratio.min(), np.sort(ratio)[120])}, ("tokens_per_param",)))
    check(Problem(problem.space, DENSE, {"tokens_per_param": Bound(np.sort(ratio)[40], ratio.max())}, ("tokens_per_param",)))


@pytest.mark.parametrize("name", ["training_flops", "non_embedding_flops", "exact_training_flops"])
@pytest.mark.parametrize("fixed", [True, False], ids=["fixed", "an axis of one"])
def test_flops_are_exact_where_a_limit_lies_on_a_candidate(name, fixed):
    """Six times the tokens is no float64 here: multiplied in another order the FLOPs are one rounding off."""
    tokens = 25024835292.12841
    axes = (Axis("num_hidden_layers", (1.0, 33.0, 3.0)), Axis("hidden_size", (128.0, 256.0, 896.0)))
    axes += () if fixed else (Axis("training_tokens", (tokens,)),)
    others = {"intermediate_size": 4096.0, "head_dim": 128.0} | ({"training_tokens": tokens} if fixed else {})
    space, engine = Space(axes, others), None
    for flops in Brute(Problem(space, DENSE)).quantities[name].tolist():
        problem = Problem(space, DENSE, {name: Bound(min=flops)}, (name,))
        engine = Engine(problem) if engine is None else engine.at(problem)
        assert_same(sweep(problem, top=9, engine=engine), Brute(problem), 9)


def test_active_parameters_are_whole_numbers():
    experts, chosen = (
        Axis("num_experts", (6.0, 10.0, 49.0, 98.0, 160.0)),
        Axis("num_experts_per_tok", (1.0, 2.0, 3.0, 5.0, 6.0)),
    )
    width = Axis("moe_intermediate_size", (1536.0, 1408.0, 896.0))
    fixed = {"num_hidden_layers": 61.0, "hidden_size": 7168.0, "intermediate_size": 18432.0, "training_tokens": 14.8e12}
    check(Problem(Space((experts, width, chosen), fixed), PerformanceMoE(), {"active_params": Bound(multiple_of=1.0)}))


def noisy(design):
    """A score with a float32 error of some 1e-3, from a difference of large numbers."""
    big = 1e4 * jnp.log(design.hidden_size * design.num_hidden_layers)
    return 1e-2 * ((big + jnp.log(design.training_tokens)) - big) + 1e-3 * jnp.sin(design.num_hidden_layers)


def overflowing(design):
    """Finite in float64, but beyond the range of float32 for the bigger half of the designs: the best of them."""
    return jnp.log((100.0 * design.training_tokens * design.hidden_size * design.num_hidden_layers) ** 2)


def undefined(design):
    """ln(tokens), but NaN in float32 beyond 7e12 tokens: infinity divided by infinity."""
    tokens = 1.0 * design.training_tokens
    return jnp.log(tokens**4 / tokens**3 + design.num_hidden_layers)


def test_laws_of_the_users():
    for law in OneOf.each(noisy, gaps, infinite, overflowing, undefined, stepped):
        check(Problem(SPACE, law, {"score": Bound(min=3.0)}, ("training_flops",)), pilot=2)


def test_a_budget_that_buys_less_than_one_token():
    layers, hidden = (
        Axis("num_hidden_layers", tuple(map(float, range(1, 40)))),
        Axis("hidden_size", tuple(map(float, range(128, 5248, 128)))),
    )
    spend = 1e10  # 6 FLOPs per parameter: small models get a few tokens, big ones not one
    law = FunctionLaw(lambda design: design.num_hidden_layers + jnp.log(design.training_tokens))
    space = Space((layers, hidden), {"intermediate_size": 256.0}, spend)
    check(Problem(space, law, {"training_flops": Bound(max=spend)}, ("training_flops",)))


@pytest.mark.parametrize("costs", [("context_length",), ("context_length", "kv_cache_bytes")])
def test_costs_far_below_the_first_known_are_found(costs):
    """A pilot of infeasible corners; tiles then meet ever cheaper candidates, down by 40 octaves."""
    context = Axis("context_length", tuple(2.0**i for i in range(40, -1, -1)))
    vocabulary = Axis("vocab_size", tuple(1000.0 * i for i in range(1, 18)))
    law = FunctionLaw(lambda design: jnp.log(design.context_length) - abs(design.vocab_size - 9000.0))
    fixed = {"num_hidden_layers": 24.0, "hidden_size": 1024.0, "intermediate_size": 4096.0, "training_tokens": 1e12}
    problem = Problem(Space((context, vocabulary), fixed), law, {"score": Bound(min=-0.5)}, costs)
    with patch.object(piloting, "PILOT_BLOCKS", 1):
        kept = sweep(problem, top=1, marginals=False, engine=Engine(problem, target=32))
    assert np.sort(kept.frontier.finish().candidate_id).tolist() == Brute(problem).frontier().tolist()


# --- merging -----------------------------------------------------------------------------------------------------------


def test_halves_of_the_tiles_merge_to_the_whole_in_either_order():
    problem = Problem(SPACE, DENSE, {"training_flops": Bound(max=3e24)}, ("training_flops", "weight_bytes"))
    engine, brute = Engine(problem, target=300), Brute(problem)
    halves = [Kept.empty(problem, top=20, marginals=True, counts=True) for _ in range(2)]
    piloting.pilot(engine, Kept.empty(problem, top=20, marginals=True, counts=True))  # for the margin alone
    for i, half in enumerate(halves):
        for _ in module.run(engine, half, range(i, engine.tiling.count, 2)):
            pass
    for first, second in (halves, halves[::-1]):
        assert_same(deepcopy(first).merge(deepcopy(second)), brute, 20)
    assert_same(Kept.empty(problem, top=20, marginals=True, counts=True).merge(deepcopy(halves[0])).merge(halves[1]), brute, 20)


REDUCED = Space(
    (Axis("num_hidden_layers", (1.0, 2.0, 3.0)), Axis("hidden_size", (1.0, 2.0)), Axis("vocab_size", (1.0, 2.0, 3.0, 4.0)))
)


@st.composite
def batches(draw):
    """Three batches with some candidates in common; results repeat, so that ties are the rule."""
    some = st.integers(0, 2).map(float)
    row = st.tuples(some, some, some, some, some)
    rows = np.array(draw(st.lists(row, min_size=REDUCED.size, max_size=REDUCED.size)))
    parts = draw(st.lists(st.lists(st.integers(0, REDUCED.size - 1), unique=True), min_size=3, max_size=3))
    made = []
    for ids in (np.array(part, np.int64) for part in parts):
        score, flops, params, *costs = rows[ids].T
        made.append(Batch(ids, score, flops, params, score, score, np.stack(costs, axis=1)))
    return made


class OneCost(Frontier):
    """The frontier against the first of the costs alone."""

    def update(self, batch):
        return super().update(batch._replace(costs=batch.costs[:, :1]))


REDUCERS = {
    "top": lambda: TopK(4, 2),
    "frontier": lambda: Frontier(2),
    "staircase": lambda: OneCost(1),
    "marginals": lambda: Marginals(REDUCED),
}


def outcome(reducer):
    finished = reducer.finish()
    finished = finished if isinstance(finished, list) else [finished]
    return [[np.asarray(column).tolist() for column in batch] for batch in finished]


@pytest.mark.parametrize("waiting", [0, 1000])
@pytest.mark.parametrize("make", REDUCERS.values(), ids=REDUCERS)
@given(parts=batches())
def test_reducers_are_monoids(make, waiting, parts):
    with patch.object(frontier, "MOST_WAITING", waiting):
        check_monoid(make, parts)


def check_monoid(make, parts):
    def seen(*some):
        reducer = make()
        for part in some:
            reducer.update(part)
        return reducer

    a, b, c = parts
    whole = outcome(seen(a, b, c))
    assert outcome(seen(c, a, b)) == whole
    assert outcome(seen(a).merge(seen(b)).merge(seen(c))) == whole
    assert outcome(seen(a).merge(seen(b).merge(seen(c)))) == whole
    assert outcome(seen(c).merge(seen(b)).merge(seen(a))) == whole
    assert outcome(make().merge(seen(a))) == outcome(seen(a).merge(make())) == outcome(seen(a))


@given(st.lists(st.tuples(st.integers(0, 2**60), st.integers(0, 9), st.integers(0, 9)), min_size=3, max_size=3))
def test_counts_are_a_monoid(parts):
    def seen(part):
        candidates, cut, other = part
        return Counts(candidates, candidates - cut, {"score": cut, "total_params": other})

    a, b, c = parts
    assert seen(a).merge(seen(b)).merge(seen(c)) == seen(a).merge(seen(b).merge(seen(c)))
    assert seen(a).merge(seen(b)) == seen(b).merge(seen(a))
    assert Counts().merge(seen(a)) == seen(a).merge(Counts()) == seen(a)


# --- traces ------------------------------------------------------------------------------------------------------------


def test_one_trace_per_program_serves_all_tiles_and_all_limits(nothing_compiled):
    limits = {"training_flops": Bound(max=3e24), "score": Bound(min=30.0)}
    engine = Engine(Problem(SPACE, DENSE, limits, ("training_flops",)), target=200)
    calls, (program, census) = [], engine._finding
    engine._finding = Finding(lambda *arguments: calls.append(arguments) or program(*arguments), census)
    kept = Kept.empty(engine.problem, top=10, marginals=True, counts=True)
    with patch.object(piloting, "PILOT_BLOCKS", 100):
        assert len(list(run(engine, kept))) == len(calls) == np.prod(engine.tiling.grid) > 50
    fields, task, *rest = calls[-1]
    assert isinstance(task, Task)
    program(fields, jax.tree.map(lambda number: 1.5 * number, task), *rest)
    assert program._cache_size() == 1
    assert census._cache_size() == 1
    assert engine.programs.decide._cache_size() <= 3


@given(st.lists(st.integers(0, 5000), max_size=40), st.sampled_from([1, 1023, 1024, 5001]))
def test_marked_places_are_those_of_numpy(places, size):
    flags = np.zeros(size, bool)
    flags[[place for place in places if place < size]] = True
    assert flatnonzero(flags).tolist() == np.flatnonzero(flags).tolist()


@given(st.lists(st.integers(-3, 2**62), max_size=30))
def test_distinct_ids_are_those_of_numpy(ids):
    ids = np.array(ids, np.int64)
    assert distinct(ids).tolist() == np.unique(ids).tolist()


@given(st.floats(0, 1e38), st.floats(1, 2), st.integers(12, 20))
def test_a_bucket_of_costs_is_cheaper_than_the_next(cost, factor, shift):
    low, high = np.float32(cost), np.float32(cost * factor)
    assert leading_bits(low, shift) <= leading_bits(high, shift)
    if low > 2e-38 and high >= low * (1 + 2.0 ** (shift - 23) + 1e-6):
        assert leading_bits(low, shift) < leading_bits(high, shift)


def test_tiles_are_settled_together_and_all_told(monkeypatch):
    """However many tiles wait for each other, the result is one, and each tile is told once, in order, with its counts."""
    problem = Problem(SPACE, DENSE, {"training_flops": Bound(max=1e23)}, ("training_flops",))
    results = []
    for seconds, batches in ((0.0, nullcontext), (1e9, nullcontext), (1e9, small_batches)):
        monkeypatch.setattr(module, "TOGETHER", seconds)
        kept = Kept.empty(problem, top=20, marginals=True, counts=True)
        with batches():
            engine = Engine(problem, target=300)
            assert list(run(engine, kept)) == list(range(engine.tiling.count))
        results.append((kept.ids().tolist(), kept.counts))
    assert results[0] == results[1] == results[2]


def test_a_limit_beyond_float32_is_left_to_float64():
    tokens = Axis("training_tokens", tuple(np.geomspace(1e30, 1e36, 48)))
    space = Space((Axis("num_hidden_layers", (1.0, 4.0, 12.0)), HIDDEN, tokens), {"intermediate_size": 256.0})
    law = FunctionLaw(lambda design: -jnp.log(1.0 * design.training_tokens) - design.hidden_size)
    check(Problem(space, law, {"training_flops": Bound(min=1e39)}, ("training_flops",)), target=300, pilot=1)


def test_scores_beyond_float32_are_left_to_float64():
    """What they ask is no float32 number: held against infinity, which nothing passes, the next candidates were lost."""
    hidden, tokens = Axis("hidden_size", tuple(128.0 * i for i in range(1, 41))), tuple(1e9 * i for i in range(1, 33))
    space = Space((hidden, Axis("training_tokens", tokens)), {"num_hidden_layers": 4.0, "intermediate_size": 2048.0})
    for sign in (1, -1):
        law = FunctionLaw(lambda design, sign=sign: sign * (1e36 * design.hidden_size + 1e29 * design.training_tokens / 1e9))
        check(Problem(space, law, {}, ("training_flops",)), target=64)


def test_the_pilot_leaves_no_value_of_an_axis_without_a_candidate_to_beat(monkeypatch):
    """Where nothing is known, every block matters: one deep layer count that the pilot had missed once took 20 s a tile."""
    monkeypatch.setattr(piloting, "PILOT_BLOCKS", 64)
    layers, hidden = Axis("num_hidden_layers", tuple(range(16, 616))), Axis("hidden_size", tuple(range(1024, 17408, 256)))
    problem = Problem(
        Space((layers, hidden, TOKENS), {"intermediate_size": 8192.0}), DENSE, {"training_flops": Bound(max=1e24)}
    )
    engine, kept = Engine(problem), Kept.empty(problem, top=20, marginals=True, counts=False)
    piloting.pilot(engine, kept)
    assert np.all(kept.marginals.floors()[0] > -np.inf)


def test_many_blocks_that_tie_are_looked_at_again_a_few_times_only(monkeypatch):
    """All score 25, so that no decision rules any other out; asking again after every batch would take quadratic time."""
    monkeypatch.setattr(settling, "BATCHES", (16, 64))
    tiny = (Axis("hidden_size", (256.0, 128.0, 256.0)), Axis("num_hidden_layers", tuple(map(float, range(90, 390)))))
    problem = Problem(
        Space((*tiny, Axis("training_tokens", tuple(np.geomspace(1e11, 1e13, 64)))), {"intermediate_size": 512.0}), DENSE
    )
    engine, asked = Engine(problem), []
    monkeypatch.setattr(engine, "refine", lambda *args: asked.append(len(args[0][0])) or Engine.refine(engine, *args))
    kept, brute = sweep(problem, top=20, engine=engine), Brute(problem)
    assert_same(kept, brute, 20)
    assert len(asked) <= 8 and max(asked) == 3600  # of 57 batches
