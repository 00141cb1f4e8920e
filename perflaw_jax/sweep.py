"""The exhaustive sweep: every candidate of a Space against a law under hard limits, exactly.

float32 finds, float64 decides: the device reports the best float32 score of every block of neighbouring candidates; blocks
that could matter to a reducer, allowing for the float32 error, are evaluated again in float64 and only those values are kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, NamedTuple

import jax
import numpy as np

from perflaw_jax import kernel
from perflaw_jax.frontier import Frontier
from perflaw_jax.kernel import Decided, Found, Layout, Task
from perflaw_jax.objective import Bound
from perflaw_jax.reduce import RESOLUTION, Batch, Counts, Marginals, Screen, TopK, excess
from perflaw_jax.space import Space
from perflaw_jax.tiling import Tiling

LOOSENING = 4e-6  # relative; counts in float32 are good to 2.4e-7 (measured over 10^6 random architectures)
LEAST_MARGIN = 2e-6  # of a float32 raw score, relative to 1 + |raw|
ROW_BLOCKS = 8192  # the same where every feasible row is wanted
PILOT_BLOCKS = 2048
MOST_ORDERED_TILES = 10**6
FIRST_BLOCKS = 64  # decided first of a tile: what they teach the reducers mostly settles the rest
BATCH_BLOCKS = 1024  # blocks per call of the deciding program from then on


class MarginExceeded(Exception):
    """A float32 score was further from its float64 value than the margin allows for: sweep again with a wider one."""


@dataclass(frozen=True)
class Problem:
    """What is swept: a space, a law of which more is better, hard limits and the frontier's minimised costs."""

    space: Space
    law: Any
    limits: Mapping[str, Bound] = field(default_factory=dict)
    costs: tuple[str, ...] = ()


@dataclass
class Kept:
    """The reducers of a sweep; those that are None are not kept."""

    top: TopK
    frontier: Frontier | None
    marginals: Marginals | None
    counts: Counts | None

    @staticmethod
    def empty(problem: Problem, *, top: int, marginals: bool, counts: bool) -> Kept:
        """Reducers that have seen nothing."""
        costs = len(problem.costs)
        return Kept(
            TopK(top, costs),
            Frontier(costs) if costs else None,
            Marginals(problem.space) if marginals else None,
            Counts() if counts else None,
        )

    def update(self, batch: Batch) -> None:
        """Take in exactly evaluated feasible candidates."""
        for reducer in (self.top, self.frontier, self.marginals):
            if reducer is not None:
                reducer.update(batch)

    def merge(self, other: Kept) -> Kept:
        """Take in what another sweep of the same problem kept."""
        for mine, theirs in ((self.top, other.top), (self.frontier, other.frontier), (self.marginals, other.marginals)):
            if mine is not None:
                mine.merge(theirs)
        if self.counts is not None and other.counts is not None:
            self.counts.merge(other.counts)
        return self


class Doubts(NamedTuple):
    """Blocks of a tile that may matter: number inside the tile [m], best float32 raw score [m], least costs [m] each."""

    flat: np.ndarray
    best: np.ndarray
    costs: list[np.ndarray]

    def take(self, index) -> Doubts:
        """The blocks at an index array, slice or mask."""
        return Doubts(self.flat[index], self.best[index], [c[index] for c in self.costs])


class Rows(NamedTuple):
    """Candidates with everything known of them: ids int64 [n], index along each axis [n], exact results [n]."""

    ids: np.ndarray
    digits: list[np.ndarray]
    decided: Decided


