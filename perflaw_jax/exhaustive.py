"""The exhaustive sweep: every candidate of a Space against a law under hard limits, exactly.

float32 finds, float64 decides: the device reports the best float32 score of every block of neighbouring candidates; blocks
that could matter to a reducer, allowing for the float32 error, are evaluated again in float64 and only those values are kept.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from perflaw_jax.engine import BATCHES, Engine, Problem, Slab, Starts, as_batch, spread
from perflaw_jax.frontier import Frontier
from perflaw_jax.kernel import Decided, Promise, Surveyed
from perflaw_jax.reduce import Batch, Counts, Marginals, Screen, TopK, distinct, excess

PILOT_BLOCKS = 4064
AROUND = 4096  # blocks to try around the best known at a time
ROUNDS = 10  # of that at most
SPARSE = 64  # and no more than one of so many blocks of the grid in all
ENOUGH = AROUND // 4  # as long as so many candidates of a round were worth keeping
STRETCH = 1024  # booleans
TOGETHER = 0.1  # seconds: tiles found within so long are settled together
WIDENING = 10  # of the margin, each time that it proves too narrow


class MarginExceeded(Exception):
    """A float32 score was further from its float64 value than the margin allows for: sweep again with a wider one."""


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

    def ids(self) -> np.ndarray:
        """The ids of all candidates that are in any reducer, ascending."""
        front = [self.frontier.front] if self.frontier else []
        marginals = self.marginals.best if self.marginals else []
        ids = distinct(np.concatenate([batch.candidate_id for batch in (self.top.best, *front, *marginals)]))
        return ids[ids >= 0]

    def merge(self, other: Kept) -> Kept:
        """Take in what another sweep of the same problem kept."""
        for name in ("top", "frontier", "marginals", "counts"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine is not None and theirs is not None:
                mine.merge(theirs)
        return self


Blocks = list[np.ndarray]  # coordinates per axis of the nest, int64 [m] each


class Doubts(NamedTuple):
    """Blocks that may matter: coordinates per axis of the nest [m], best float32 raw score [m], least costs [m] each."""

    blocks: Blocks
    best: np.ndarray
    costs: Sequence[np.ndarray]

    def take(self, index) -> Doubts:
        """The blocks at an index array, slice or mask."""
        return Doubts([b[index] for b in self.blocks], self.best[index], [c[index] for c in self.costs])


def screen(engine: Engine, kept: Kept) -> Screen:
    """What a block must reach to matter to the reducers as they stand."""
    floor, margin = np.float32(kept.top.floor()), np.float32(engine.margin)
    if kept.frontier is None:
        return Screen(margin, floor)
    front = kept.frontier
    offset = np.zeros(front.costs, np.int32) if front.offset is None else front.offset
    return Screen(margin, floor, front.table().astype(np.float32), offset)


def pilot(engine: Engine, kept: Kept) -> None:
    """Evaluate a spread of blocks first: measures the float32 error, and gives the reducers something to beat.

    Then look around the best of them, and around the best of those, until little better is found. What the reducers ask of a
    block is then nearly what they will ask in the end, wherever in the grid the first tile lies.
    """
    coordinates = spread(engine.tiling.blocks, PILOT_BLOCKS)
    exact, ids, real = engine.decide(coordinates)
    rough, _, _ = engine.decide(coordinates, np.float32)
    with np.errstate(invalid="ignore"):
        error = np.abs(rough.raw - exact.raw) / (1 + np.abs(exact.raw))
    error = error[np.isfinite(error)]
    engine.margin = max(engine.margin, 8 * float(error.max(initial=0.0)))
    kept.update(as_batch(exact, ids, real))
    random = np.random.default_rng(0)  # fixed: the same sweep takes the same steps
    known = kept.ids()
    for i in range(min(ROUNDS, math.prod(engine.tiling.blocks) // (SPARSE * AROUND))):
        if not len(known):
            return
        kept.update(as_batch(*engine.decide(_around(engine, known, 2.0 ** -(i + 2), random))))
        before, known = known, kept.ids()
        if len(np.setdiff1d(known, before, assume_unique=True)) < ENOUGH:
            return


def _around(engine: Engine, ids: np.ndarray, reach: float, random: np.random.Generator) -> list[np.ndarray]:
    """Coordinates of at most ``AROUND`` blocks near some candidates' own, none twice: mostly close, none beyond ``reach``.

    ``reach`` is a share of each axis.
    """
    shape = np.array(engine.tiling.blocks)[:, None]
    blocks, _ = engine.tiling.block_of(ids[random.integers(len(ids), size=AROUND)])
    size = np.rint(np.maximum(shape * reach, 1) ** random.random((len(shape), AROUND))).astype(np.int64)
    moved = np.stack(blocks) + size * random.integers(-1, 2, size.shape)
    flat = np.ravel_multi_index(tuple(np.clip(moved, 0, shape - 1)), engine.tiling.blocks)
    return list(np.unravel_index(distinct(flat), engine.tiling.blocks))


def settle(engine: Engine, blocks: Blocks, kept: Kept) -> None:
    """Evaluate exactly the blocks that ``find`` marks (see ``marked``)."""
    if len(blocks[0]):
        promise = engine.refine(blocks, screen(engine, kept), _floors(kept))
        _settle(engine, Doubts(blocks, promise.best, promise.costs), promise.excess, kept)


def marked(engine: Engine, start: tuple[int, ...], wanted: Any) -> Blocks:
    """Coordinates of the blocks of a tile for which ``find`` says True."""
    return engine.tiling.coordinates(start, _flatnonzero(np.asarray(wanted)))


def _flatnonzero(wanted: np.ndarray) -> np.ndarray:
    """``np.flatnonzero`` of booleans of which few are True, in a third of the time: stretches without any are passed over."""
    flags = np.ravel(wanted)
    size = len(flags) // STRETCH * STRETCH
    stretches = np.flatnonzero(flags[:size].reshape(-1, STRETCH).max(axis=1))
    inside = np.flatnonzero(flags[:size].reshape(-1, STRETCH)[stretches])
    found = stretches[inside // STRETCH] * STRETCH + inside % STRETCH
    return np.concatenate([found, size + np.flatnonzero(flags[size:])])


def _settle(engine: Engine, doubts: Doubts, promise: np.ndarray, kept: Kept) -> None:
    """The most promising first, looking again after every batch: what a few teach the reducers mostly settles the rest."""
    sizes = iter(BATCHES)
    batch = next(sizes)
    doubts, promise = _sift(doubts, promise)
    while len(doubts.best):
        if len(promise) > batch:
            doubts = doubts.take(np.argpartition(-promise, batch))
        now, doubts = doubts.take(slice(batch)), doubts.take(slice(batch, None))
        batch = next(sizes, batch)
        decided, ids, real = engine.decide(now.blocks)
        _check_margin(engine, decided, real, now.best)
        kept.update(as_batch(decided, ids, real))
        doubts, promise = _sift(doubts, _excess(engine, doubts, kept))
        if len(promise) > BATCHES[0] and engine.layout.lanes > 1:  # of one candidate, the best score has the least cost
            doubts, promise = _sift(doubts, engine.refine(doubts.blocks, screen(engine, kept), _floors(kept)).excess)


def _sift(doubts: Doubts, promise: np.ndarray) -> tuple[Doubts, np.ndarray]:
    matters = promise >= 0
    return doubts.take(matters), promise[matters]


def _excess(engine: Engine, doubts: Doubts, kept: Kept) -> np.ndarray:
    floors = engine.block_floors(doubts.blocks, _floors(kept))
    with np.errstate(divide="ignore"):
        return excess(np, screen(engine, kept), doubts.best, doubts.costs, floors)


def _check_margin(engine: Engine, decided: Decided, real: np.ndarray, best: np.ndarray) -> None:
    exact = np.where(decided.feasible & real, decided.raw, -np.inf).max(axis=1)
    if np.any(exact > best + engine.margin * (1 + np.abs(best))):
        raise MarginExceeded


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
            engine.margin *= WIDENING


def run(engine: Engine, kept: Kept, tiles: Iterable[int] | None = None) -> Iterator[int]:
    """Settle tiles into ``kept``, the devices one round ahead of the host; yields each tile's number when it is settled.

    ``tiles`` are the numbers of those to sweep, by a caller who has seen to the pilot; all of them, after one, if not given.
    Raises ``MarginExceeded``.
    """
    if tiles is None:
        pilot(engine, kept)
        tiles = range(engine.tiling.count)

    def look(starts: Starts) -> tuple[Any, dict[str, Any] | None]:
        wanted = engine.find(starts, screen(engine, kept), _floors(kept))
        return wanted, engine.census(starts) if kept.counts is not None else None

    held: list[tuple[int, tuple, Any]] = []  # tiles that are found and not settled
    blocks: list[Blocks] = []  # of theirs
    due = time.monotonic() + TOGETHER

    def settled() -> Iterator[int]:
        settle(engine, [np.concatenate(axis) for axis in zip(*blocks, strict=True)], kept)
        for number, start, holds in held:
            _count(engine, kept, start, holds)
            yield number

    for number, start, (wanted, holds) in _one_ahead(engine, kept, look, tiles):
        held.append((number, start, holds))
        blocks.append(marked(engine, start, wanted))
        if sum(len(b[0]) for b in blocks) >= BATCHES[-1] or time.monotonic() >= due:
            yield from settled()
            held, blocks, due = [], [], time.monotonic() + TOGETHER
    if held:
        yield from settled()


def feasible_rows(engine: Engine, kept: Kept, tiles: Iterable[int] | None = None) -> Iterator[tuple[int, Slab]]:
    """All feasible candidates of ``tiles`` in the order of their ids, tile by tile; ``kept`` takes them in as well.

    The engine must have been made with ``in_order``. Yields each tile's number and its rows. ``tiles`` are all of them if not
    given.
    """
    if tiles is None:
        pilot(engine, kept)
        tiles = range(engine.tiling.count)

    def look(starts: Starts) -> Surveyed:
        return engine.survey(starts, screen(engine, kept), _floors(kept))

    for number, start, surveyed in _one_ahead(engine, kept, look, tiles):
        doubts = _doubts(engine, start, surveyed)
        _settle(engine, doubts, _excess(engine, doubts, kept), kept)
        _count(engine, kept, start, surveyed.holds)
        place = np.flatnonzero(surveyed.feasible)
        yield number, Slab(start, engine.tiling.span(start)[0] + place, place, surveyed)


def _doubts(engine: Engine, start: tuple[int, ...], surveyed: Surveyed) -> Doubts:
    best = np.asarray(surveyed.best).ravel()
    flat = np.flatnonzero(best > -np.inf)
    return Doubts(engine.tiling.coordinates(start, flat), best[flat], [np.asarray(c).ravel()[flat] for c in surveyed.costs])


def _one_ahead(
    engine: Engine, kept: Kept, look: Callable[[Starts], Any], tiles: Iterable[int]
) -> Iterator[tuple[int, tuple, Any]]:
    """Each tile's number and start with what was dispatched for it; the next round is dispatched before it is handed out."""
    waiting: list[tuple[int, tuple, Any]] = []
    rest = iter(tiles)
    while numbers := list(islice(rest, engine.devices.count)):
        starts = [engine.tiling.start(number) for number in numbers]
        dispatched = look(starts)
        yield from waiting
        waiting = [(n, s, engine.devices.of_tile(dispatched, k)) for k, (n, s) in enumerate(zip(numbers, starts, strict=True))]
    yield from waiting


def _floors(kept: Kept) -> list[np.ndarray]:
    return kept.marginals.floors() if kept.marginals is not None else []


def _count(engine: Engine, kept: Kept, start: tuple[int, ...], holds: dict[str, Any] | None) -> None:
    if kept.counts is not None and holds is not None:
        kept.counts.update(engine.tiling.covered(start), holds)
