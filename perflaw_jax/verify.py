"""Whether a result directory still is what its manifest, or the records of its unfinished shards, say."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from perflaw_jax.files import told
from perflaw_jax.manifest import MANIFEST, SEAL, Shard, read_manifest, sealed, shard_problems
from perflaw_jax.portion import Portion
from perflaw_jax.record import SHARDS, read_record, read_records, record_files


def verify(path: Path) -> list[str]:
    """Check every file of the result directory ``path``; returns the problems, none if it is sound.

    Of a run that has not finished: which shards are missing, and whether what the others wrote is sound. Raises ``StoreError``
    where there is no manifest to check against.
    """
    manifest = read_manifest(path)
    problems = [] if manifest["complete"] else [f"{MANIFEST}: the run has not finished", *_unfinished(path)]
    if SEAL in manifest and sealed(manifest) != manifest:
        problems.append(f"{MANIFEST}: was changed after it was written")
    shards = [Shard(**shard) for shard in manifest["shards"]]
    if not manifest["complete"]:
        shards += [s.file for record, _ in read_records(path) for s in record.stretches if s.file]
    for shard in shards:
        problems += [f"{shard.path}: {problem}" for problem in _problems(path, shard, manifest)]
    with told("read", path):
        present = {f.relative_to(path).as_posix() for pattern in ("*.parquet", "rows/*.parquet") for f in path.glob(pattern)}
    strange = present - {shard.path for shard in shards} if manifest["complete"] else ()  # else written, not yet recorded
    if manifest["complete"] and record_files(path):
        problems.append(f"{SHARDS}: left over by a run that was killed at its end; sweep --resume takes it away")
    return problems + [f"{name}: not in the manifest" for name in sorted(strange)]


def _problems(path: Path, shard: Shard, manifest: dict[str, Any]) -> list[str]:
    try:
        return list(shard_problems(path / shard.path, shard, manifest))
    except OSError as error:
        return [f"cannot be read: {error.strerror or error}"]


def _unfinished(path: Path) -> Iterator[str]:
    """Which shards of the divisions that were begun here are not there as a whole."""
    for file in record_files(path).values():
        if read_record(file) is None:
            yield f"{SHARDS}/{file.name}: damaged"
    records = {record.portion: record for record, _ in read_records(path)}
    for count in sorted({portion.count for portion in records}):
        for portion in (Portion(i, count) for i in range(count)):
            record = records.get(portion)
            if record is None:
                yield f"{SHARDS}/{portion.name}: missing"
            elif not record.complete:
                yield f"{SHARDS}/{portion.name}: has not finished"
