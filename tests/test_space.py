"""Grids: ids stay exact far beyond what floats and 32-bit integers hold, and every field has the value that its axes say."""

from fractions import Fraction
from math import floor, prod

import numpy as np
from brute import Brute
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import spaces

from perflaw_jax.design import FIELDS, Design
from perflaw_jax.exhaustive import Engine, Kept, Problem, marked, settle
from perflaw_jax.laws import PerformanceDense
from perflaw_jax.objective import Bound
from perflaw_jax.space import Axis, Space


@st.composite
def huge(draw):
    """A grid of up to 2^62 candidates and some of its ids."""
    fields = draw(st.lists(st.sampled_from(FIELDS), min_size=1, max_size=12, unique=True))
    room, axes = 2**62, []
    for field in fields:
        length = draw(st.integers(1, min(room, 5000)))
        axes.append(Axis(field, (1.0,) * length))
        room //= length
    space = Space(tuple(axes))
    edges = st.sampled_from([0, space.size - 1, min(space.size - 1, 2**31), min(space.size - 1, 2**53 + 1)])
    return space, draw(st.lists(edges | st.integers(0, space.size - 1), min_size=1, max_size=20))


def mixed_radix(number, shape):
    digits = []
    for n in reversed(shape):
        number, digit = divmod(number, n)
        digits.append(digit)
    return digits[::-1]


@given(huge())
def test_ids_are_exact_in_grids_of_any_size(case):
    space, ids = case
    assert space.size == prod(space.shape)
    digits = space.digits(np.array(ids))
    assert np.array(digits).T.tolist() == [mixed_radix(number, space.shape) for number in ids]
    assert space.ids(digits).tolist() == ids


def test_the_last_tile_of_2_to_the_60_candidates_reports_exact_ids():
    def values(low, step):
        return tuple(float(low + step * i) for i in range(1024))

    axes = (
        Axis("num_hidden_layers", values(8, 1)),
        Axis("hidden_size", values(1024, 128)),
        Axis("training_tokens", values(10**11, 10**10)),
        Axis("intermediate_size", tuple(1 + i / 256 for i in range(1024)), "ratio", "hidden_size"),
        Axis("vocab_size", values(32_000, 500)),
        Axis("num_key_value_heads", values(1, 1)),
    )
    space = Space(axes)
    assert space.size == 2**60
    problem = Problem(space, PerformanceDense(), {"num_key_value_heads": Bound(multiple_of=2.0)}, ("training_flops",))
    engine = Engine(problem, target=4096)
    tiling = engine.tiling
    start = tuple((g - 1) * t for g, t in zip(tiling.grid, tiling.tile, strict=True))
    kept = Kept.empty(problem, top=50, marginals=True, counts=False)
    found = engine.find([start], kept.asked(engine))
    settle(engine, marked(engine, start, found), kept)

    inside = {}  # axis of the space -> first and last index in the tile
    for position, axis in enumerate(tiling.order):
        index = tiling.clipped(position, start)
        inside[axis] = int(index.min()), int(index.max()) + 1
    parts = tuple(Axis(a.field, a.values[slice(*inside[i])], a.relation, a.base) for i, a in enumerate(axes))
    brute = Brute(Problem(Space(parts), problem.law, problem.limits, problem.costs))

    def number(local):
        total = 0
        for i, digit in enumerate(mixed_radix(int(local), Space(parts).shape)):
            total = total * 1024 + inside[i][0] + digit
        return total

    assert kept.top.finish().candidate_id.tolist() == [number(i) for i in brute.top(50)]
    assert sorted(kept.frontier.finish().candidate_id.tolist()) == sorted(number(i) for i in brute.frontier())
    assert len(set(brute.evaluation.score)) > 50 and brute.feasible.sum() < len(brute.feasible)
    assert kept.top.finish().candidate_id.min() > 2**59


def value(space, field, digits):
    """A field of one candidate in exact fractions."""
    for axis, digit in zip(space.axes, digits, strict=True):
        if axis.field == field:
            own = Fraction(axis.values[digit])
            if axis.base is not None:
                base = value(space, axis.base, digits)
                own = Fraction(float(base * own)) if axis.relation == "ratio" else base + own
            step = axis.multiple_of or (None if field == "training_tokens" else 1)
            return own if step is None else Fraction(floor(own / step + Fraction(1, 2)) * step)
    if field == "num_attention_heads" and field not in space.fixed:
        return Fraction(float(value(space, "hidden_size", digits) / value(space, "head_dim", digits)))
    return Fraction(space.fixed.get(field, Design._field_defaults.get(field, 0)))


@settings(max_examples=50)
@given(spaces(room=200))
def test_fields_follow_their_axes_through_chains(space):
    digits = space.digits(np.arange(space.size))
    fields = space.fields(digits)
    for name, values in fields.items():
        assert values.tolist() == [float(value(space, name, d)) for d in zip(*digits, strict=True)]


def test_values_are_rounded_half_up():
    space = Space((Axis("hidden_size", (5.0, 7.0)), Axis("intermediate_size", (0.5, 1.5), "ratio", "hidden_size")))
    assert space.tables["intermediate_size"].values.tolist() == [[3.0, 8.0], [4.0, 11.0]]
    space = Space((Axis("hidden_size", (192.0, 320.0, 191.0), multiple_of=128),))
    assert space.tables["hidden_size"].values.tolist() == [256.0, 384.0, 128.0]
    space = Space((Axis("training_tokens", (1.5, 0.25), "ratio", "hidden_size"),), {"hidden_size": 3.0})
    assert space.tables["training_tokens"].values.tolist() == [4.5, 0.75]  # tokens are not rounded
