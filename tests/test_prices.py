"""Prices: what is asked of a row of tokens is never more than what is asked of each of its candidates."""

from functools import cache
from unittest.mock import patch

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perflaw_jax import tiling as tilings
from perflaw_jax.accounting import PER_TOKEN, quantity
from perflaw_jax.frontier import Frontier
from perflaw_jax.nest import Layout
from perflaw_jax.objective import make_design
from perflaw_jax.prices import Scale, by_row, prices
from perflaw_jax.reduce import Batch, Screen, asked_at
from perflaw_jax.space import Axis, Space
from perflaw_jax.tiling import Tiling


def costs_of(tiling, cost):
    """The costs of all candidates, float64 in the shape of the blocks, then lanes."""
    coordinates = np.unravel_index(np.arange(np.prod(tiling.blocks)), tiling.blocks)
    digits, real = tiling.members(list(coordinates))
    fields = {name: np.broadcast_to(v, real.shape) for name, v in tiling.space.fields(digits).items()}
    values = np.asarray(quantity(cost, make_design(fields, tiling.space.spend)), float)
    return values.reshape(*tiling.blocks, tiling.lanes)


@cache
def compiled(dims, rest, spend):
    layout = Layout(dict(dims), *rest)

    def rows(fields, screen, scale):
        return by_row(layout, fields, spend, prices(layout, fields["training_tokens"], screen, scale))

    return jax.jit(rows)


def asked_of_rows(tiling, layout, screen, scale):
    """By tiles of the device program: what is asked of each piece of each block, [pieces, blocks ...]."""
    program = compiled(tuple(layout.dims.items()), layout[1:], tiling.space.spend)
    asked = np.full((layout.pieces, *tiling.blocks), np.nan)
    for start in tiling.starts():
        fields = {name: tiling.values(name, start).astype(np.float32) for name in tiling.dims}
        found = program(fields, screen, scale)
        inside = tuple(slice(s, min(s + t, n)) for s, t, n in zip(start, tiling.tile, tiling.blocks, strict=True))
        asked[:, *inside] = np.stack(found)[:, *(slice(i.stop - i.start) for i in inside)]
    return asked


def sizes(count):
    return st.lists(st.integers(1, 200).map(float), min_size=count, max_size=count).map(tuple)


@st.composite
def spaces(draw):
    """Some layers and widths, with token counts of any kind beside them: of few shapes, since each is compiled."""
    low, high = sorted(draw(st.tuples(*[st.floats(1e6, 1e15)] * 2)))
    tokens = np.sort(draw(st.sampled_from([np.geomspace, np.linspace]))(low, high, 40))
    layers, tokens = Axis("num_hidden_layers", draw(sizes(5))), Axis("training_tokens", tuple(tokens.tolist()))
    return Space((layers, tokens, Axis("hidden_size", draw(sizes(3)))), {"intermediate_size": 8192.0})


@settings(max_examples=60)
@given(spaces(), st.sampled_from(sorted(PER_TOKEN)), st.sampled_from([1, 2, 40]), st.data())
def test_a_row_is_never_asked_for_more_than_its_candidates_are(space, cost, rates, data):
    tiling = Tiling(space, 200)
    with patch.multiple(tilings, MOST_RATES=rates, FEWEST_RATES=1):
        layout = tiling.layout((cost,))
    costs = costs_of(tiling, cost)
    known = np.unique(costs)[:, None]
    frontier = Frontier(1).update(Batch(np.arange(len(known)), *[np.log(known[:, 0])] * 5, known))
    screen = Screen(np.float32(0), np.float32(1000), frontier.table().astype(np.float32), frontier.scale)
    rate = costs / tiling.by_block("training_tokens")
    ends = sorted(data.draw(st.sampled_from(rate.ravel().tolist())) for _ in range(2))  # rates may lie beyond
    asked = asked_of_rows(tiling, layout, screen, Scale.over(*ends, layout.rates))
    of_candidates = asked_at(np, screen, [costs.astype(np.float32)])
    assert (np.moveaxis(asked, 0, -1).repeat(layout.lanes // layout.pieces, axis=-1) <= of_candidates).all()


def test_with_many_buckets_a_row_is_asked_for_nearly_as_much():
    layers, tokens = Axis("num_hidden_layers", (10.0, 20.0, 40.0)), Axis("training_tokens", tuple(np.geomspace(1e10, 1e13, 64)))
    space = Space((layers, tokens), {"hidden_size": 1024.0, "intermediate_size": 4096.0})
    tiling = Tiling(space)
    layout = tiling.layout(("training_flops",))
    assert layout.pieces == layout.lanes == 16 and layout.rates >= tilings.FEWEST_RATES
    costs = costs_of(tiling, "training_flops")
    per_token = costs / np.asarray(tokens.values).reshape(-1, 16)
    known = costs.ravel()[:, None]
    frontier = Frontier(1).update(Batch(np.arange(len(known)), *[np.log(known[:, 0])] * 5, known))
    screen = Screen(np.float32(0), np.float32(1000), frontier.table().astype(np.float32), frontier.scale)
    asked = asked_of_rows(tiling, layout, screen, Scale.over(per_token.min(), per_token.max(), layout.rates))
    assert (np.moveaxis(asked, 0, -1) >= asked_at(np, screen, [(costs * 0.995).astype(np.float32)])).all()


@pytest.mark.parametrize(
    ("tokens", "costs", "rates"),
    [
        (64, ("training_flops",), True),
        (64, ("total_params",), False),  # no row has more than one of it
        (64, ("training_flops", "total_params"), False),
        (2**16, ("training_flops",), False),  # the table would be too large for its buckets
    ],
)
def test_rows_have_prices_where_one_cost_is_in_proportion_to_their_tokens(tokens, costs, rates):
    axes = Axis("num_hidden_layers", (1.0, 2.0)), Axis("training_tokens", tuple(np.geomspace(1e11, 3e13, tokens)))
    assert bool(Tiling(Space(axes)).layout(costs).rates) == rates
