"""A result directory: its files, and who may write where."""

import json
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from perflaw_jax.files import StoreError, is_local, remove, sha256, told, write_atomic, write_json
from perflaw_jax.lock import locked
from perflaw_jax.manifest import HEADER_KEY, MANIFEST, Shard, git_state, read_manifest, sealed
from perflaw_jax.record import clear_records, record_files
from perflaw_jax.schemas import (
    ROW_GROUP,
    Column,
    candidate_schema,
    compact_schema,
    count_rows,
    curve_schema,
    encodings,
    marginals_schema,
    to_table,
    trials_schema,
)

THREADS = 2  # zstd and the encoders release the GIL; each further thread holds one more part in memory
RESULTS = ("top.parquet", "frontier.parquet", "marginals.parquet", "trials.parquet", "curve.*", "rows/part-*.parquet")
PAGE, FIGURES = "report.html", "figures"  # what a report adds, and the folder of its figures
REPORT = (
    PAGE,
    *(
        f"{FIGURES}/{n}.{end}"
        for n in ("curve", "frontier", "marginals", "heat-map", "iso-flops", "cuts")
        for end in ("png", "svg")
    ),
)


@dataclass(frozen=True)
class ResultDir:
    """A directory that one run of one spec may write to. ``create``, then ``begin``, the files, ``write_manifest``."""

    path: Path
    header: str  # JSON with at least spec_sha256 and name; goes into every file
    made: tuple[Path, ...] = ()  # the directories that create had to make, innermost first

    @classmethod
    def create(cls, path: Path, header: str, *, others: bool = False) -> "ResultDir":
        """Make the directory, or check that it may be written to: it is empty or holds results of the same spec.

        Deletes nothing. Raises ``StoreError`` for anything else. With ``others`` it may hold results of another spec or method.
        """
        with told("write to", path):
            made = tuple(p for p in (path, *path.parents) if not p.exists()) if is_local(path) else ()
            if path.exists():
                _check_ours(path, json.loads(header), others)
            if is_local(path):
                _make(path)
        return cls(path, header, made)

    @contextmanager
    def held(self, *, shared: bool = False) -> Iterator[None]:
        """Keep other processes out while a run is under way; ``shared`` lets in those that ask for no more than that.

        Raises ``StoreError`` where another one is at work. After a failure what ``create`` made is removed, if nothing was
        written.
        """
        try:
            with locked(self.path, shared=shared):
                yield
        except BaseException:
            self.discard_if_empty()
            raise

    def begin(self) -> None:
        """Declare the run started, then delete the files of earlier runs.

        From here to ``write_manifest`` the manifest says ``complete = false``: a killed run leaves no false claim, and the
        directory still tells whose it is.
        """
        self.declare()
        clear_records(self.path)
        self.tidy()
        with told("clear", self.path):  # a report on earlier results would be taken for one on these
            for stale in [self.path / name for name in REPORT if (self.path / name).exists()]:
                remove(stale)

    def declare(self) -> None:
        """Write the manifest of a run that has not finished."""
        write_json(self.path / MANIFEST, sealed({**json.loads(self.header), "complete": False, "shards": []}))

    def tidy(self, listed: Iterable[Shard] = ()) -> None:
        """Delete results that are not ``listed``, and what killed runs left half written."""
        keep = {self.path / shard.path for shard in listed}
        hidden = (f".{MANIFEST}.*.tmp", *(f"{Path(n).parent}/.{Path(n).name}.*.tmp" for n in RESULTS))
        with told("clear", self.path):
            for stale in [file for pattern in (*RESULTS, *hidden) for file in self.path.glob(pattern)]:
                if stale not in keep:
                    remove(stale)

    def discard_if_empty(self) -> None:
        """After a failure: remove the directory again if ``create`` made it and no result was written."""
        with suppress(OSError):  # a directory that is not empty stays
            if self.made:
                for folder in ("rows", "shards"):
                    with suppress(FileNotFoundError):
                        (self.path / folder).rmdir()
                if [file.name for file in self.path.iterdir()] == [MANIFEST]:
                    (self.path / MANIFEST).unlink()
                for directory in self.made:
                    directory.rmdir()

    def write_top(self, columns: Mapping[str, Column]) -> Shard:
        """Write the best candidates, best first."""
        return self._write("top.parquet", columns, candidate_schema(pa.float64(), columns))

    def write_frontier(self, columns: Mapping[str, Column]) -> Shard:
        """Write the frontier, in the order of the candidate ids."""
        return self._write("frontier.parquet", columns, candidate_schema(pa.float64(), columns))

    def write_trials(self, columns: Mapping[str, Column]) -> Shard:
        """Write the trials of a search, in their order."""
        return self._write("trials.parquet", columns, trials_schema(columns))

    def write_curve(self, columns: Mapping[str, Column]) -> Shard:
        """Write the optimum at each budget, ascending."""
        return self._write("curve.parquet", columns, curve_schema(columns))

    def write_marginals(self, axis: Sequence[str], value: np.ndarray, score: np.ndarray, candidate_id: np.ndarray) -> Shard:
        """Write the best candidate per axis value; where the score is NaN, score and candidate_id become null."""
        ids = [None if missing else int(i) for i, missing in zip(candidate_id, np.isnan(score), strict=True)]
        columns = {"axis": np.array(axis, object), "value": value, "score": score, "candidate_id": np.array(ids, object)}
        return self._write("marginals.parquet", columns, marginals_schema())

    def rows(self, kind: Literal["feasible", "compact"], size: int, columns: Iterable[str] = ()) -> "RowWriter":
        """A writer for the rows of a grid of ``size`` candidates; ``columns`` may name more than the usual ones."""
        schema = candidate_schema(pa.float32(), columns) if kind == "feasible" else compact_schema()
        return RowWriter(self, schema, len(str(size)))

    def write_manifest(self, run: Mapping[str, Any], shards: Iterable[Shard]) -> None:
        """Declare the run complete: the header, the commit that ends it, what the run adds, and the shards, by path."""
        listed = [shard._asdict() for shard in sorted(shards)]
        whole = {**json.loads(self.header), "git": git_state(Path(__file__).parent), **run, "complete": True, "shards": listed}
        write_json(self.path / MANIFEST, sealed(whole))

    def _write(self, name: str, columns: Mapping[str, Column], schema: pa.Schema, **options: Any) -> Shard:
        rows = count_rows(columns, schema)

        def write(temporary: Path) -> Shard:
            with pq.ParquetWriter(temporary, schema, **encodings(schema, columns), **options) as writer:
                writer.add_key_value_metadata({HEADER_KEY: self.header})
                for start in range(0, rows, ROW_GROUP):  # built by row group: what is encoded next is still in the cache
                    writer.write_table(to_table(columns, schema, start, min(start + ROW_GROUP, rows)), ROW_GROUP)
            written = pq.read_metadata(temporary).num_rows
            if written != rows:
                raise StoreError(f"cannot write {self.path / name}: {written} of {rows} rows arrived")
            return Shard(name, rows, sha256(temporary), temporary.stat().st_size)

        return write_atomic(self.path / name, write)


