"""The manifest of a result directory, and the check that a file still is what it says.

The manifest is the header (the spec, its hash, the law's coefficients, versions, the package's source, the device: what decides
the bytes of every file) plus what a run adds: the git commit, counts, and the shards with their row counts and SHA-256. The
header alone rides in each Parquet file, so that a rerun writes the same bytes, and a run may go on after a commit that leaves
the package as it was. This module imports no jax, and pyarrow only to verify.
"""

import hashlib
import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from perflaw_jax.files import StoreError, arrow_file, sha256, told

MANIFEST = "manifest.json"
SEAL = "manifest_sha256"
HEADER_KEY = b"perflaw.manifest"  # of the Parquet schema metadata


class Shard(NamedTuple):
    """One Parquet file of a result: what the manifest says of it."""

    path: str  # relative to the result directory, with forward slashes
    rows: int
    sha256: str
    bytes: int


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of the result directory ``path``; a ``StoreError`` where there is none, or it is not one of ours.

    ``complete`` is false for a run that was killed or is still going.
    """
    file = path / MANIFEST
    try:
        with told("read", file):
            manifest = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StoreError(f"{path} holds no perflaw results: there is no {MANIFEST} in it") from None
    except ValueError:
        way_out = "delete it and go on with --resume if a sweep was under way, else choose another directory"
        raise StoreError(f"{file} is not valid JSON: {way_out}") from None
    if not _is_ours(manifest):
        raise StoreError(f"{file} is not a perflaw manifest")
    return manifest


def _is_ours(manifest: Any) -> bool:
    try:
        _Manifest.model_validate(manifest)
    except ValidationError:
        return False
    return True


class _File(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    path: str
    rows: int
    sha256: str
    bytes: int


class _Manifest(BaseModel):
    """What every manifest of ours has; what it has beside that is the run's."""

    model_config = ConfigDict(strict=True, frozen=True)

    name: str
    spec_sha256: str
    complete: bool
    shards: list[_File]


def sealed(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest with the hash of everything else that it says, so that a later change is found."""
    content = {name: value for name, value in manifest.items() if name != SEAL}
    return {**content, SEAL: hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()}


def shard_problems(file: Path, shard: Shard, header: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with one file of a result; ``header`` has at least the header that the file must carry."""
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
        with arrow_file(file) as opened, pq.ParquetFile(opened, page_checksum_verification=True) as parquet:
            if not intact:
                damaged = ", ".join(_damaged_columns(parquet)) or "no page: the footer was changed, or the whole file rewritten"
                yield f"SHA-256 differs from the manifest's at the same size; damaged: {damaged}"
            if parquet.metadata.num_rows != shard.rows:
                yield f"{parquet.metadata.num_rows} rows, the manifest says {shard.rows}"
            yield from _header_problems(parquet.schema_arrow.metadata, header)
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


def _header_problems(metadata: dict[bytes, bytes] | None, manifest: Mapping[str, Any]) -> Iterator[str]:
    try:
        header = dict(json.loads((metadata or {})[HEADER_KEY]))
    except (KeyError, TypeError, ValueError):
        yield f"carries no {HEADER_KEY.decode()} header"
        return
    for key, value in header.items():
        if key not in manifest or manifest[key] != value:
            yield f"its header differs from the manifest in {key!r}: the file comes from another run"


def source_sha256(directory: Path) -> str:
    """Hash of all files of a package: their names and what is in them, without what Python compiled."""
    files = sorted(file.relative_to(directory).as_posix() for file in directory.rglob("*") if file.is_file())
    named = (f"{sha256(directory / name)} {name}\n" for name in files if "__pycache__" not in name)
    return hashlib.sha256("".join(named).encode()).hexdigest()


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


def difference(theirs: Any, ours: Any, key: str = "") -> str | None:
    """The first thing in which two headers differ, in words; None where all of ``ours`` is the same in ``theirs``.

    >>> difference({"device": "cpu", "versions": {"jax": "0.9"}}, {"device": "cpu", "versions": {"jax": "0.10"}})
    "versions.jax is '0.9' there and '0.10' here"
    """
    if isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours):
        theirs, ours = dict(enumerate(theirs)), dict(enumerate(ours))
    if isinstance(theirs, Mapping) and isinstance(ours, Mapping):
        for name in (*ours, *(name for name in theirs if key and name not in ours)):
            found = difference(theirs.get(name), ours.get(name), f"{key}.{name}" if key else name)
            if found:
                return found
        return None
    return None if theirs == ours else f"{key} is {_brief(theirs)} there and {_brief(ours)} here"


def _brief(value: Any) -> str:
    text = "absent" if value is None else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
