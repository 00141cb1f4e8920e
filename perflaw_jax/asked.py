"""What the reducers ask as they stand, laid out so that tiles, blocks and candidates can be held against it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

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
        in_nest = [floors[axis].astype(np.float32) for axis in tiling.order] if floors else []
        return Asked(tiling, screen, [*in_nest[:-1], *(as_blocks(floor, tiling.lanes) for floor in in_nest[-1:])])

    def of_tile(self, start: tuple[int, ...]) -> dict[str, np.ndarray]:
        """Per axis of the nest, the floors of a tile's blocks, float32 [t]: of a block the least."""
        return {
            f"floor{i}": floor[first : first + size]
            for i, (floor, first, size) in enumerate(zip(self._reaching_beyond, start, self.tiling.tile, strict=False))
        }

    def of_blocks(self, blocks: list[np.ndarray]) -> list[np.ndarray]:
        """Per axis of the nest, the floors of some blocks, float32 [m]: of a block the least; none without floors."""
        return [floor[place] for floor, place in zip(self._of_blocks, blocks, strict=False)]

    def risen(self, before: Asked, spread: float) -> float:
        """By how much more is asked than before at a cost, and at a value of each axis: on average, in units of ``spread``.

        What is asked everywhere is left out: little comes near the best of all, however little is known of it.
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
        short = [-len(floor) % size for floor, size in zip(self._of_blocks, self.tiling.tile, strict=False)]
        return [np.pad(floor, (0, n), mode="edge") if n else floor for floor, n in zip(self._of_blocks, short, strict=True)]
