"""The records of a sweep's shards joined to its result: what one process would have written, byte for byte."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from perflaw_jax.files import StoreError, copy, sha256
from perflaw_jax.manifest import Shard, shard_problems
from perflaw_jax.portion import Portion
from perflaw_jax.ranges import Ranges
from perflaw_jax.record import Record, Stretch, clear_records, read_records, write_record
from perflaw_jax.reduce import Counts
from perflaw_jax.results import best_columns, write_kept
from perflaw_jax.shard import counted
from perflaw_jax.store import ResultDir
from perflaw_jax.work import Work

Found = Sequence[tuple[Record, np.ndarray]]  # records with the ids that they keep


def chosen(found: Found) -> list[Stretch]:
    """Stretches that cover what the records cover, each tile once; ``StoreError`` where they cannot be told apart."""
    covered, chosen = Ranges(), []
    for record, _ in found:
        for stretch in record.stretches:
            tiles = Ranges(stretch.tiles)
            known = sum(len(tiles) and _common(covered, pair) for pair in tiles)
            if known not in (0, len(tiles)):
                raise StoreError(f"shard {record.portion} overlaps with shards of another division; start anew with --force")
            if not known:
                chosen.append(stretch)
                for pair in tiles:
                    covered.add(*pair)
    return chosen


def _common(covered: Ranges, pair: tuple[int, int]) -> int:
    return pair[1] - pair[0] - sum(map(len, covered.missing(range(*pair))))


def missing(work: Work, found: Found) -> list[str]:
    """What the records lack, in words: the shards of the finest division among them that are not done."""
    done = Ranges(pair for record, _ in found for pair in record.tiles)
    if not any(done.missing(range(work.tiles))):
        return []
    count = max((record.count for record, _ in found), default=1)
    portions = [Portion(i, count) for i in range(count)]
    return [str(portion) for portion in portions if any(done.missing(work.tiles_of(portion)))]


def join(work: Work, directory: ResultDir, found: Found) -> tuple[Counts, dict[str, Any], int]:
    """Write the result that records make together, which cover the whole grid.

    Returns the counts, the columns of the best, and the number of points on the frontier.
    """
    stretches = chosen(found)
    counts = counted(stretches)
    work.learn(np.concatenate([ids for _, ids in found]))
    kept = work.kept
    top = best_columns(work.columns, kept.top.finish().candidate_id)
    shards = [s.file for s in stretches if s.file] + write_kept(directory, work.columns, kept, top)
    directory.tidy(shards)
    directory.write_manifest(_account(counts), shards)
    clear_records(directory.path)
    return counts, top, 0 if kept.frontier is None else len(kept.frontier.finish().score)


def _account(counts: Counts) -> dict[str, Any]:
    return {
        "counts": {
            "candidates": counts.candidates,
            "feasible": counts.feasible,
            "cut_by_limit": dict(sorted(counts.cut.items())),
        }
    }


def collect(work: Work, place: Path, directory: ResultDir) -> None:
    """Bring the records and rows that lie in another place of the same run, if they are sound."""
    for record, ids in read_records(place, work.about):
        for stretch in record.stretches:
            if stretch.file and not _whole(directory, stretch.file):
                copy(place / stretch.file.path, directory.path / stretch.file.path)
                if sha256(directory.path / stretch.file.path) != stretch.file.sha256:
                    raise StoreError(f"{place / stretch.file.path} is damaged; run shard {record.portion} again with --resume")
        write_record(directory.path, directory.header, record, ids)


def sound(work: Work, directory: ResultDir, record: Record, go_on: Callable[[], bool] = lambda: True) -> Record:
    """A record without the stretches whose rows are not on disk as they were written; what was checked is not checked again."""
    kept = []
    for stretch in record.stretches:
        file = stretch.file
        if file and file not in work.trusted and go_on():
            if any(shard_problems(directory.path / file.path, file, work.about)):
                continue
            work.trusted.add(file)
        kept.append(stretch)
    return record.model_copy(update={"stretches": tuple(kept)})


def _whole(directory: ResultDir, shard: Shard) -> bool:
    file = directory.path / shard.path
    return file.is_file() and file.stat().st_size == shard.bytes
