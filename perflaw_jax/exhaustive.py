"""The exhaustive sweep: every candidate of a Space against a law under hard limits, exactly.

float32 finds, float64 decides: the device reports the best float32 score of every block of neighbouring candidates; blocks
that could matter to a reducer, allowing for the float32 error, are evaluated again in float64 and only those values are kept.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any

import numpy as np

from perflaw_jax.engine import REFINED, Engine, Problem, Slab, Starts
from perflaw_jax.kept import Kept
from perflaw_jax.kernel import Surveyed
from perflaw_jax.pilot import pilot
from perflaw_jax.settling import Blocks, MarginExceeded, marked, settle, settle_surveyed

TOGETHER = 0.1  # seconds: blocks found within so long are settled together, or as soon as they fill a batch
AHEAD = 2  # tiles that the devices are ahead of the host, or one round of them
WIDENING = 10  # of the margin, each time that it proves too narrow


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
    """Settle tiles into ``kept``, the devices ahead of the host; yields each tile's number when it is settled.

    ``tiles`` are the numbers of those to sweep, by a caller who has seen to the pilot; all of them, after one, if not given.
    Raises ``MarginExceeded``.
    """
    if tiles is None:
        pilot(engine, kept)
        tiles = range(engine.tiling.count)

    asked = kept.asked(engine)  # what is settled later asks for more, which may wait

    def look(starts: Starts) -> tuple[Any, dict[str, Any] | None]:
        wanted = engine.find(starts, asked)
        return wanted, engine.census(starts) if kept.counts is not None else None

    unsettled, due = _Unsettled(engine, kept), time.monotonic() + TOGETHER
    for number, start, (wanted, holds) in _ahead(engine, look, tiles):
        unsettled.add(number, start, wanted, holds)
        late = time.monotonic() >= due
        if late or unsettled.count >= REFINED[1]:  # of full batches, the last of which would be mostly filling
            yield from unsettled.settle(unsettled.count if late else unsettled.count // REFINED[1] * REFINED[1])
            due, asked = time.monotonic() + TOGETHER, kept.asked(engine)
    yield from unsettled.settle(unsettled.count)


@dataclass
class _Unsettled:
    """Tiles that are found and not settled, and their blocks."""

    engine: Engine
    kept: Kept
    found: int = 0  # blocks so far
    done: int = 0  # of them settled
    tiles: deque[tuple[int, tuple, Any, int]] = field(default_factory=deque)  # with what was found up to and with each
    blocks: list[Blocks] = field(default_factory=list)

    def add(self, number: int, start: tuple[int, ...], wanted: Any, holds: dict[str, Any] | None) -> None:
        """Take in a tile."""
        self.blocks.append(marked(self.engine, start, wanted))
        self.found += len(self.blocks[-1][0])
        self.tiles.append((number, start, holds, self.found))

    @property
    def count(self) -> int:
        """How many blocks wait."""
        return self.found - self.done

    def settle(self, count: int) -> Iterator[int]:
        """Settle the first blocks; yields the numbers of the tiles of which none is left."""
        if not self.tiles:
            return
        joined = [np.concatenate(axis) for axis in zip(*self.blocks, strict=True)]
        settle(self.engine, [axis[:count] for axis in joined], self.kept)
        self.blocks, self.done = [[axis[count:] for axis in joined]], self.done + count
        while self.tiles and self.tiles[0][-1] <= self.done:
            number, start, holds, _ = self.tiles.popleft()
            _count(self.engine, self.kept, start, holds)
            yield number


def feasible_rows(engine: Engine, kept: Kept, tiles: Iterable[int] | None = None) -> Iterator[tuple[int, Slab]]:
    """All feasible candidates of ``tiles`` in the order of their ids, tile by tile; ``kept`` takes them in as well.

    The engine must have been made with ``in_order``. Yields each tile's number and its rows. ``tiles`` are all of them if not
    given.
    """
    if tiles is None:
        pilot(engine, kept)
        tiles = range(engine.tiling.count)

    def look(starts: Starts) -> Surveyed:
        return engine.survey(starts, kept.asked(engine))

    for number, start, surveyed in _ahead(engine, look, tiles):
        settle_surveyed(engine, start, surveyed, kept)
        _count(engine, kept, start, surveyed.holds)
        place = np.flatnonzero(surveyed.feasible)
        yield number, Slab(start, engine.tiling.span(start)[0] + place, place, surveyed)


def _ahead(engine: Engine, look: Callable[[Starts], Any], tiles: Iterable[int]) -> Iterator[tuple[int, tuple, Any]]:
    """Each tile's number and start with what was dispatched for it; the next rounds are dispatched before it is handed out."""
    rounds: deque[list[tuple[int, tuple, Any]]] = deque()
    rest, count = iter(tiles), engine.devices.count
    while numbers := list(islice(rest, count)):
        starts = [engine.tiling.start(number) for number in numbers]
        dispatched = look(starts)
        rounds.append(
            [(n, s, engine.devices.of_tile(dispatched, k)) for k, (n, s) in enumerate(zip(numbers, starts, strict=True))]
        )
        if len(rounds) > max(1, AHEAD // count):
            yield from rounds.popleft()
    yield from chain.from_iterable(rounds)


def _count(engine: Engine, kept: Kept, start: tuple[int, ...], holds: dict[str, Any] | None) -> None:
    if kept.counts is not None and holds is not None:
        kept.counts.update(engine.tiling.covered(start), holds)