class RowWriter:
    """Streams rows into part files, one per call of ``write``, encoded by threads behind a bounded queue.

    A context manager. A part that could not be written raises its ``StoreError`` at the next call or on leaving; the parts
    that were waiting are then dropped, and those under way are finished.
    """

    def __init__(self, directory: ResultDir, schema: pa.Schema, digits: int):
        """Name parts with ids of ``digits`` digits; ``ResultDir.rows`` knows all three."""
        self._directory, self._schema, self._digits = directory, schema, digits
        self._pool = ThreadPoolExecutor(THREADS, "perflaw-rows")
        self._pending: deque[Future[Shard]] = deque()

    def __enter__(self) -> "RowWriter":
        return self

    def write(self, start: int, end: int, columns: Mapping[str, Column]) -> Future[Shard]:
        """Write the rows with ids in [start, end), sorted by id and at least one; the future is done when they are on disk.

        The arrays are handed over: they are read after this returns, so do not change them.
        """
        self._collect(room=THREADS)
        name = f"rows/part-{start:0{self._digits}}-{end:0{self._digits}}.parquet"
        sorting = [pq.SortingColumn(0)]
        write = self._directory._write
        self._pending.append(self._pool.submit(write, name, columns, self._schema, sorting_columns=sorting))
        return self._pending[-1]

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._collect(room=0)
        finally:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def _collect(self, room: int) -> None:
        """Wait until at most ``room`` parts are on their way; raise what any part finished by then failed with."""
        for part in [part for part in self._pending if part.done()]:
            part.result()
        while len(self._pending) > room or (self._pending and self._pending[0].done()):
            self._pending.popleft().result()


def _make(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileNotFoundError as error:  # of a file system that makes no folders, such as /proc
        raise StoreError(f"cannot write to {path}: {error.strerror}") from error


def _check_ours(path: Path, header: Mapping[str, Any], others: bool) -> None:
    if not path.is_dir():
        raise StoreError(f"{path} is not a directory; choose another --out")
    if is_local(path) and not os.access(path, os.W_OK | os.X_OK):
        raise StoreError(f"cannot write to {path}: Permission denied")
    if not (path / MANIFEST).exists():
        resumable = others and record_files(path)  # a record says itself which run it is of
        if not resumable and any(not file.name.startswith(".") for file in path.iterdir()):
            raise StoreError(f"{path} is not empty and holds no perflaw results; choose another --out")
        return
    manifest = read_manifest(path)
    if others:
        return
    if manifest["spec_sha256"] != header["spec_sha256"]:
        raise StoreError(f"{path} holds the results of another spec {manifest.get('name')!r}; choose another --out")
    theirs, ours = (method(of) for of in (manifest, header))
    if theirs != ours:
        raise StoreError(f"{path} holds the results of {theirs} of this spec, not of {ours}; choose another --out")


def method(header: Mapping[str, Any]) -> str:
    """What results are of: a sweep, a curve, or a search by which method."""
    if "curve" in header:
        return "a curve"
    search = header.get("search")
    return f"a search by {search['method']}" if isinstance(search, Mapping) and "method" in search else "a sweep"
