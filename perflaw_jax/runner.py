"""A spec swept: as a whole or one shard of it, gone on with after an interruption; the last one joins them to one result."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from perflaw_jax.files import StoreError, arrow_file
from perflaw_jax.interrupt import Stopped, stoppable
from perflaw_jax.joining import Found, collect, join, missing, sound
from perflaw_jax.laws import LawEntry
from perflaw_jax.lock import locked
from perflaw_jax.manifest import MANIFEST, read_manifest
from perflaw_jax.portion import WHOLE, Portion
from perflaw_jax.progress import Tick, silent
from perflaw_jax.ranges import Ranges
from perflaw_jax.record import Record, clear_records, read_records, record_file, record_files
from perflaw_jax.reduce import Counts
from perflaw_jax.repair import repair
from perflaw_jax.results import plain
from perflaw_jax.shard import Ledger, compute, counted
from perflaw_jax.spec import SweepSpec, parse_spec
from perflaw_jax.standing import standing
from perflaw_jax.store import ResultDir
from perflaw_jax.verify import verify
from perflaw_jax.work import Work

NARROW = 5  # a margin that is so many times narrower than another was widened by no pilot, but by a score that it missed


@dataclass(frozen=True, kw_only=True)
class How:
    """How a sweep is to go.

    Attributes:
        portion: the shard to compute; None for the whole grid.
        resume: keep what an earlier run of the same spec, law, versions and kind of device has finished.
        force: where there is anything else, delete it and start anew; for whole grids.
        devices: of this host, to spread the work over; None for all.
    """

    portion: Portion | None = None
    resume: bool = False
    force: bool = False
    devices: int | None = None


@dataclass(frozen=True)
class Outcome:
    """What a sweep came to, for display: the same is in the result directory.

    Of a shard that is not the last one only the counts are known, and ``missing`` names the shards that are not done.
    """

    name: str
    directory: Path
    entry: LawEntry
    counts: Counts
    top: dict[str, np.ndarray]
    frontier_points: int
    seconds: float
    portion: Portion | None = None
    missing: tuple[str, ...] = ()


@dataclass
class _Run:
    """One process's way through a directory."""

    work: Work
    directory: ResultDir
    how: How
    asked_to_stop: Callable[[], bool]
    began: float = field(default_factory=time.perf_counter)

    @property
    def portion(self) -> Portion:
        return self.how.portion or WHOLE

    def outcome(self, counts: Counts, top: dict[str, np.ndarray], points: int, missing: Sequence[str] = ()) -> Outcome:
        seconds = time.perf_counter() - self.began
        name, entry = self.work.spec.name, self.work.entry
        return Outcome(name, self.directory.path, entry, counts, top, points, seconds, self.how.portion, tuple(missing))


def run_sweep(spec: SweepSpec, out: Path, tick: Tick = silent, how: How | None = None) -> Outcome:
    """Sweep a spec's grid, or one shard of it, and write ``out``.

    Raises:
        ValueError: the spec makes no sense; nothing was deleted or written.
        StoreError: a disk fails, or the directory is another process's or another run's.
        Stopped: it was asked to stop; what is finished is kept.
    """
    return sweep_shard(Work(spec, (how or How()).devices), out, tick, how or How())


def sweep_shard(work: Work, out: Path, tick: Tick, how: How) -> Outcome:
    """``run_sweep`` by a process that keeps its compiled programs for other shards of the same spec."""
    with stoppable() as asked_to_stop, _opened(work, out, how, asked_to_stop) as run:
        if _made_ready(run):
            return finished(work.spec.name, work.entry, out, run.began)
        own, others = _known(run)
        ledger = _computed(run, own, Ranges(pair for record, _ in others for pair in record.tiles), tick)
        if ledger is None or (asked_to_stop() and not ledger.complete):
            what = f"shard {how.portion}" if how.portion else "the sweep"
            share = f"{100 * ledger.share:.0f} % of " if ledger else "what was finished of "
            raise Stopped(f"stopped; {out} has {share}{what}: go on with --resume")
        return _joined(run, others, counted(ledger.stretches))


@contextmanager
def _opened(work: Work, out: Path, how: How, asked_to_stop: Callable[[], bool]) -> Iterator[_Run]:
    """The directory, locked: for this process alone, or for one shard beside others."""
    directory = ResultDir.create(out, work.header, others=how.resume or how.force or how.portion is not None)
    with (
        directory.held(shared=how.portion is not None),
        locked(out, how.portion.name) if how.portion is not None else nullcontext(),
    ):
        yield _Run(work, directory, how, asked_to_stop)


def _made_ready(run: _Run) -> bool:
    """Begin, go on or refuse; True where the directory has all results already and they are kept."""
    directory, how, path = run.directory, run.how, run.directory.path
    now, whole = standing(path, run.work.header), how.portion is None
    if now.manifest is None:
        directory.begin() if whole and not how.resume else directory.declare()  # shards may be at work, or done, already
    elif whole and (not how.resume or (now.differs and how.force)):
        if not how.force:
            now.check_no_shards()
        directory.begin()
    else:
        now.check_same("start anew with --force" if whole else "delete it: --force is for whole sweeps")
        if now.complete and how.resume:
            clear_records(path)  # a process that was killed at its very end left them
            if not verify(path) or (whole and repair(run.work, directory, now.manifest, run.asked_to_stop)):
                return True
        if now.complete and not whole:
            raise StoreError(f"{path} holds the results of all shards already; choose another --out, or delete it")
        if now.complete:
            directory.begin()  # more than rows is damaged: all of it again
    return False


