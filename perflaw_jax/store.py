"""A result directory: the Parquet files, their columns and encodings, and who may write where.

Top and frontier hold a few thousand rows in float64. Rows hold every feasible candidate, so their computed columns are
float32: 4 bytes a row each before compression, and as exact as the sweep that found them. In rows, budget_used is a multiple
of 2^-17, which saves most of a byte per row: it repeats training_flops, which stays whole beside it, and rounding to nearest
moves no value across 1.

Row groups are one page of 2^18 rows per column: zstd then sees whole tiles of the grid and a row takes a third fewer bytes than
with the default pages of 20,000 rows; a page index would add nothing to the statistics of such groups.
"""

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

from perflaw_jax.design import FIELDS, FLAGS
from perflaw_jax.manifest import HEADER_KEY, MANIFEST, Shard, StoreError, read_manifest, sha256, write_atomic, write_json

ROW_GROUP = 2**18
EXTRA_TYPES = {"extrapolated": pa.bool_()}  # every other column beyond the usual ones is float64
BUDGET_STEP = 2.0**-17  # of budget_used in rows
THREADS = 2  # zstd and the encoders release the GIL; each further thread holds one more part in memory

Column = np.ndarray | tuple[np.ndarray, np.ndarray] | float | None
"""One value per row, (index per row, values), one value for all rows, or None for a column of nulls."""


def candidate_schema(real: pa.DataType, columns: Iterable[str] = ()) -> pa.Schema:
    """The columns of top, frontier and rows; ``real`` is the type of the computed ones.

    Those of ``columns`` that are not usual come last, as float64: shares of data domains, costs, what is known of the error.
    """
    types = {"training_tokens": pa.float64()} | dict.fromkeys(FLAGS, pa.bool_())
    fields = [pa.field("candidate_id", pa.int64(), nullable=False)]
    # Heads are null where hidden_size / head_dim is not whole. The other fields are required: that spares the null bitmaps.
    fields += [pa.field(name, types.get(name, pa.int32()), name == "num_attention_heads") for name in FIELDS]
    fields += [pa.field(name, pa.int64(), nullable=False) for name in ("total_params", "active_params")]
    fields += [pa.field(name, real, nullable=False) for name in ("training_flops", "score")]
    fields += [pa.field("budget_used", real)]  # null where the spec has no budget of training FLOPs
    usual = {field.name for field in fields}
    extra = [pa.field(name, EXTRA_TYPES.get(name, pa.float64()), nullable=False) for name in columns if name not in usual]
    return pa.schema(fields + extra)


def trials_schema(columns: Iterable[str] = ()) -> pa.Schema:
    """The columns of a search's trials: their number, whether the candidate is feasible, and its usual columns.

    What a limit was broken by may be no number: every column but the first three may be null.
    """
    own = [pa.field("trial", pa.int64(), False), pa.field("feasible", pa.bool_(), False)]
    usual = candidate_schema(pa.float64(), [name for name in columns if name not in ("trial", "feasible")])
    return pa.schema([*own, *(field.with_nullable(True) if field.name != "candidate_id" else field for field in usual)])


def curve_schema(columns: Iterable[str] = ()) -> pa.Schema:
    """The columns of a curve: the budget, the best candidate under it, and what binds there, as text."""
    usual = candidate_schema(pa.float64(), [name for name in columns if name not in ("budget", "binds")])
    return pa.schema([pa.field("budget", pa.float64(), False), *usual, pa.field("binds", pa.string(), False)])


def compact_schema() -> pa.Schema:
    """The columns of rows when only ids and scores are kept: the design follows from the id and the spec."""
    return pa.schema([pa.field("candidate_id", pa.int64(), False), pa.field("score", pa.float32(), False)])


def marginals_schema() -> pa.Schema:
    """Best score per axis value; score and candidate_id are null where no candidate with that value is feasible."""
    fields = [pa.field("axis", pa.string(), False), pa.field("value", pa.float64(), False)]
    return pa.schema([*fields, pa.field("score", pa.float64()), pa.field("candidate_id", pa.int64())])


