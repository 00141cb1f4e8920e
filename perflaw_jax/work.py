"""A sweep's work in one process: the engine made ready for a spec, the tiles of each shard, and what was learned so far."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from perflaw_jax.boxes import unique
from perflaw_jax.columns import Columns
from perflaw_jax.engine import Engine, as_batch
from perflaw_jax.job import believed, check_law, entry_of, header, make_columns, make_problem
from perflaw_jax.kept import Kept
from perflaw_jax.manifest import Shard
from perflaw_jax.pilot import pilot
from perflaw_jax.portion import Portion
from perflaw_jax.reduce import distinct
from perflaw_jax.space import Space
from perflaw_jax.spec import SweepSpec

TILE, LEAST_TILE = 2**25, 2**12  # candidates per tile
ROW_TILE = 2**21  # candidates per tile where rows are streamed
TILES = 32  # at least so many tiles, where that leaves SMALL_TILE candidates in each: what shards are made of
SMALL_TILE = 2**16
MOST_PIECES = 1024  # a part never reaches from one piece of the grid into the next, so that shards may begin there


class Work:
    """What a process needs to compute shards of one spec, and what it has learned from those that it computed.

    Raises ValueError for a spec that makes no sense. Nothing is compiled yet.
    """

    def __init__(self, spec: SweepSpec, devices: int | None = None):
        self.spec = spec
        self.entry = entry_of(spec)
        problem = make_problem(spec, self.entry)
        check_law(self.entry, problem)
        if spec.output.rows == "feasible" and self.entry.support is not None:
            problem = replace(problem, inputs=self.entry.support.inputs)
        self.header = header(spec, self.entry)
        self.rows = spec.output.rows
        most = max(LEAST_TILE, (TILE if self.rows == "none" else ROW_TILE) // believed(problem.law))
        self.engine = Engine(
            problem,
            in_order=self.rows != "none",
            target=_tile_size(problem.space, most),
            devices=jax.local_device_count() if devices is None else devices,
        )
        self.columns: Columns = make_columns(self.engine, spec, self.entry)
        self.trusted: set[Shard] = set()  # files of rows that this process wrote, or found as they were written
        self.ready = False
        self.kept = Kept.empty(problem, top=spec.output.top, marginals=True, counts=True)

    @property
    def about(self) -> dict[str, Any]:
        """The header as it reads: what tells this run from others."""
        return json.loads(self.header)

    @property
    def tiles(self) -> int:
        """Number of tiles of the whole grid."""
        return self.engine.tiling.count

    def tiles_of(self, portion: Portion) -> range:
        """The tiles of a shard: whole pieces of the grid."""
        pieces = portion.of(-(-self.tiles // self._piece))
        return range(min(pieces.start * self._piece, self.tiles), min(pieces.stop * self._piece, self.tiles))

    def ends_piece(self, tile: int) -> bool:
        """Whether a tile is the last of its piece."""
        return tile + 1 == self.tiles or (tile + 1) % self._piece == 0

    @property
    def _piece(self) -> int:
        """Tiles of a piece."""
        return max(1, self.tiles // MOST_PIECES) if self.rows != "none" else 1

    def span(self, first: int, last: int) -> tuple[int, int]:
        """The ids [begin, end) of the candidates of tiles in a row, where rows are written."""
        tiling = self.engine.tiling
        return tiling.span(tiling.start(first))[0], tiling.span(tiling.start(last))[1]

    def tiles_between(self, begin: int, end: int) -> tuple[int, int]:
        """The inverse: the tiles [first, stop) whose candidates have the ids [begin, end)."""
        first, last = self._tiles_with(np.array([begin, end - 1])).tolist()
        return first, last + 1

    def kept_in(self, portion: Portion) -> np.ndarray:
        """The ids of what is kept that lies in a shard: enough, as each shard of a grid finds the best that lie in it."""
        ids, tiles, tiling = self.kept.hopeful(), self.tiles_of(portion), self.engine.tiling
        place, row = tiling.outermost(ids), math.prod(tiling.grid[1:])
        ids = ids[(place >= tiles.start // row) & (place <= tiles.stop // row)]  # most are told by one axis
        own = self._tiles_with(ids)
        return distinct(ids[(own >= tiles.start) & (own < tiles.stop)])

    def _tiles_with(self, ids: np.ndarray) -> np.ndarray:
        """The numbers of the tiles that hold some candidates."""
        tiling = self.engine.tiling
        blocks, _ = tiling.block_of(ids)
        return np.asarray(np.ravel_multi_index([b // t for b, t in zip(blocks, tiling.tile, strict=True)], tiling.grid))

    def make_ready(self) -> None:
        """Before the first tile: know roughly how good the best of the whole grid are, whatever shard is to be computed.

        Else a shard that begins far from the best designs would look closely at nearly everything: what it is held against is
        what was found so far.
        """
        if not self.ready:
            pilot(self.engine, self.kept)
            self.ready = True

    def learn(self, ids: np.ndarray) -> None:
        """Take in candidates that another process, or this one before it was stopped, has found worth keeping."""
        unknown = np.setdiff1d(distinct(ids), self.kept.ids(), assume_unique=True)
        if len(unknown):
            blocks, _ = self.engine.tiling.block_of(unknown)
            once = unique(blocks, self.engine.tiling.blocks)  # several of the ids may lie in one
            self.kept.update(as_batch(*self.engine.decide(once)))


def _tile_size(space: Space, most: int) -> int:
    """Candidates per tile: so few that a small grid can be divided too, along its outermost axis where that is short."""
    small = min(SMALL_TILE, space.size // space.shape[0])
    return max(1, min(most, max(space.size // TILES, small)))
