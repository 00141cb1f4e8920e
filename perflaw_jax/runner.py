"""A spec swept: as a whole or one shard of it, gone on with after an interruption; the last one joins them to one result."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from perflaw_jax.files import StoreError, remove
from perflaw_jax.interrupt import Stopped, stoppable
from perflaw_jax.joining import Found, collect, counted, join, missing, torn
from perflaw_jax.laws import LawEntry
from perflaw_jax.lock import locked
from perflaw_jax.manifest import MANIFEST, Shard, difference, read_manifest, shard_problems
from perflaw_jax.portion import WHOLE, Portion
from perflaw_jax.progress import Tick, silent
from perflaw_jax.ranges import Ranges
from perflaw_jax.record import Record, read_record, read_records, record_file, record_files
from perflaw_jax.reduce import Counts
from perflaw_jax.repair import repair
from perflaw_jax.results import plain
from perflaw_jax.shard import compute
from perflaw_jax.spec import SweepSpec, parse_spec
from perflaw_jax.store import ResultDir, method
from perflaw_jax.verify import verify
from perflaw_jax.work import Work


@dataclass(frozen=True, kw_only=True)
class How:
    """How a sweep is to go.

    Attributes:
        portion: the shard to compute; None for the whole grid.
        resume: keep what an earlier run of the same spec, law, versions and kind of device has finished.
        force: where there is anything else, delete it and start anew.
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
    began = time.perf_counter()
    with _opened(work, out, how) as (directory, record):
        if record is None:
            return finished(work.spec.name, work.entry, directory.path, began)
        others = _records(work, directory, besides=record.count)
        elsewhere = Ranges(pair for r, _ in others for pair in r.tiles)
        with stoppable() as asked_to_stop:
            try:
                compute(work, directory, record, elsewhere, tick, asked_to_stop)
                stopped = asked_to_stop()
            except KeyboardInterrupt:  # what was finished is recorded
                stopped = True
            except StoreError as error:
                if record_file(out, record.portion).exists():
                    raise StoreError(f"{error}; what is finished is kept: go on with --resume") from error
                raise
        return _joined(work, directory, how.portion, began, stopped)


def merge(places: Sequence[Path], out: Path) -> Outcome:
    """Join the shards that lie in ``places`` in ``out``; ``StoreError`` where any is missing or of another run."""
    began = time.perf_counter()
    manifests = {place: read_manifest(place) for place in places}
    first = manifests[places[0]]
    if "search" in first or "curve" in first:
        raise StoreError(f"{places[0]} holds {method(first)}, which has no shards")
    work = Work(parse_spec(first["spec"], where=f"{places[0] / MANIFEST}: spec"))
    header = json.loads(work.header)
    for place, manifest in manifests.items():
        if found := difference(manifest, header):
            raise StoreError(f"{place} holds another run: {found}")
    directory = ResultDir.create(out, work.header)
    with locked(out):
        if not (out / MANIFEST).exists():
            directory.declare()
        if read_manifest(out)["complete"]:
            return finished(work.spec.name, work.entry, out, began)
        for place in places:
            if place != out:
                collect(work, place, directory)
        outcome = _joined(work, directory, WHOLE, began)
    if outcome.missing:
        raise StoreError(f"{out} lacks shards {', '.join(outcome.missing)}; run them, with --resume if they were begun")
    return outcome


def clear(work: Work, out: Path, how: How) -> None:
    """Empty ``out`` for shards that start anew, on whatever kind of device; StoreError where it holds anything else."""
    directory = ResultDir.create(out, work.header, others=how.force)
    with locked(out):
        directory.begin()
        with suppress(OSError):
            (out / "rows").rmdir()
        remove(out / MANIFEST)


@contextmanager
def _opened(work: Work, out: Path, how: How) -> Iterator[tuple[ResultDir, Record | None]]:
    """The directory, locked, and the record to go on with; None where the results are complete already."""
    portion = how.portion or WHOLE
    directory = ResultDir.create(out, work.header, others=how.resume or how.force or how.portion is not None)
    try:
        with ExitStack() as locks:
            locks.enter_context(locked(out, shared=how.portion is not None))
            if how.portion is not None:
                locks.enter_context(locked(out, portion.name))
            fresh = Record(index=portion.index, count=portion.count, tile=work.engine.tiling.tile, margin=0.0)
            if not _same_run(work, directory, how):
                yield directory, None
            else:
                yield directory, (_sound(work, directory, portion) or fresh) if how.resume else fresh
    except BaseException:
        directory.discard_if_empty()
        raise


