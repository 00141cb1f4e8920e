"""The Parquet files of a result directory, read for a report: a few rows of a long table, or all of them batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from perflaw_jax.files import StoreError, arrow_file, told

if TYPE_CHECKING:
    from pandas import DataFrame

BATCH = 2**18  # rows in memory at a time: a row group of ours


class Feasible(NamedTuple):
    """Some feasible candidates, [n] each: scores in the sign of the law, FLOPs as good as float32."""

    ids: np.ndarray
    score: np.ndarray
    flops: np.ndarray
    sizes: np.ndarray  # total parameters


def read_parquet(path: Path, columns: Sequence[str] | None = None, most: int | None = None) -> DataFrame:
    """The first ``most`` rows of a file, or all, of all or of some columns; a ``StoreError`` where it is damaged."""
    with _readable(path), arrow_file(path) as opened:
        file = pq.ParquetFile(opened)
        names = [name for name in columns or file.schema_arrow.names if name in file.schema_arrow.names]
        if most is None:
            return file.read(columns=names).to_pandas()
        batch = next(file.iter_batches(batch_size=most, columns=names), None) if most else None
        empty = pa.Table.from_batches([], file.schema_arrow).select(names)
        return (empty if batch is None else batch).to_pandas()


def row_files(place: Path, manifest: Mapping[str, Any]) -> list[Path]:
    """The files of all feasible rows; none where they were not kept."""
    return [place / shard["path"] for shard in manifest["shards"] if shard["path"].startswith("rows/")]


def batches(files: Sequence[Path], columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """The rows of files, at most ``BATCH`` at a time; a ``StoreError`` where one is missing or damaged."""
    for path in files:
        with _readable(path), arrow_file(path) as opened:
            yield from pq.ParquetFile(opened).iter_batches(batch_size=BATCH, columns=[*columns])


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Whatever is wrong with a file is a ``StoreError`` that names it."""
    try:
        with told("read", path):
            yield
    except FileNotFoundError:
        raise StoreError(f"{path} is missing; perflaw verify says what else is") from None
    except pa.ArrowException as error:
        raise StoreError(f"cannot read {path}: {str(error).splitlines()[0]}; perflaw verify says more") from None
