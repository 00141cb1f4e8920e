"""Tiles: every candidate is in exactly one block of one tile."""

from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import spaces

from perflaw_jax.asked import Asked
from perflaw_jax.reduce import Screen
from perflaw_jax.space import Axis, Space
from perflaw_jax.tiling import Tiling


@st.composite
def tilings(draw, in_order=None):
    in_order = draw(st.booleans()) if in_order is None else in_order
    target, lanes = draw(st.integers(1, 5000)), draw(st.sampled_from([1, 2, 4, 16]))
    return Tiling(draw(spaces(room=1000)), target, lanes, in_order)


def members(tiling, start):
    """Ids of a tile's candidates in the device's order."""
    coordinates = tiling.coordinates(start, np.arange(prod(tiling.tile)))
    digits, real = tiling.members(coordinates)
    return np.broadcast_to(tiling.space.ids(digits), real.shape)[real]


@settings(max_examples=60)
@given(tilings())
def test_every_candidate_is_in_one_block_of_one_tile(tiling):
    starts = list(tiling.starts())
    ids = [members(tiling, start) for start in starts]
    assert np.sort(np.concatenate(ids)).tolist() == list(range(tiling.space.size))
    assert len(starts) == prod(tiling.grid) and all(map(len, ids))
    assert prod(tiling.tile) * tiling.lanes <= max(tiling.target, tiling.lanes)
    for start, mine in zip(starts, ids, strict=True):
        assert len(mine) == prod(int(tiling.inside(i, start).sum()) for i in range(len(start))) == tiling.covered(start)


@settings(max_examples=60)
@given(tilings(in_order=True))
def test_tiles_in_order_follow_the_ids(tiling):
    ids = np.concatenate([members(tiling, start) for start in tiling.starts()])
    assert ids.tolist() == list(range(tiling.space.size))


@settings(max_examples=60)
@given(tilings())
def test_a_candidate_is_found_again_in_its_block(tiling):
    ids = np.arange(tiling.space.size)
    coordinates, lane = tiling.block_of(ids)
    digits, real = tiling.members(coordinates)
    pick = (ids, lane)
    assert real[pick].all()
    assert np.broadcast_to(tiling.space.ids(digits), real.shape)[pick].tolist() == ids.tolist()


@settings(max_examples=60)
@given(tilings())
def test_values_of_a_tile_are_those_of_its_candidates(tiling):
    for start in tiling.starts():
        coordinates = tiling.coordinates(start, np.arange(prod(tiling.tile)))
        digits, real = tiling.members(coordinates)
        expected = tiling.space.fields(digits)
        for name, dims in tiling.dims.items():
            values = tiling.values(name, start)
            if tiling.has_lanes(name):
                values = np.moveaxis(values, 0, -1)
            shape = [tiling.tile[d] if d in dims else 1 for d in range(len(tiling.tile))]
            lanes = tiling.lanes if tiling.has_lanes(name) else 1
            full = np.broadcast_to(values.reshape(*shape, lanes), (*tiling.tile, tiling.lanes)).reshape(real.shape)
            assert (full == np.broadcast_to(expected[name], real.shape))[real].all()


@settings(max_examples=30)
@given(tilings(), st.randoms(use_true_random=False))
def test_the_floor_of_a_block_is_the_lowest_of_its_candidates(tiling, random):
    floors = [np.array([random.random() for _ in range(n)], np.float32) for n in tiling.space.shape]
    asked = Asked.of(tiling, Screen(np.float32(0), np.float32(0)), floors)
    for start in tiling.starts():
        coordinates = tiling.coordinates(start, np.arange(prod(tiling.tile)))
        coordinates = [np.minimum(place, n - 1) for place, n in zip(coordinates, tiling.blocks, strict=True)]
        digits, _ = tiling.members(coordinates)
        of_axes = [floors[axis][digits[axis]] for axis in tiling.order]
        expected = [floor.min(axis=1) for floor in of_axes]
        assert np.array_equal(asked.of_blocks(coordinates), expected)
        tile = np.broadcast_arrays(*np.ix_(*asked.of_tile(start).values()))
        assert np.array_equal([floor.ravel() for floor in tile], expected)


@pytest.mark.parametrize(
    ("tokens", "pieces"),
    [
        (np.geomspace(1e11, 3e13, 16), 16),
        (np.geomspace(1e11, 3e13, 64), 8),
        (np.geomspace(1e11, 3e13, 1024), 1),
        (np.linspace(1e13, 1.1e13, 32), 1),
        (np.linspace(0, 1e13, 32), 1),  # nothing is many times nothing
        (np.full(16, 1e12), 1),
        (np.geomspace(1e11, 3e13, 3), 1),  # single candidates
    ],
)
def test_blocks_are_cut_into_pieces_where_the_tokens_differ_much(tokens, pieces):
    space = Space((Axis("num_hidden_layers", (1.0, 2.0)), Axis("training_tokens", tuple(tokens.tolist()))))
    assert Tiling(space).pieces(1.25) == pieces
