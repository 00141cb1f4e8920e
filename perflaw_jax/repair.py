"""Damaged rows of a finished sweep computed again, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from perflaw_jax.interrupt import Stopped
from perflaw_jax.manifest import Shard, shard_problems
from perflaw_jax.portion import WHOLE
from perflaw_jax.progress import silent
from perflaw_jax.ranges import Ranges
from perflaw_jax.record import Record, clear_records
from perflaw_jax.shard import compute
from perflaw_jax.store import ResultDir
from perflaw_jax.work import Work


def repair(work: Work, directory: ResultDir, manifest: dict[str, Any], asked_to_stop: Callable[[], bool]) -> bool:
    """Make a finished sweep sound where files of rows alone are damaged; False where it is not sound afterwards.

    A part is a function of its tiles: what is written in its place has the bytes that the manifest says.
    """
    shards = [Shard(**shard) for shard in manifest["shards"]]
    damaged = [shard for shard in shards if any(shard_problems(directory.path / shard.path, shard, manifest))]
    spans = [re.fullmatch(r"rows/part-(\d+)-(\d+)\.parquet", shard.path) for shard in damaged]
    ids = [(int(span[1]), int(span[2])) for span in spans if span]
    if len(ids) < len(damaged) or not all(begin < end <= work.engine.problem.space.size for begin, end in ids):
        return False
    todo = Ranges(work.tiles_between(begin, end) for begin, end in ids)
    done = Ranges((tiles.start, tiles.stop) for tiles in todo.missing(range(work.tiles)))
    record = Record(index=WHOLE.index, count=WHOLE.count, tile=work.engine.tiling.tile, margin=0.0)
    if not compute(work, directory, record, done, silent, asked_to_stop).complete:
        raise Stopped(f"stopped; some rows in {directory.path} are still damaged: go on with --resume")
    clear_records(directory.path)
    directory.tidy(shards)
    return not any(any(shard_problems(directory.path / shard.path, shard, manifest)) for shard in damaged)
