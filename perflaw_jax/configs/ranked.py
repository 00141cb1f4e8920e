"""A configuration of one of the designs that a result directory lists."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from perflaw_jax.configs import HeadCount, check_format, write_config
from perflaw_jax.configs.imported import SHAPE
from perflaw_jax.design import nearest
from perflaw_jax.files import StoreError, arrow_file, told
from perflaw_jax.manifest import read_manifest

TABLES = ("top", "frontier", "curve")  # a curve has one design per budget, the least budget first


def ranked_config(place: Path, table: str, rank: int, format: str, family: str | None) -> str:
    """The configuration of the design that is ``rank``-th, from 1, in one of ``TABLES`` of the results at ``place``.

    Raises:
        CannotHold: the format cannot hold the design.
        ValueError: an unknown table, format or family, or a rank beyond the rows.
        StoreError: no results, unfinished ones, or a table that is not there or not readable.
    """
    check_format(format, family)
    if table not in TABLES:
        raise ValueError(f"--from: no list named {table!r}; {nearest(table, TABLES)}")
    designs = _designs(place, f"{table}.parquet")
    if not 1 <= rank <= len(designs):
        rows = f"1 to {len(designs)}" if designs else "none, no candidate satisfied the limits"
        raise ValueError(f"--rank {rank}: ranks in {table}.parquet of {place}: {rows}")
    try:
        return write_config(designs[rank - 1], format, family)
    except HeadCount as problem:
        keep = f"limits.num_attention_heads = {{ multiple_of = {problem.groups} }} in the spec keeps such designs out"
        raise ValueError(f"rank {rank}: {problem}; {_first_that_fits(designs, format, family)}; {keep}") from None
    except ValueError as problem:
        raise ValueError(f"rank {rank}: {problem}") from None


def _first_that_fits(designs: Sequence[dict[str, Any]], format: str, family: str | None) -> str:
    for rank, design in enumerate(designs, start=1):
        try:
            write_config(design, format, family)
        except ValueError:
            continue
        return f"first that fits: --rank {rank}"
    return f"none of the {len(designs)} designs listed fits"


def _designs(place: Path, name: str) -> list[dict[str, Any]]:
    """The designs of a table, best first."""
    manifest = read_manifest(place)
    if not manifest["complete"]:
        raise StoreError(f"{place}: the run has not finished, its best designs are not known yet")
    if name not in {shard["path"] for shard in manifest["shards"]}:
        listed = ", ".join(shard["path"] for shard in manifest["shards"])
        raise StoreError(f"{place} holds no {name}; it holds {listed or 'no table'}")
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = place / name
    try:
        with told("read", file), arrow_file(file) as opened:
            return pq.read_table(opened, columns=list(SHAPE)).to_pylist()
    except FileNotFoundError:
        raise StoreError(f"{file} is missing") from None
    except pa.ArrowException as error:
        raise StoreError(f"{file} is not readable: {str(error).splitlines()[0]}") from None
