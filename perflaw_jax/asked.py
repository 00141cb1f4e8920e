"""What the reducers ask as they stand, laid out so that tiles, blocks and candidates can be held against it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from perflaw_jax.reduce import Screen
from perflaw_jax.tiling import Tiling, as_blocks


@dataclass(frozen=True)
class Asked:
    """A screen, and floors beside it: raw scores below which nothing can become the best at a value of an axis.

    Attributes:
        tiling: of the blocks.
        screen: what is asked wherever a block lies.
        floors: per axis of the nest float32 [n], of the innermost [blocks, lanes]; none where axis values are not told apart.
    """

    tiling: Tiling
    screen: Screen
    floors: Sequence[np.ndarray]

    @staticmethod
    def of(tiling: Tiling, screen: Screen, floors: Sequence[np.ndarray]) -> Asked:
        """From floors per axis of the space, float64 [n] each, or none."""
        in_nest = [single(floors[axis]) for axis in tiling.order] if floors else []
        return Asked(tiling, screen, [*in_nest[:-1], *(as_blocks(floor, tiling.lanes) for floor in in_nest[-1:])])

    def of_tile(self, start: tuple[int, ...]) -> dict[str, np.ndarray]:
        """Per axis of the nest, the floors of a tile's blocks, float32 [t]: of a block the least."""
        return {
            f"floor{i}": floor[first : first + size]
            for i, (floor, first, size) in enumerate(self._each(self._reaching_beyond, start, self.tiling.tile))
        }

    def of_blocks(self, blocks: list[np.ndarray]) -> list[np.ndarray]:
        """Per axis of the nest, the floors of some blocks, float32 [m]: of a block the least; none without floors."""
        return [floor[place] for floor, place in self._each(self._of_blocks, blocks)]

    def risen(self, before: Asked, spread: float) -> float:
        """By how much more is asked than before, in units of ``spread``: the mean over costs, and over the values of each axis.

        They are summed. What is asked everywhere is left out: little comes near the best of all, however little is known of it.
        """
        total = 0.0
        for now, then in zip(self._by_place, before._by_place, strict=True):
            known = now > -np.inf
            with np.errstate(over="ignore", invalid="ignore"):
                total += float(np.sum(np.fmin(now[known] - then[known], spread))) / now.size
        return total / spread if 0 < spread < np.inf else 0.0

    @property
    def _by_place(self) -> list[np.ndarray]:
        return [*([] if self.screen.table is None else [np.asarray(self.screen.table)]), *self.floors]

    @cached_property
    def _of_blocks(self) -> list[np.ndarray]:
        """Per axis of the nest, the floor of each block [n]: any of its lanes may be improved."""
        return [*self.floors[:-1], *(np.ascontiguousarray(floor.T).min(axis=0) for floor in self.floors[-1:])]

    @cached_property
    def _reaching_beyond(self) -> list[np.ndarray]:
        """The same up to the ends of the last tiles, where they stick out of the grid."""
        sizes = self._each(self._of_blocks, self.tiling.tile)
        return [np.pad(floor, (0, -len(floor) % size), mode="edge") for floor, size in sizes]

    def _each(self, *of_axes: Sequence[Any]) -> Iterator[tuple]:
        """Floors with what belongs to the same axis of the nest."""
        return zip(*of_axes, strict=True) if self.floors else iter(())


def single(values: Any) -> np.ndarray:
    """What is asked as float32, never infinite: nothing could be told to reach that, whatever its score."""
    with np.errstate(over="ignore"):
        return np.minimum(values, float(np.finfo(np.float32).max)).astype(np.float32)
