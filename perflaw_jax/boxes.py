"""Boxes of the grid: ranges of places along every axis, their splitting, and the candidates inside.

The values of an axis are taken in order, so that a box is a box of values too and a field's bounds are those at two of its
corners. ``Grid.order`` leads from a place in that order back to the axis's own index, hence to candidate ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np

from perflaw_jax.reduce import distinct
from perflaw_jax.space import Space, Table
from perflaw_jax.tiling import Tiling


class Boxes(NamedTuple):
    """Boxes and what is known of the candidates inside, a row each.

    ``least`` bounds from below, in this order: minus the score, the training FLOPs, the parameters, the frontier's costs.
    """

    first: np.ndarray  # int32 [m, axes], least place along each axis
    last: np.ndarray  # int32 [m, axes], greatest place, inclusive
    least: np.ndarray  # float64 [m, 3 + costs]
    exact: np.ndarray  # bool [m, 3 + costs], whether every candidate of the box has the very value in ``least``

    def take(self, index: np.ndarray) -> Boxes:
        """The boxes at an index array or a mask."""
        rows = np.flatnonzero(index) if index.dtype == bool else index
        return Boxes(*(column.take(rows, axis=0) for column in self))  # five times faster than by brackets

    @staticmethod
    def join(parts: Sequence[Boxes]) -> Boxes:
        """All boxes of several lots."""
        return Boxes(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


class Corners(NamedTuple):
    """A field's least and greatest value over a box: entries of two tables, at places that begin or end the box."""

    low: np.ndarray
    high: np.ndarray
    dims: tuple[int, ...]  # axis of the space for each axis of the tables
    rising: tuple[bool, ...]  # for each of them, whether the field's values rise along it (they fall otherwise)


class Grid:
    """The grid of a space with the values of every axis in order: its own where they rise or fall, else ascending."""

    def __init__(self, space: Space):
        self.space = space
        self.order = [_order(np.asarray(axis.values, np.float64)) for axis in space.axes]
        self.in_order = [bool(np.all(np.diff(order) == 1)) for order in self.order]

    @cached_property
    def fields(self) -> dict[str, Corners]:
        """Field that varies over the grid -> where its bounds over a box are found."""
        return {name: self._corners(table) for name, table in self.space.tables.items() if table.dims}

    @cached_property
    def constants(self) -> dict[str, np.float64]:
        """Field that is fixed -> its value."""
        return {name: np.float64(table.values) for name, table in self.space.tables.items() if not table.dims}

    def _corners(self, table: Table) -> Corners:
        values = table.values[np.ix_(*(self.order[d] for d in table.dims))]
        low, high, dims, rising = values, values, [], []
        for axis, d in reversed(list(enumerate(table.dims))):
            rises, falls = _rises_or_falls(values, axis)
            if rises or falls:
                dims, rising = [d, *dims], [rises, *rising]
            else:  # neither: its extremes along the whole axis
                low, high = low.min(axis=axis), high.max(axis=axis)
        return Corners(low, high, tuple(dims), tuple(rising))

    def everything(self) -> tuple[np.ndarray, np.ndarray]:
        """The box that is the whole grid: its first and last places, [1, axes] each."""
        last = np.asarray([self.space.shape], np.int32) - 1
        return np.zeros_like(last), last

    def sizes(self, first: np.ndarray, last: np.ndarray) -> np.ndarray:
        """Number of candidates of each box [m], as float64: approximate beyond 2^53."""
        return (last - first + 1.0).prod(axis=1)

    def least_ids(self, first: np.ndarray, last: np.ndarray) -> np.ndarray:
        """The lowest candidate id in each box, int64 [m]."""
        lowest = []
        for axis, order in enumerate(self.order):
            if self.in_order[axis]:
                lowest.append(first[:, axis])
            else:
                ends = np.stack([first[:, axis], last[:, axis] + 1], axis=1).ravel()
                lowest.append(np.minimum.reduceat(np.append(order, len(order)), ends)[::2])
        return self.space.ids(lowest)

    def digits(self, places: np.ndarray) -> list[np.ndarray]:
        """Places [m, axes] -> index along each axis of the space, int64 [m] each."""
        return [order[places[:, axis]] for axis, order in enumerate(self.order)]


def _order(values: np.ndarray) -> np.ndarray:
    return np.arange(len(values)) if any(_rises_or_falls(values, 0)) else np.argsort(values, kind="stable")


def _rises_or_falls(values: np.ndarray, axis: int) -> tuple[bool, bool]:
    steps = np.diff(values, axis=axis)
    return bool(np.all(steps >= 0)), bool(np.all(steps <= 0))


def split(first: np.ndarray, last: np.ndarray, axes: np.ndarray, unit: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut boxes in two along each of their ``axes`` (bool [m, axes]); give the pieces' ends and the row they come from.

    Cuts fall on multiples of ``unit`` (int [axes]), where there is one inside the box.
    """
    parent = np.arange(len(first))
    for axis, step in enumerate(unit):
        if not axes[:, axis].any():
            continue
        low, high = first[:, axis], last[:, axis]
        middle = (low + high + 1) // 2
        rounded = (middle + step // 2) // step * step
        middle = np.where((rounded > low) & (rounded <= high), rounded, middle)
        cut = axes[parent, axis] & (high > low)
        upper_first, lower_last = first[cut].copy(), last.copy()
        upper_first[:, axis], lower_last[cut, axis] = middle[cut], middle[cut] - 1
        first, last = np.concatenate([first, upper_first]), np.concatenate([lower_last, last[cut]])
        parent = np.concatenate([parent, parent[cut]])
    return first, last, parent


class BlockGrid:
    """The grid in the engine's blocks of neighbouring candidates, which are what is evaluated exactly."""

    def __init__(self, grid: Grid, tiling: Tiling):
        self.grid, self.tiling = grid, tiling
        self.unit = np.ones(len(grid.order), np.int32)  # places per block along each axis
        self.unit[tiling.inner] = tiling.lanes if grid.in_order[tiling.inner] else 1

    def count(self, first: np.ndarray, last: np.ndarray) -> np.ndarray:
        """Number of blocks that each box touches [m], at most, as float64."""
        return (last // self.unit - first // self.unit + 1.0).prod(axis=1)

    def inside(self, first: np.ndarray, last: np.ndarray) -> list[np.ndarray]:
        """Coordinates of all blocks that some boxes touch, each once, per axis of the nest int64 [b]."""
        begin = first // self.unit
        widths = (last // self.unit - begin + 1).astype(np.int64)
        counts = widths.prod(axis=1)
        box = np.repeat(np.arange(len(first)), counts)
        rest = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        places = np.empty((len(box), len(self.unit)), np.int64)
        for axis in reversed(range(len(self.unit))):
            rest, place = np.divmod(rest, widths[box, axis])
            places[:, axis] = (begin[box, axis] + place) * self.unit[axis]
        return self._coordinates(places)

    def _coordinates(self, places: np.ndarray) -> list[np.ndarray]:
        digits = self.grid.digits(places)
        coordinates = [digits[axis] for axis in self.tiling.order]
        coordinates[-1] = coordinates[-1] // self.tiling.lanes
        return unique(coordinates, self.tiling.blocks)


def unique(coordinates: list[np.ndarray], shape: tuple[int, ...]) -> list[np.ndarray]:
    """Coordinates without repetition, in ascending order."""
    return list(np.unravel_index(distinct(np.asarray(np.ravel_multi_index(tuple(coordinates), shape))), shape))
