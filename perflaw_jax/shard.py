"""One shard of a sweep computed, and recorded while it goes: after any interruption the rest can be computed later."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain

import numpy as np

from perflaw_jax.columns import Column
from perflaw_jax.exhaustive import WIDENING, feasible_rows, run
from perflaw_jax.files import StoreError
from perflaw_jax.manifest import Shard
from perflaw_jax.progress import Tick
from perflaw_jax.ranges import Ranges
from perflaw_jax.record import Record, Stretch, write_record
from perflaw_jax.reduce import Counts
from perflaw_jax.settling import MarginExceeded
from perflaw_jax.store import ResultDir, RowWriter
from perflaw_jax.work import Work

PART_ROWS = 2**19  # rows gathered before a part is written
LEAST_PAUSE = 1.0  # seconds between two writings of a record
PATIENCE = 50  # and at least so many times longer than writing it took


@dataclass
class Ledger:
    """The record of a shard under way: written now and then, and at the end."""

    work: Work
    directory: ResultDir
    record: Record
    others: Ranges  # tiles that are done elsewhere
    tick: Tick
    finished: Callable[[], list[Stretch]] = list  # since the record was read
    _written: float = field(default_factory=time.monotonic)
    _took: float = 0.0

    def __post_init__(self) -> None:
        """Count what is to do and what is done."""
        self._tiles = self.work.tiles_of(self.record.portion)
        self._done, self._candidates = len(self.record.tiles), self.record.candidates
        self._on_record = _merged([*self.record.stretches]), self.record.margin
        self.complete = not any(Ranges(chain(self.others, self.record.tiles)).missing(self._tiles))

    def tile(self, tile: int) -> None:
        """Tell that a tile is done."""
        tiling, best = self.work.engine.tiling, self.work.kept.top.best.score[:1]
        self._done += 1
        self._candidates += tiling.covered(tiling.start(tile))
        score = self.work.columns.sign * float(best[0]) if len(best) else float("nan")
        self.tick(self.share, self._candidates, score)

    @property
    def share(self) -> float:
        """How much of the shard is done."""
        return self._done / max(1, len(self._tiles))

    @property
    def stretches(self) -> tuple[Stretch, ...]:
        """What is finished of the shard."""
        return _merged([*self.record.stretches, *self.finished()])

    def due(self) -> bool:
        """Whether enough was done since the record was written that it is worth the time."""
        return time.monotonic() - self._written > max(LEAST_PAUSE, PATIENCE * self._took)

    def write(self) -> None:
        """Write the record with what was finished, if anything was: another process may be joining the shards already."""
        began = time.monotonic()
        stretches, margin = self.stretches, float(self.work.engine.margin)
        if (stretches, margin) == self._on_record:
            return
        done = Ranges(chain(self.others, *(stretch.tiles for stretch in stretches)))
        self.complete = not any(done.missing(self._tiles))
        told = {"stretches": stretches, "complete": self.complete, "margin": margin}
        record = self.record.model_copy(update=told)
        write_record(self.directory.path, self.directory.header, record, self.work.kept_in(record.portion))
        self._on_record, self._written = (stretches, margin), time.monotonic()
        self._took = self._written - began


def compute(
    work: Work, directory: ResultDir, record: Record, others: Ranges, tick: Tick, asked_to_stop: Callable[[], bool]
) -> Ledger:
    """Compute the tiles of a shard that neither its record nor ``others`` have, until done or asked to stop.

    Whatever happens, what was finished until then is recorded, if that is still possible. The ledger that is returned says
    whether the shard is ``complete``, and its ``share`` that is done.
    """
    work.engine.margin = max(work.engine.margin, record.margin)
    while True:
        done = Ranges(chain(others, record.tiles))
        todo = [*done.missing(work.tiles_of(record.portion))]
        ledger = Ledger(work, directory, record, others, tick)
        try:
            if todo:
                work.make_ready()
            (_score if work.rows == "none" else _stream)(ledger, todo, asked_to_stop)
        except MarginExceeded:  # what was recorded may lack candidates
            work.engine.margin *= WIDENING
            record = record.model_copy(update={"stretches": ()})
            Ledger(work, directory, record, others, tick).write()
            continue
        except BaseException:
            with suppress(StoreError):
                ledger.write()
            raise
        ledger.write()
        return ledger


def _score(ledger: Ledger, todo: list[range], asked_to_stop: Callable[[], bool]) -> None:
    """Without rows: all tiles counted together."""
    work, done = ledger.work, Ranges()
    work.kept.counts = counts = Counts()
    ledger.finished = lambda: [_stretch(done, counts)] if len(done) else []
    for tile in run(work.engine, work.kept, chain.from_iterable(todo)):
        done.add(tile, tile + 1)
        ledger.tile(tile)
        if ledger.due():
            ledger.write()
        if asked_to_stop():
            return


def _stream(ledger: Ledger, todo: list[range], asked_to_stop: Callable[[], bool]) -> None:
    """With rows: tiles in the order of the ids, one file for each stretch of them that has rows."""
    work = ledger.work
    pending: deque[tuple[Stretch, Future[Shard] | None]] = deque()
    finished: list[Stretch] = []

    def collect() -> list[Stretch]:
        while pending and (pending[0][1] is None or _on_disk(pending[0][1])):
            stretch, file = pending.popleft()
            if file is not None:
                stretch = stretch.model_copy(update={"file": file.result()})
                work.trusted.add(file.result())
            finished.append(stretch)
        return finished

    ledger.finished, size = collect, work.engine.problem.space.size
    with ledger.directory.rows("compact" if work.rows == "compact" else "feasible", size, work.columns.extra) as writer:
        for part in _parts(ledger, writer, chain.from_iterable(todo), asked_to_stop):
            pending.append(part)
            if ledger.due():
                ledger.write()


def _on_disk(file: Future[Shard]) -> bool:
    return file.done() and not file.cancelled() and file.exception() is None


def _parts(
    ledger: Ledger, writer: RowWriter, tiles: Iterable[int], asked_to_stop: Callable[[], bool]
) -> Iterator[tuple[Stretch, Future[Shard] | None]]:
    """Hand rows to the writer while the devices work on the next tiles; each stretch, with its file on the way if it has rows.

    Where a stretch ends depends on the grid and its rows alone: whoever computes it, and when, its file is the same.
    """
    work, gathered, rows, first = ledger.work, [], 0, None
    make = work.columns.full_slab if work.rows == "feasible" else work.columns.compact_slab
    work.kept.counts = Counts()
    for tile, slab in feasible_rows(work.engine, work.kept, tiles):
        first = tile if first is None else first
        if len(slab.ids):
            gathered.append(make(slab))
            rows += len(slab.ids)
        ledger.tile(tile)
        if rows >= PART_ROWS or work.ends_piece(tile):
            stretch = _stretch([(first, tile + 1)], work.kept.counts)
            yield stretch, writer.write(*work.span(first, tile), joined(gathered)) if rows else None
            gathered, rows, first = [], 0, None
            work.kept.counts = Counts()
        if asked_to_stop():
            return


def joined(parts: list[dict[str, Column]]) -> dict[str, Column]:
    """The rows of several tiles as one: coded columns share their values, and constants stay as they are."""
    if len(parts) == 1:
        return parts[0]
    whole = {}
    for name, column in parts[0].items():
        if isinstance(column, tuple):
            whole[name] = np.concatenate([part[name][0] for part in parts]), column[1]
        elif isinstance(column, np.ndarray):
            whole[name] = np.concatenate([part[name] for part in parts])
        else:
            whole[name] = column
    return whole


def _stretch(tiles: Iterable[tuple[int, int]], counts: Counts) -> Stretch:
    return Stretch(tiles=tuple(tiles), candidates=counts.candidates, feasible=counts.feasible, cut=dict(counts.cut))


def _merged(stretches: list[Stretch]) -> tuple[Stretch, ...]:
    """Stretches with files stay apart; the others are one."""
    filed, others = [s for s in stretches if s.file], [s for s in stretches if not s.file]
    if others:
        filed.append(_stretch(Ranges(pair for s in others for pair in s.tiles), counted(others)))
    return tuple(filed)


def counted(stretches: Iterable[Stretch]) -> Counts:
    """What was counted in some stretches together."""
    counts = Counts()
    for s in stretches:
        counts.merge(Counts(s.candidates, s.feasible, dict(s.cut)))
    return counts
