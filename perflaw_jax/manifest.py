"""Files that are always whole, the manifest that lists them, and the check that they still are what it says.

The manifest is the header (the spec, its hash, the law's coefficients, versions: what decides the bytes of every file) plus
what a run adds: device, times, counts, and the shards with their row counts and SHA-256. The header alone rides in each
Parquet file, so that a rerun writes the same bytes. This module imports no jax, and pyarrow only to verify.
"""

import hashlib
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

MANIFEST = "manifest.json"
HEADER_KEY = b"perflaw.manifest"  # of the Parquet schema metadata

T = TypeVar("T")


class StoreError(Exception):
    """A result directory cannot be written or read: one line that names the path."""


class Shard(NamedTuple):
    """One Parquet file of a result: what the manifest says of it."""

    path: str  # relative to the result directory, with forward slashes
    rows: int
    sha256: str
    bytes: int


def write_atomic(path: Path, write: Callable[[Path], T]) -> T:
    """Let ``write`` fill a temporary sibling, then put it in the place of ``path``; returns what ``write`` returned.

    The file is synced before the rename and its directory after it. Whatever fails, the old file stays as it was and no
    temporary is left behind; an ``OSError`` (disk full, no permission) is raised as a ``StoreError``.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(exist_ok=True)
        result = write(temporary)
        _sync(temporary)
        os.replace(temporary, path)
        _sync(path.parent)
        return result
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically; NaN is refused with a ``ValueError``."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomic(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of the result directory ``path``; a ``StoreError`` where there is none, or it is not one of ours.

    ``complete`` is false for a run that was killed or is still going.
    """
    file = path / MANIFEST
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StoreError(f"{path} holds no perflaw results: there is no {MANIFEST} in it") from None
    except OSError as error:
        raise StoreError(f"cannot read {file}: {error.strerror or error}") from error
    except ValueError:
        raise StoreError(f"{file} is not valid JSON") from None
    if not _is_ours(manifest):
        raise StoreError(f"{file} is not a perflaw manifest")
    return manifest


def _is_ours(manifest: Any) -> bool:
    if not isinstance(manifest, dict) or not {"spec_sha256", "complete", "shards"} <= manifest.keys():
        return False
    shards = manifest["shards"]
    return isinstance(shards, list) and all(isinstance(shard, dict) and {*shard} == {*Shard._fields} for shard in shards)


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify(path: Path) -> list[str]:
    """Check every file of the result directory ``path`` against its manifest; returns the problems, none if it is sound.

    Raises ``StoreError`` where there is no manifest to check against.
    """
    manifest = read_manifest(path)
    problems = [] if manifest["complete"] else [f"{MANIFEST}: the run has not finished"]
    shards = [Shard(**shard) for shard in manifest["shards"]]
    for shard in shards:
        try:
            problems += [f"{shard.path}: {problem}" for problem in _shard_problems(path / shard.path, shard, manifest)]
        except OSError as error:
            problems.append(f"{shard.path}: cannot be read: {error.strerror or error}")
    present = {file.relative_to(path).as_posix() for pattern in ("*.parquet", "rows/*.parquet") for file in path.glob(pattern)}
    return problems + [f"{name}: not in the manifest" for name in sorted(present - {shard.path for shard in shards})]


def _shard_problems(file: Path, shard: Shard, manifest: dict[str, Any]) -> Iterator[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not file.is_file():
        yield "missing"
        return
    size = file.stat().st_size
    if size != shard.bytes:
        yield f"{'truncated' if size < shard.bytes else 'too long'}: {size} bytes, the manifest says {shard.bytes}"
        return
    intact = sha256(file) == shard.sha256
    try:
        with pq.ParquetFile(file, page_checksum_verification=True) as parquet:
            if not intact:
                damaged = ", ".join(_damaged_columns(parquet)) or "no page: the footer was changed, or the whole file rewritten"
                yield f"SHA-256 differs from the manifest's at the same size; damaged: {damaged}"
            if parquet.metadata.num_rows != shard.rows:
                yield f"{parquet.metadata.num_rows} rows, the manifest says {shard.rows}"
            yield from _header_problems(parquet.schema_arrow.metadata, manifest)
    except (OSError, pa.ArrowException) as error:
        yield f"not a readable Parquet file: {str(error).splitlines()[0]}"


def _damaged_columns(parquet: Any) -> Iterator[str]:
    """The column chunks that do not read back, by the checksum of their pages."""
    import pyarrow as pa

    for group in range(parquet.metadata.num_row_groups):
        for name in parquet.schema_arrow.names:
            try:
                parquet.read_row_group(group, columns=[name])
            except (OSError, pa.ArrowException):
                yield f"{name} in row group {group}"


def _header_problems(metadata: dict[bytes, bytes] | None, manifest: dict[str, Any]) -> Iterator[str]:
    try:
        header = dict(json.loads((metadata or {})[HEADER_KEY]))
    except (KeyError, TypeError, ValueError):
        yield f"carries no {HEADER_KEY.decode()} header"
        return
    for key, value in header.items():
        if key not in manifest or manifest[key] != value:
            yield f"its header differs from the manifest in {key!r}: the file comes from another run"


def git_state(directory: Path) -> dict[str, str | bool | None]:
    """Commit of the checkout that tracks ``directory``, and whether anything in ``directory`` differs from it.

    Both are None where git does not track it: an installed package, even one that lies inside somebody's checkout.
    """
    commit = _git(directory, "rev-parse", "--verify", "HEAD") if _git(directory, "ls-files", "--", ".") else None
    changes = _git(directory, "status", "--porcelain", "--", ".") if commit else None
    return {"commit": commit, "dirty": None if changes is None else bool(changes)}


def _git(directory: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(directory), *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
