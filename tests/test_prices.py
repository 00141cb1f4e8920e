"""Prices: what is asked of a row of tokens is never more than what is asked of each of its candidates."""

from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import spaces

from perflaw_jax import tiling as tilings
from perflaw_jax.accounting import PER_TOKEN, quantity
from perflaw_jax.frontier import Frontier
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


def asked_of_rows(tiling, layout, screen, scale):
    """By tiles of the device program: what is asked of each piece of each block, [pieces, blocks ...]."""
    asked = np.full((layout.pieces, *tiling.blocks), np.nan)
    for start in tiling.starts():
        fields = {name: tiling.values(name, start).astype(np.float32) for name in tiling.dims}
        found = by_row(layout, fields, tiling.space.spend, prices(layout, fields["training_tokens"], screen, scale))
        inside = tuple(slice(s, min(s + t, n)) for s, t, n in zip(start, tiling.tile, tiling.blocks, strict=True))
        asked[:, *inside] = np.stack(found)[:, *(slice(i.stop - i.start) for i in inside)]
    return asked


@settings(max_examples=25)
@given(spaces(room=1000), st.sampled_from(sorted(PER_TOKEN)), st.integers(1, 40), st.data())
def test_a_row_is_never_asked_for_more_than_its_candidates_are(space, cost, rates, data):
    tiling = Tiling(space, data.draw(st.integers(16, 2000)))
    with patch.multiple(tilings, MOST_RATES=rates, FEWEST_RATES=1):
        layout = tiling.layout((cost,))
    if not layout.rates:
        return
    costs = costs_of(tiling, cost)
    known = np.array(data.draw(st.lists(st.sampled_from(costs.ravel().tolist()), min_size=1, max_size=20)))[:, None]
    scores = np.array(data.draw(st.lists(st.floats(0, 100), min_size=len(known), max_size=len(known))))
    frontier = Frontier(1).update(Batch(np.arange(len(known)), *[scores] * 5, known))
    screen = Screen(np.float32(0), np.float32(1000), frontier.table().astype(np.float32), frontier.scale)
    ends = sorted(data.draw(st.tuples(*[st.floats(1e-3, 1e30)] * 2)))  # of the buckets: anywhere
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