def _known(run: _Run) -> tuple[Record, Found]:
    """The record to go on with, and those of other divisions, each without what is not on disk as it was written."""
    work, path, how = run.work, run.directory.path, run.how
    own = None
    found, widest = _usable(work, read_records(path, work.about, besides=None if how.resume else run.portion.count))
    if how.resume:
        mine = [(record, ids) for record, ids in found if record.portion == run.portion]
        for record, ids in mine:
            own = sound(work, run.directory, record, lambda: not run.asked_to_stop())
            work.learn(ids)
    others = [(record, ids) for record, ids in found if record.count != run.portion.count]
    others = [(sound(work, run.directory, r, lambda: not run.asked_to_stop()), ids) for r, ids in others]
    fresh = Record(index=run.portion.index, count=run.portion.count, tile=work.engine.tiling.tile, margin=0.0)
    work.engine.margin = max(work.engine.margin, widest)
    return own or fresh, others


def _computed(run: _Run, own: Record, elsewhere: Ranges, tick: Tick) -> Ledger | None:
    """The shard computed as far as it got; None where it was stopped at once."""
    try:
        return compute(run.work, run.directory, own, elsewhere, tick, run.asked_to_stop)
    except KeyboardInterrupt:  # what was finished is recorded
        return None
    except StoreError as error:
        if record_file(run.directory.path, own.portion).exists():
            raise StoreError(f"{error}; what is finished is kept: go on with --resume") from error
        raise


def _joined(run: _Run, others: Found, own: Counts) -> Outcome:
    """The result, if all shards are there; else what is known of this one: what was counted in it."""
    work, path = run.work, run.directory.path
    lacking = _not_begun(path, run.portion)
    found = [] if lacking else _all_records(run, others)
    lacking = lacking or missing(work, found)
    if lacking and not read_manifest(path)["complete"]:
        return run.outcome(own, {}, 0, lacking)
    with locked(path, "join", wait=True):
        if read_manifest(path)["complete"]:  # another one was the last as well
            return finished(work.spec.name, work.entry, path, run.began)
        for record, _ in found:
            if bad := {s.file.path for s in record.stretches if s.file} - _paths(sound(work, run.directory, record)):
                raise StoreError(f"{path / min(bad)} is missing or damaged; run shard {record.portion} again with --resume")
        counts, top, points = join(work, run.directory, found)
    return run.outcome(counts, plain(top), points)


def _paths(record: Record) -> set[str]:
    return {stretch.file.path for stretch in record.stretches if stretch.file}


def _not_begun(path: Path, portion: Portion) -> list[str]:
    """The other shards of a division that have no record; none where another division has any, which may cover them."""
    known = record_files(path)
    if any(other.count != portion.count for other in known):
        return []
    return [str(other) for i in range(portion.count) if (other := Portion(i, portion.count)) not in known]


def _all_records(run: _Run, others: Found) -> Found:
    """The records of this division as they are now, and those of others as they were checked."""
    found = read_records(run.directory.path, run.work.about)
    ours = [(r, ids) for r, ids in found if r.count == run.portion.count]
    checked = {record.portion for record, _ in others}
    new = [(r, ids) for r, ids in found if r.count != run.portion.count and r.portion not in checked]
    return _usable(run.work, [*ours, *others, *new])[0]


def _usable(work: Work, found: Found) -> tuple[Found, float]:
    """Records of the same tiles, without those at too narrow a margin, and the widest."""
    widest = max((record.margin for record, _ in found), default=0.0)
    tile = work.engine.tiling.tile
    return [(r, ids) for r, ids in found if r.tile == tile and NARROW * r.margin >= widest], widest


def merge(places: Sequence[Path], out: Path) -> Outcome:
    """Join the shards that lie in ``places`` in ``out``; ``StoreError`` where any is missing or of another run."""
    manifests = {place: read_manifest(place) for place in places}
    first = manifests[places[0]]
    if "spec" not in first or "search" in first or "curve" in first:
        raise StoreError(f"{places[0]} holds no sweep, and so no shards")
    work = Work(parse_spec(first["spec"], where=f"{places[0] / MANIFEST}: spec"))
    for place in places:
        standing(place, work.header).check_same("merge it with its like")
        if manifests[place]["complete"] and place != out:
            raise StoreError(f"{place} holds complete results: there is nothing to merge")
    with _opened(work, out, How(resume=True), lambda: False) as run:
        now = standing(out, work.header)
        now.check_same("merge into another")
        if now.complete:
            return finished(work.spec.name, work.entry, out, run.began)
        if now.manifest is None:
            run.directory.declare()
        for place in places:
            if place != out:
                collect(work, place, run.directory)
        found = _all_records(run, [])
        if lacking := missing(work, found):
            raise StoreError(f"{out} lacks shards {', '.join(lacking)}; run them, with --resume if they were begun")
        return _joined(run, [], Counts())


def finished(name: str, entry: LawEntry, path: Path, began: float) -> Outcome:
    """The outcome of results that are complete already, as it is read from them."""
    import pyarrow.parquet as pq

    manifest = read_manifest(path)
    told, rows = manifest["counts"], {shard["path"]: shard["rows"] for shard in manifest["shards"]}
    with arrow_file(path / "top.parquet") as opened:
        top = pq.read_table(opened)
    counts = Counts(told["candidates"], told["feasible"], told["cut_by_limit"])
    columns: dict[str, Any] = {name: top[name].to_numpy() for name in top.column_names}
    points = rows.get("frontier.parquet", 0)
    return Outcome(name, path, entry, counts, columns, points, time.perf_counter() - began)