def _same_run(work: Work, directory: ResultDir, how: How) -> bool:
    """Make the directory ready for this run; False where it holds all results already and they are to be kept."""
    path, whole = directory.path, how.portion is None
    if not (path / MANIFEST).exists():
        directory.begin() if whole else directory.declare()  # other shards may be at work already
        return True
    manifest = read_manifest(path)
    found = difference(manifest, json.loads(work.header))
    if whole and (not how.resume or (found and how.force)):
        directory.begin()
        return True
    if found:
        way_out = "start anew with --force" if whole else "delete it"
        raise StoreError(f"{path} holds another run: {found}; choose another --out, or {way_out}")
    if not manifest["complete"]:
        return True
    if how.resume and (not verify(path) or (whole and repair(work, directory, manifest))):
        return False
    if not whole:
        raise StoreError(f"{path} holds the results of all shards already; choose another --out, or delete it")
    directory.begin()  # more than rows is damaged: all of it again
    return True


def _sound(work: Work, directory: ResultDir, portion: Portion) -> Record | None:
    """The record of a shard with what is still as it was written; its candidates are learned."""
    header = json.loads(work.header)
    found = read_record(record_file(directory.path, portion), header)
    if found is None or found[0].tile != work.engine.tiling.tile:
        return None
    record, ids = found
    work.learn(ids)
    kept = [s for s in record.stretches if s.file is None or not _problems(directory, s.file, header)]
    return record.model_copy(update={"stretches": tuple(kept), "attempts": record.attempts + 1})


def _problems(directory: ResultDir, shard: Shard, header: dict[str, Any]) -> bool:
    return any(True for _ in shard_problems(directory.path / shard.path, shard, header))


def _records(work: Work, directory: ResultDir, besides: int | None = None) -> Found:
    tile, header = work.engine.tiling.tile, json.loads(work.header)
    return [(r, ids) for r, ids in read_records(directory.path, header, besides=besides) if r.tile == tile]


def _not_begun(directory: ResultDir, portion: Portion) -> list[str]:
    """The other shards of a division that have no record; none where another division has any, which may cover them."""
    known = record_files(directory.path)
    if any(other.count != portion.count for other in known):
        return []
    return [str(other) for i in range(portion.count) if (other := Portion(i, portion.count)) not in known]


def _joined(work: Work, directory: ResultDir, portion: Portion | None, began: float, stopped: bool = False) -> Outcome:
    """The result, if all shards are there; else what is known of this one."""
    path, mine = directory.path, portion or WHOLE
    lacking = _not_begun(directory, mine)
    found = [own] if lacking and (own := read_record(record_file(path, mine))) else _records(work, directory)
    lacking = lacking or missing(work, found)
    if lacking and not read_manifest(path)["complete"]:
        if stopped and (portion is None or str(portion) in lacking):
            share = sum(record.candidates for record, _ in found) / work.engine.problem.space.size
            raise Stopped(f"stopped; {path} has {100 * share:.0f} % of the candidates: go on with --resume")
        stretches = [s for record, _ in found if record.portion == portion for s in record.stretches]
        return _outcome(work, path, began, counted(stretches), {}, 0, portion, tuple(lacking))
    with locked(path, "join", wait=True):
        if read_manifest(path)["complete"]:  # another one was the last as well
            return finished(work.spec.name, work.entry, path, began)
        for record, file in torn(directory, found):
            raise StoreError(f"{path / file.path} is missing or torn; run shard {record.portion} again with --resume")
        counts, top, points = join(work, directory, found)
    return _outcome(work, path, began, counts, plain(top), points, portion)


def _outcome(work: Work, path: Path, began: float, *known: Any) -> Outcome:
    counts, top, points, *more = known
    return Outcome(work.spec.name, path, work.entry, counts, top, points, time.perf_counter() - began, *more)


def finished(name: str, entry: LawEntry, path: Path, began: float) -> Outcome:
    """The outcome of results that are complete already, as it is read from them."""
    import pandas as pd

    manifest = read_manifest(path)
    told, rows = manifest["counts"], {shard["path"]: shard["rows"] for shard in manifest["shards"]}
    with (path / "top.parquet").open("rb") as opened:
        top = pd.read_parquet(opened)
    counts = Counts(told["candidates"], told["feasible"], told["cut_by_limit"])
    columns = {name: top[name].to_numpy() for name in top}
    points = rows.get("frontier.parquet", 0)
    return Outcome(name, path, entry, counts, columns, points, time.perf_counter() - began)