class Engine:
    """The compiled programs of one problem and their exact counterparts on the host.

    Args:
        problem: what is swept.
        target: candidates per tile.
        in_order: keep the space's last axis innermost, so that tiles come in the order of the candidate ids.
    """

    def __init__(self, problem: Problem, *, target: int = 2**24, in_order: bool = False):
        self.problem = problem
        self.tiling = Tiling(problem.space, target, in_order=in_order)
        inner = problem.space.axes[self.tiling.inner]
        self.layout = Layout(
            dims=self.tiling.dims,
            depth=len(self.tiling.order),
            lanes=self.tiling.lanes,
            ascending_tokens=inner.field == "training_tokens" and bool(np.all(np.diff(inner.values) >= 0)),
            costs=problem.costs,
        )
        options = kernel.CPU_OPTIONS if jax.default_backend() == "cpu" else None
        self._find = jax.jit(partial(kernel.find, self.layout), compiler_options=options)
        self._census = jax.jit(partial(kernel.census, self.layout), compiler_options=options)
        self._decide = jax.jit(partial(kernel.decide, self.layout))
        self._device_values: dict[tuple, Any] = {}
        loose = {name: bound.loosened(LOOSENING) for name, bound in problem.limits.items()}
        self._exact_task = Task(problem.law, dict(problem.limits), problem.space.spend)
        self._loose_task = Task(problem.law, loose, problem.space.spend)
        self.margin = LEAST_MARGIN

    @cached_property
    def _score_loosened(self) -> Task:
        """The finding task: the limit on the score gives way by the measured float32 error, counts by ``LOOSENING``."""
        limits = dict(self._loose_task.limits)
        if "score" in limits:
            exact = self.problem.limits["score"]
            ends = [None if end is None else end + sign * self.margin * (1 + abs(end)) for end, sign in ((exact.min, -1), (exact.max, 1))]
            limits["score"] = Bound(*ends)
        return self._loose_task._replace(limits=limits)

    # --- device programs -------------------------------------------------------------------------------------------

    def find(self, start: tuple[int, ...], screen: Screen, floors: list[np.ndarray]) -> Found:
        """Dispatch the float32 program on a tile (asynchronous)."""
        fields = {name: self._tile_values(name, start, np.float32) for name in self.tiling.dims}
        floor_slices = self._floor_slices(start, floors)
        return self._find(fields, self._score_loosened, screen, floor_slices)

    def census(self, start: tuple[int, ...]) -> dict[str, Any]:
        """Dispatch the float64 counts of a tile (asynchronous): check -> how many candidates it holds for."""
        with jax.enable_x64(True):
            fields = {name: self._tile_values(name, start, np.float64) for name in self.tiling.dims}
            inside = self.tiling.inside(self.tiling.indices(start))
            inside[-1] = inside[-1].T  # lanes first
            return self._census(fields, {f"inside{i}": mask for i, mask in enumerate(inside)}, self._exact_task)

    def decide(
        self, coordinates: list[np.ndarray], dtype: type = np.float64, batch: int = BATCH_BLOCKS
    ) -> tuple[Decided, np.ndarray, np.ndarray]:
        """Evaluate blocks exactly.

        Args:
            coordinates: of the blocks, per axis of the nest, int64 [m].
            dtype: float64, or float32 to measure the float32 error.
            batch: blocks per call of the program.

        Returns:
            Decided with numpy leaves [m, lanes], candidate ids [m, lanes], and which of them are real [m, lanes].
        """
        count = len(coordinates[0])
        if not count:  # evaluate any block, return none
            decided, ids, real = self.decide([np.zeros(1, np.int64)] * self.layout.depth, dtype)
            return jax.tree.map(lambda leaf: leaf[:0], decided), ids[:0], real[:0]
        digits, real = self.tiling.members(coordinates)
        fields = {}
        for name, table in self.problem.space.tables.items():
            values = table.values[tuple(digits[i] for i in table.dims)]
            fields[name] = values if self.tiling.has_lanes(name) else values[:, 0] if table.dims else values
        parts = []
        with jax.enable_x64(dtype == np.float64):
            size = FIRST_BLOCKS if count <= FIRST_BLOCKS else batch  # two shapes, hence two traces in all
            for first in range(0, count, size):
                rows = np.minimum(np.arange(first, first + size), count - 1)
                some = {n: np.asarray(v[rows] if self.tiling.dims[n] else v, dtype) for n, v in fields.items()}
                parts.append(self._decide(some, self._exact_task, dtype(self.margin)))
        decided = jax.tree.map(lambda *leaves: np.concatenate([np.asarray(leaf) for leaf in leaves])[:count], *parts)
        return decided, np.broadcast_to(self.problem.space.ids(digits), real.shape), real

    def _tile_values(self, name: str, start: tuple[int, ...], dtype: type) -> Any:
        """Values of a field inside a tile, kept on the device from one tile to the next while they stay the same."""
        place = tuple(start[d] for d in self.tiling.dims[name])
        key = (name, dtype)
        if self._device_values.get(key, (None,))[0] != place:
            self._device_values[key] = (place, jax.device_put(self.tiling.values(name, start).astype(dtype)))
        return self._device_values[key][1]

    def _floor_slices(self, start: tuple[int, ...], floors: list[np.ndarray]) -> dict[str, np.ndarray]:
        if not floors:
            return {}
        indices = self.tiling.clipped(self.tiling.indices(start))
        slices = [floors[axis][index] for axis, index in zip(self.tiling.order, indices, strict=True)]
        slices[-1] = slices[-1].min(axis=1)  # any lane may be improved
        return {f"floor{i}": s.astype(np.float32) for i, s in enumerate(slices)}

    # --- finding what matters --------------------------------------------------------------------------------------

    def screen(self, kept: Kept) -> Screen:
        """What a block must reach to matter to the reducers as they stand."""
        floor, margin = np.float32(kept.top.floor()), np.float32(self.margin)
        if kept.frontier is None:
            return Screen(margin, floor)
        table = kept.frontier.table().astype(np.float32)
        offset = np.nan_to_num(kept.frontier.offset).astype(np.float32)
        return Screen(margin, floor, table, offset, np.float32(RESOLUTION[kept.frontier.costs]))

    def pilot(self, kept: Kept) -> list[tuple[int, ...]] | None:
        """Evaluate a spread of blocks first: measures the float32 error, and gives the reducers something to beat."""
        coordinates = spread(self.tiling.blocks, PILOT_BLOCKS)
        exact, ids, real = self.decide(coordinates)
        rough, _, _ = self.decide(coordinates, np.float32)
        with np.errstate(invalid="ignore"):
            error = np.abs(rough.raw - exact.raw) / (1 + np.abs(exact.raw))
        error = error[np.isfinite(error)]
        self.margin = max(self.margin, 8 * float(error.max(initial=0.0)))
        kept.update(as_batch(exact, ids, real))
        return self._promising_first(coordinates, np.where(exact.feasible & real, exact.raw, -np.inf).max(axis=1))

    def _promising_first(self, coordinates: list[np.ndarray], best: np.ndarray) -> list[tuple[int, ...]] | None:
        """Starts of all tiles, those with the best sampled score first: what is kept then soon beats all the rest."""
        tiles = math.prod(self.tiling.grid)
        if tiles > MOST_ORDERED_TILES:
            return None
        sampled = np.full(tiles, -np.inf)
        number = np.ravel_multi_index([c // t for c, t in zip(coordinates, self.tiling.tile, strict=True)], self.tiling.grid)
        np.maximum.at(sampled, number, best)
        places = np.unravel_index(np.argsort(-sampled, kind="stable"), self.tiling.grid)
        return list(zip(*((p * t).tolist() for p, t in zip(places, self.tiling.tile, strict=True)), strict=True))

    def settle(self, start: tuple[int, ...], found: Found, kept: Kept) -> None:
        """Evaluate exactly what a tile's report leaves in doubt: most promising first, looking again after every batch."""
        flat = np.flatnonzero(found.keep)
        doubts = Doubts(flat, np.asarray(found.best).ravel()[flat], [np.asarray(c).ravel()[flat] for c in found.costs])
        batch = FIRST_BLOCKS
        while len(doubts.flat):
            promise = self._excess(start, doubts, kept)
            doubts, promise = doubts.take(promise >= 0), promise[promise >= 0]
            if len(promise) > batch:
                doubts = doubts.take(np.argpartition(-promise, batch))
            now, doubts = doubts.take(slice(batch)), doubts.take(slice(batch, None))
            batch = BATCH_BLOCKS
            if len(now.flat):
                decided, ids, real = self.decide(self.tiling.coordinates(start, now.flat))
                self._check_margin(decided, real, now.best)
                kept.update(as_batch(decided, ids, real))

    def _excess(self, start: tuple[int, ...], doubts: Doubts, kept: Kept) -> np.ndarray:
        floors = []
        if kept.marginals is not None:
            local = np.unravel_index(doubts.flat, self.tiling.tile)
            slices = self._floor_slices(start, kept.marginals.floors())
            floors = [s[index] for s, index in zip(slices.values(), local, strict=True)]
        with np.errstate(divide="ignore"):
            return excess(np, self.screen(kept), doubts.best, doubts.costs, floors)

    def _check_margin(self, decided: Decided, real: np.ndarray, best: np.ndarray) -> None:
        exact = np.where(decided.feasible & real, decided.raw, -np.inf).max(axis=1)
        if np.any(exact > best + self.margin * (1 + np.abs(best))):
            raise MarginExceeded


def as_batch(decided: Decided, ids: np.ndarray, real: np.ndarray) -> Batch:
    """The feasible candidates among exactly evaluated blocks, flat."""
    mask = decided.feasible & real
    costs = np.stack([c[mask] for c in decided.costs], axis=1) if decided.costs else np.empty((int(mask.sum()), 0))
    d = decided
    return Batch(ids[mask], d.score[mask], d.training_flops[mask], d.total_params[mask], d.low[mask], d.high[mask], costs)


def spread(shape: tuple[int, ...], count: int) -> list[np.ndarray]:
    """Coordinates of about ``count`` points spread evenly over every axis of a grid (a Latin hypercube), and its corners."""
    size = math.prod(shape)
    if size <= count:
        return list(np.unravel_index(np.arange(size), shape))
    random = np.random.default_rng(0)  # fixed: the same sweep takes the same steps
    corners = np.array(np.meshgrid(*((0, n - 1) for n in shape), indexing="ij")).reshape(len(shape), -1)
    columns = [random.permutation(np.arange(count) * n // count) for n in shape]
    return [np.concatenate([column, corner]) for column, corner in zip(columns, corners, strict=True)]


def sweep(
    problem: Problem,
    *,
    top: int = 1000,
    marginals: bool = True,
    counts: bool = True,
    engine: Engine | None = None,
    tick: Callable[[int, Kept], None] = lambda done, kept: None,
) -> Kept:
    """Sweep a whole space and return what is kept of it.

    Args:
        problem: what is swept.
        top: how many of the best candidates to keep.
        marginals: keep the best candidate at every value of every axis.
        counts: count the feasible candidates and what each limit cuts.
        engine: reuse one's compiled programs.
        tick: called after every tile with the number of tiles done.
    """
    engine = engine or Engine(problem)
    while True:
        kept = Kept.empty(problem, top=top, marginals=marginals, counts=counts)
        try:
            for done, _ in enumerate(run(engine, kept), start=1):
                tick(done, kept)
            return kept
        except MarginExceeded:
            engine.margin *= 10
            engine.__dict__.pop("_score_loosened", None)


def run(engine: Engine, kept: Kept) -> Iterator[tuple[int, ...]]:
    """Settle every tile into ``kept``, one tile ahead on the device of the host; yields each tile's start when settled."""
    starts = engine.pilot(kept)
    waiting = None
    for start in starts or engine.tiling.starts():
        floors = kept.marginals.floors() if kept.marginals is not None else []
        found = engine.find(start, engine.screen(kept), floors)
        holds = engine.census(start) if kept.counts is not None else None
        if waiting is not None:
            yield _settle(engine, kept, *waiting)
        waiting = (start, found, holds)
    if waiting is not None:
        yield _settle(engine, kept, *waiting)


def _settle(engine: Engine, kept: Kept, start: tuple[int, ...], found: Found, holds: dict[str, Any] | None) -> tuple[int, ...]:
    engine.settle(start, found, kept)
    if kept.counts is not None and holds is not None:
        inside = engine.tiling.inside(engine.tiling.indices(start))
        kept.counts.update(math.prod(int(mask.sum()) for mask in inside), holds)
    return start


def feasible_rows(engine: Engine, kept: Kept) -> Iterator[tuple[int, int, Rows]]:
    """All feasible candidates in the order of their ids, tile by tile; ``kept`` takes them in as well.

    The engine must have been made with ``in_order``. Each tile gives the range of ids it covers, [start, end), and its rows.
    """
    tiling, space = engine.tiling, engine.problem.space
    everything = Screen(np.float32(engine.margin), np.float32(-np.inf))
    waiting = None
    for start in (*tiling.starts(), None):
        found = None if start is None else engine.find(start, everything, [])
        holds = engine.census(start) if start is not None and kept.counts is not None else None
        if waiting is not None:
            here, report, held = waiting
            flat = np.flatnonzero(report.keep)
            indices = tiling.indices(here)
            first = [index.min() for index in tiling.clipped(indices)]
            covered = math.prod(int(mask.sum()) for mask in tiling.inside(indices))
            begin = int(space.ids(first))
            yield begin, begin + covered, _rows(engine, kept, tiling.coordinates(here, flat))
            if kept.counts is not None and held is not None:
                kept.counts.update(covered, held)
        waiting = (start, found, holds)


def _rows(engine: Engine, kept: Kept, coordinates: list[np.ndarray]) -> Rows:
    decided, ids, real = engine.decide(coordinates, batch=ROW_BLOCKS)
    kept.update(as_batch(decided, ids, real))
    digits, _ = engine.tiling.members(coordinates)
    mask = decided.feasible & real
    flat = Decided(*(leaf[mask] for leaf in decided[:-1]), tuple(c[mask] for c in decided.costs))
    return Rows(ids[mask], [np.broadcast_to(d, mask.shape)[mask] for d in digits], flat)
