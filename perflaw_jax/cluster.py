"""A sweep's shards computed as jobs of a cluster.

Which job runs where is the cluster's affair; here they are handed over, watched through the records that they write, and
handed over again when their node dies.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from perflaw_jax.files import StoreError, as_place, is_local, remove
from perflaw_jax.interrupt import Stopped, stoppable
from perflaw_jax.job import entry_of, header
from perflaw_jax.lock import locked
from perflaw_jax.manifest import MANIFEST, read_manifest
from perflaw_jax.portion import Portion
from perflaw_jax.progress import silent
from perflaw_jax.record import read_records, record_files
from perflaw_jax.runner import How, Outcome, finished, sweep_shard
from perflaw_jax.spec import SweepSpec, parse_spec
from perflaw_jax.standing import standing
from perflaw_jax.store import ResultDir
from perflaw_jax.verify import verify
from perflaw_jax.work import Work

POLL = 0.5  # seconds between looks at the jobs
LOOK = 2.0  # seconds between looks at what they have recorded
RETRIES = 3  # of one shard
PAUSE = 5.0  # seconds before the first of them: what died may still seem to hold its lock

ClusterTick = Callable[[float, int, float, int, int], None]
"""Progress: share done, candidates done, best score (NaN), failures and retries so far."""


@dataclass(frozen=True)
class Job:
    """One shard as a job: called in a process of its own on any node that sees the same files."""

    spec: str  # canonical, as JSON
    out: str
    portion: Portion
    folder: str  # that laws of the user's own are found in

    def __call__(self) -> None:
        """Compute the shard, from where an earlier attempt got to; the last one joins them all."""
        if Path(self.folder).is_dir():
            os.chdir(self.folder)
        if self.folder not in sys.path:
            sys.path.append(self.folder)
        sweep_shard(_work(self.spec), as_place(self.out), silent, How(portion=self.portion, resume=True))


@lru_cache(maxsize=1)
def _work(spec: str) -> Work:
    """One process of a cluster computes many shards of a sweep, and compiles once."""
    return Work(parse_spec(json.loads(spec)))


class Cluster(Protocol):
    """What runs jobs."""

    slots: int  # how many at a time, as far as that is known

    def submit(self, jobs: Sequence[Job]) -> Sequence[Any]:
        """Hand over jobs; returns a handle for each."""
        ...

    def ended(self, handle: Any) -> bool:
        """Whether a job is over, one way or the other."""
        ...

    def failure(self, handle: Any) -> Exception | None:
        """What an ended job failed with, if it did."""
        ...

    def stop(self, handles: list[Any]) -> str:
        """The driver stops: what becomes of the jobs, in words."""
        ...


def run_on(cluster: Cluster, spec: SweepSpec, out: Path, count: int | None, how: How, tick: ClusterTick) -> Outcome:
    """Sweep a spec as ``count`` shards on a cluster and return the outcome; ``how`` says whether to resume.

    Raises:
        ValueError: the spec makes no sense; nothing was deleted or submitted.
        StoreError: a shard failed again and again, or the directory is another run's.
        Stopped: the driver was asked to stop.
    """
    began = time.perf_counter()
    entry = entry_of(spec)
    if _made_ready(out, header(spec, entry, device=False), how):
        return finished(spec.name, entry, out, began)
    known = [portion.count for portion in record_files(out)]
    count = count or max(known, default=4 * cluster.slots)
    place = str(out.absolute() if is_local(out) else out)
    jobs = [Job(spec.canonical(), place, Portion(i, count), os.getcwd()) for i in range(count)]
    with stoppable() as asked_to_stop:
        _watch(cluster, jobs, Watched(out, spec.space().size, tick), asked_to_stop)
    if not read_manifest(out)["complete"]:
        raise StoreError(f"{out} lacks shards though all jobs have ended: {'; '.join(verify(out)[:3])}; go on with --resume")
    return finished(spec.name, entry, out, began)


def _made_ready(out: Path, about: str, how: How) -> bool:
    """Empty the directory where shards are to start anew; True where it has all results already and they are kept.

    The jobs declare themselves whose the directory is: their kind of device may be another than the driver's.
    """
    directory = ResultDir.create(out, about, others=how.resume or how.force)
    with locked(out):
        now = standing(out, about)
        if now.manifest is None:
            return False
        if how.resume and not (now.differs and how.force):
            now.check_same("start anew with --force")
            if not now.complete or not verify(out):
                return now.complete
        elif not how.force:
            now.check_no_shards()
        directory.begin()
        with suppress(OSError):
            (out / "rows").rmdir()
        remove(out / MANIFEST)
    return False


@dataclass
class Watched:
    """How far the jobs are, by their records."""

    out: Path
    size: int
    tick: ClusterTick
    failures: int = 0
    retries: int = 0
    _looked: float = 0.0

    def show(self, *, last: bool = False) -> None:
        """Tell it, now and then."""
        if last or time.monotonic() - self._looked >= LOOK:
            records = [] if last else [record for record, _ in read_records(self.out)]
            candidates = self.size if last else min(self.size, sum(record.candidates for record in records))
            self.tick(candidates / self.size, candidates, float("nan"), self.failures, self.retries)
            self._looked = time.monotonic()


def _watch(cluster: Cluster, jobs: list[Job], watched: Watched, asked_to_stop: Callable[[], bool]) -> None:
    """Hand all jobs over and wait for them; a failed one is handed over again later, unless the mistake is the user's."""
    waiting = dict(zip(cluster.submit(jobs), jobs, strict=True))
    attempts, again = dict.fromkeys(jobs, 1), list[tuple[float, Job]]()
    while waiting or again:
        for handle in [handle for handle in waiting if cluster.ended(handle)]:
            job = waiting.pop(handle)
            if (error := cluster.failure(handle)) is None:
                continue
            watched.failures += 1
            told = _brief(error)
            if attempts[job] > RETRIES or isinstance(error, ValueError) or re.match(r"[\w.]*(Value|Spec)Error: ", told):
                raise StoreError(f"shard {job.portion} failed: {told}; {cluster.stop(list(waiting))}; go on with --resume")
            again.append((time.monotonic() + PAUSE * attempts[job], job))
            attempts[job] += 1
        for due, job in [pair for pair in again if pair[0] <= time.monotonic()]:
            again.remove((due, job))
            watched.retries += 1
            waiting[cluster.submit([job])[0]] = job
        watched.show()
        if asked_to_stop():
            raise Stopped(f"stopped; {cluster.stop(list(waiting))}; go on with --resume")
        if waiting or again:
            time.sleep(POLL)
    watched.show(last=True)


def _brief(error: Exception) -> str:
    """The line of an error that says what went wrong: of a traceback in its text, the last that names an exception."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines if re.match(r"[A-Za-z_][\w.]*(Error|Exception|Stopped|Interrupt): ", line)]
    return (named or lines or [type(error).__name__])[-1]


def options_of(pairs: Mapping[str, str]) -> dict[str, Any]:
    """Options as they are meant: numbers, true and false, JSON; anything else is text."""
    return {name: _read(text) for name, text in pairs.items()}


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
