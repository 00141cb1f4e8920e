"""What one shard of a sweep has finished: enough to go on after any interruption, and to be joined with the other shards.

Candidates that may be among the best are kept by their ids alone: evaluating them again gives everything else. So a record is
a Parquet file of one column, and what it covers rides in its metadata. It is written after the rows that it lists: what it says
is on disk. Tiles, their counts and the candidates are of this shard alone: what is known of others is in their own records.
"""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from perflaw_jax.files import StoreError, arrow_file, remove, told, write_atomic
from perflaw_jax.manifest import HEADER_KEY, Shard
from perflaw_jax.portion import Portion
from perflaw_jax.ranges import Ranges

SHARDS = "shards"  # the folder of the records in a result directory, gone when the results are complete
RECORD_KEY = b"perflaw.shard"  # of the Parquet schema metadata


class Stretch(BaseModel):
    """Some tiles that are done: what was counted in them, and the one file of their rows, if they have any."""

    model_config = ConfigDict(frozen=True)

    tiles: tuple[tuple[int, int], ...]  # ranges [start, stop) of tile numbers
    candidates: int
    feasible: int
    cut: Mapping[str, int]
    file: Shard | None = None


class Record(BaseModel):
    """A shard as far as it has come."""

    model_config = ConfigDict(frozen=True)

    index: int
    count: int
    tile: tuple[int, ...]  # shape of a tile: its numbers mean nothing without
    margin: float  # of the float32 scores, at which the tiles were searched
    complete: bool = False
    stretches: tuple[Stretch, ...] = ()

    @property
    def portion(self) -> Portion:
        """Which shard it is."""
        return Portion(self.index, self.count)

    @property
    def tiles(self) -> Ranges:
        """The tiles that are done."""
        return Ranges(pair for stretch in self.stretches for pair in stretch.tiles)

    @property
    def candidates(self) -> int:
        """How many candidates are done."""
        return sum(stretch.candidates for stretch in self.stretches)


def record_file(directory: Path, portion: Portion) -> Path:
    """Where a shard's record lies."""
    return directory / SHARDS / f"{portion.name}.parquet"


def record_files(directory: Path) -> dict[Portion, Path]:
    """The records that there are, readable or not, in the order of their names."""
    with told("read", directory):
        files = sorted((directory / SHARDS).glob("shard-*.parquet"), key=lambda file: file.name)
    found = ((re.fullmatch(r"shard-(\d+)-of-(\d+)", file.stem), file) for file in files)
    return {Portion(int(name[1]), int(name[2])): file for name, file in found if name}


def write_record(directory: Path, header: str, record: Record, ids: np.ndarray) -> None:
    """Write a record and the ids (int64 [n]) of the candidates to keep, atomically."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    metadata = {HEADER_KEY: header.encode(), RECORD_KEY: record.model_dump_json().encode()}
    schema = pa.schema([pa.field("candidate_id", pa.int64(), False)], metadata)
    table = pa.table([pa.array(ids, pa.int64())], schema=schema)
    delta = {"candidate_id": "DELTA_BINARY_PACKED"}

    def write(temporary: Path) -> None:
        pq.write_table(table, temporary, use_dictionary=False, column_encoding=delta, write_page_checksum=True)

    write_atomic(record_file(directory, record.portion), write)


def read_record(file: Path, header: Mapping[str, object] | None = None) -> tuple[Record, np.ndarray] | None:
    """A record and its ids; None where there is none, or it is damaged, or (with ``header``) of another run.

    A damaged record is as good as none: its tiles are computed again.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with told("read", file), arrow_file(file) as opened:
            table = pq.read_table(opened, page_checksum_verification=True)
        metadata = table.schema.metadata or {}
        if header is not None and json.loads(metadata[HEADER_KEY]) != header:
            return None
        return Record.model_validate_json(metadata[RECORD_KEY]), table["candidate_id"].to_numpy()
    except (FileNotFoundError, StoreError, KeyError, ValueError, ValidationError, pa.ArrowException):
        return None


def read_records(
    directory: Path, header: Mapping[str, object] | None = None, *, besides: int | None = None
) -> list[tuple[Record, np.ndarray]]:
    """All readable records of a directory, in the order of their names; ``besides`` leaves out a division by its count."""
    files = [file for portion, file in record_files(directory).items() if portion.count != besides]
    return [found for file in files if (found := read_record(file, header)) is not None]


def clear_records(directory: Path) -> None:
    """Delete all records and their folder."""
    with told("clear", directory):
        for file in [*(directory / SHARDS).glob("*.parquet"), *(directory / SHARDS).glob(".*.tmp")]:
            remove(file)
        if (directory / SHARDS).is_dir():
            with suppress(OSError):
                (directory / SHARDS).rmdir()