@dataclass(frozen=True)
class ResultDir:
    """A directory that one run of one spec may write to. ``create``, then ``begin``, the files, ``write_manifest``."""

    path: Path
    header: str  # JSON with at least spec_sha256 and name; goes into every file
    made: tuple[Path, ...] = ()  # the directories that create had to make, innermost first

    @classmethod
    def create(cls, path: Path, header: str) -> "ResultDir":
        """Make the directory, or check that it may be written to: it is empty or holds results of the same spec.

        Deletes nothing. Raises ``StoreError`` for anything else.
        """
        made = tuple(p for p in (path, *path.parents) if not p.exists())
        try:
            if path.exists():
                _check_ours(path, json.loads(header))
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"cannot write to {path}: {error.strerror or error}") from error
        return cls(path, header, made)

    def begin(self) -> None:
        """Declare the run started, then delete the files of an earlier run of the same spec.

        From here to ``write_manifest`` the manifest says ``complete = false``: a killed run leaves no false claim, and the
        directory still tells whose it is.
        """
        write_json(self.path / MANIFEST, {**json.loads(self.header), "complete": False, "shards": []})
        names = ("top.parquet", "frontier.parquet", "marginals.parquet", "trials.parquet", "curve.*", "rows/part-*.parquet")
        hidden = (f".{MANIFEST}.*.tmp", *(f"{Path(n).parent}/.{Path(n).name}.*.tmp" for n in names))  # left by a killed run
        try:
            for stale in [file for pattern in (*names, *hidden) for file in self.path.glob(pattern)]:
                stale.unlink()
        except OSError as error:
            raise StoreError(f"cannot clear {self.path}: {error.strerror or error}") from error

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until no other process writes its results here, and let none begin before this is left."""
        import fcntl  # not on Windows, where sweeps run all the same

        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def discard_if_empty(self) -> None:
        """After a failure: remove the directory again if ``create`` made it and no result was written."""
        with suppress(OSError):  # a directory that is not empty stays
            if self.made:
                with suppress(FileNotFoundError):
                    (self.path / "rows").rmdir()
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
        """Declare the run complete: the header, what the run adds to it, and the shards, by path."""
        listed = [shard._asdict() for shard in sorted(shards)]
        write_json(self.path / MANIFEST, {**json.loads(self.header), **run, "complete": True, "shards": listed})

    def _write(self, name: str, columns: Mapping[str, Column], schema: pa.Schema, **options: Any) -> Shard:
        rows = _count(columns, schema)

        def write(temporary: Path) -> Shard:
            with pq.ParquetWriter(temporary, schema, **encodings(schema, columns), **options) as writer:
                writer.add_key_value_metadata({HEADER_KEY: self.header})
                for start in range(0, rows, ROW_GROUP):  # built by row group: what is encoded next is still in the cache
                    writer.write_table(_table(columns, schema, start, min(start + ROW_GROUP, rows)), ROW_GROUP)
            written = pq.read_metadata(temporary).num_rows
            if written != rows:
                raise StoreError(f"cannot write {self.path / name}: {written} of {rows} rows arrived")
            return Shard(name, rows, sha256(temporary), temporary.stat().st_size)

        return write_atomic(self.path / name, write)


class RowWriter:
    """Streams rows into part files, one per call of ``write``, encoded by threads behind a bounded queue.

    A context manager. A part that could not be written raises its ``StoreError`` at the next call or on leaving; the parts
    that were waiting are then dropped. ``shards`` lists the parts in the order of their ids once it was left.
    """

    def __init__(self, directory: ResultDir, schema: pa.Schema, digits: int):
        """Name parts with ids of ``digits`` digits; ``ResultDir.rows`` knows all three."""
        self.shards: list[Shard] = []
        self._directory, self._schema, self._digits = directory, schema, digits
        self._pool = ThreadPoolExecutor(THREADS, "perflaw-rows")
        self._pending: deque[Future[Shard]] = deque()

    def __enter__(self) -> "RowWriter":
        return self

    def write(self, start: int, end: int, columns: Mapping[str, Column]) -> None:
        """Write the rows with ids in [start, end), sorted by id; no rows, no file.

        The arrays are handed over: they are read after this returns, so do not change them.
        """
        self._collect(room=THREADS)
        if len(np.asarray(columns["candidate_id"])):
            name = f"rows/part-{start:0{self._digits}}-{end:0{self._digits}}.parquet"
            sorting = [pq.SortingColumn(0)]
            write = self._directory._write
            self._pending.append(self._pool.submit(write, name, columns, self._schema, sorting_columns=sorting))

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._collect(room=0)
        finally:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self.shards.sort()

    def _collect(self, room: int) -> None:
        """Wait until at most ``room`` parts are on their way; raise what any part finished by then failed with."""
        for part in [part for part in self._pending if part.done()]:
            part.result()
        while len(self._pending) > room or (self._pending and self._pending[0].done()):
            self.shards.append(self._pending[0].result())
            self._pending.popleft()


def _check_ours(path: Path, header: Mapping[str, Any]) -> None:
    if not path.is_dir():
        raise StoreError(f"{path} is not a directory; choose another --out")
    if not os.access(path, os.W_OK | os.X_OK):
        raise StoreError(f"cannot write to {path}: Permission denied")
    if not (path / MANIFEST).exists():
        if any(not file.name.startswith(".") for file in path.iterdir()):
            raise StoreError(f"{path} is not empty and holds no perflaw results; choose another --out")
        return
    manifest = read_manifest(path)
    if manifest["spec_sha256"] != header["spec_sha256"]:
        raise StoreError(f"{path} holds the results of another spec {manifest.get('name')!r}; choose another --out")
    theirs, ours = (_method(of) for of in (manifest, header))
    if theirs != ours:
        raise StoreError(f"{path} holds the results of {theirs} of this spec, not of {ours}; choose another --out")


def _method(header: Mapping[str, Any]) -> str:
    search = header.get("search")
    return f"a search by {search['method']}" if isinstance(search, Mapping) and "method" in search else "a sweep"


def _count(columns: Mapping[str, Column], schema: pa.Schema) -> int:
    """Number of rows; a ``ValueError`` where columns are missing, unknown or of different lengths."""
    if wrong := sorted({*columns} ^ {*schema.names}):
        raise ValueError(f"columns missing or unknown: {', '.join(wrong)}")
    per_row = {name: column[0] if isinstance(column, tuple) else column for name, column in columns.items()}
    lengths = {name: len(column) for name, column in per_row.items() if isinstance(column, np.ndarray)}
    if len({*lengths.values()}) != 1:
        raise ValueError(f"columns need one length, got {lengths}")
    return lengths.popitem()[1]


def _table(columns: Mapping[str, Column], schema: pa.Schema, start: int, end: int) -> pa.Table:
    return pa.Table.from_arrays([_array(field, columns[field.name], start, end) for field in schema], schema=schema)


def _array(field: pa.Field, column: Column, start: int, end: int) -> pa.Array:
    """Rows [start, end) of a column."""
    if isinstance(column, tuple):
        indices, values = column
        return _exact(field, np.asarray(values)).take(pa.array(indices[start:end]))
    if isinstance(column, np.ndarray):
        part = column[start:end]
        if field.name == "budget_used" and field.type == pa.float32():
            part = np.rint(part / BUDGET_STEP) * BUDGET_STEP
        return _exact(field, part)
    value = None if column is None else _exact(field, np.asarray([column]))[0].as_py()
    if value is None:
        return pa.nulls(end - start, field.type)
    return pa.array(np.full(end - start, value, field.type.to_pandas_dtype()))  # pa.repeat of a number is ten times slower


def _exact(field: pa.Field, values: np.ndarray) -> pa.Array:
    """To the type of the field without changing a value; what a nullable field cannot hold (NaN, half a head) is null."""
    missing = None
    if field.nullable and values.dtype.kind == "f":
        missing = values != np.floor(values) if pa.types.is_integer(field.type) else np.isnan(values)
    return pa.array(values, mask=missing).cast(field.type)


def encodings(schema: pa.Schema, columns: Mapping[str, Column]) -> dict[str, Any]:
    """Options of ``pq.write_table``: dictionaries for axes, split bytes for computed numbers, deltas for ids.

    What is one number in all rows stays plain, as flags and computed counts do: zstd takes it to nothing, and it is written
    twice as fast as a dictionary.
    """
    computed = [field.name for field in schema if pa.types.is_floating(field.type)]
    if "training_tokens" in computed and not isinstance(columns["training_tokens"], np.ndarray):
        computed.remove("training_tokens")  # an axis or a constant; computed per row where the budget buys the tokens
    axes = [name for name in schema.names if isinstance(columns.get(name), tuple) and name not in FLAGS]
    split = [name for name in computed if name not in axes]  # shares of data domains are floats and axes
    encodings = {"candidate_id": "DELTA_BINARY_PACKED"} | dict.fromkeys(split, "BYTE_STREAM_SPLIT")
    return {
        "compression": "zstd",
        "compression_level": 1,
        "use_dictionary": axes,
        "column_encoding": encodings,
        "max_rows_per_page": ROW_GROUP,
        "data_page_size": 8 * ROW_GROUP + 1,
        "write_page_checksum": True,
        "store_schema": False,  # it would hold the header a second time
    }
