"""Files that are always whole: written beside and renamed, or on an object store written elsewhere and put there at once.

A place is a path, or the URL of any file system that fsspec knows (``s3://bucket/folder``) with the methods of a path.
"""

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar, cast
from urllib.parse import unquote, urlsplit

T = TypeVar("T")
EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs"}  # scheme of a URL -> the extra that brings its file system


class StoreError(Exception):
    """A result directory cannot be written or read: one line that names the path."""


def as_place(text: str) -> Path:
    """The path or URL that a user names; ValueError for a URL that nothing here can open."""
    scheme, separator, _ = text.partition("://")
    if not separator:
        return Path(text)
    if scheme == "file":
        return Path(unquote(urlsplit(text).path))
    try:
        from upath import UPath

        if not scheme:
            raise ValueError("no scheme")
        return cast(Path, UPath(text, use_listings_cache=False))  # other processes write there too
    except (ImportError, ValueError) as error:
        extra = EXTRAS.get(scheme)
        way_out = f"pip install 'perflaw_jax[{extra}]'" if extra else "allowed: a path, s3://, gs://, or what fsspec knows"
        raise ValueError(f"cannot open {text}: {' '.join(str(error).split())}; {way_out}") from error


def is_local(place: Path) -> bool:
    """Whether a place is on a file system that can lock and rename."""
    return isinstance(place, Path)


@contextmanager
def told(doing: str, place: Path) -> Iterator[None]:
    """Whatever goes wrong with a place inside is a ``StoreError`` of one line; FileNotFoundError stays as it is."""
    try:
        yield
    except (StoreError, FileNotFoundError, ValueError):
        raise
    except OSError as error:
        raise StoreError(f"cannot {doing} {place}: {_reason(error)}") from error
    except Exception as error:  # clients of object stores raise errors of their own
        if is_local(place):
            raise
        raise StoreError(f"cannot {doing} {place}: {type(error).__name__}: {' '.join(str(error).split())}") from error


def arrow_file(path: Path) -> Any:
    """A file opened for Arrow to read, as one of its own.

    A Python file must not be given to it: one of Arrow's threads may let go of it while Python ends, and aborts the process
    for want of the interpreter's lock. An object of a store is read as a whole.
    """
    import pyarrow as pa

    if is_local(path):
        return pa.OSFile(str(path), "rb")
    data = path.read_bytes()
    own = pa.allocate_buffer(len(data))
    memoryview(own).cast("B")[:] = data
    return pa.BufferReader(own)


def write_atomic(path: Path, write: Callable[[Path], T]) -> T:
    """Let ``write`` fill a temporary file, then put it in the place of ``path``; returns what ``write`` returned.

    On a file system the temporary is a sibling; it is synced before the rename and its directory after it. A link stays one. On
    an object store it lies on the local disk, and the store shows the object when all of it has arrived. Whatever fails, the
    old file stays as it was and no temporary is left behind; an ``OSError`` (disk full, no permission) is raised as a
    ``StoreError``, and so is a device or a pipe in the place of ``path``.
    """
    if not is_local(path):
        return _put(path, write)
    path = path.resolve() if path.is_symlink() else path
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise StoreError(f"cannot write {path}: it is a device or a pipe, and would be replaced")
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{os.urandom(4).hex()}.tmp")  # pids of two hosts may agree
    try:
        path.parent.mkdir(exist_ok=True)
        result = write(temporary)
        _sync(temporary)
        os.replace(temporary, path)
        _sync(path.parent)
        return result
    except OSError as error:
        raise StoreError(f"cannot write {path}: {_reason(error)}") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically; NaN is refused with a ``ValueError``."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomic(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def copy(source: Path, target: Path) -> None:
    """Put the same bytes at ``target``, atomically; on one disk without a second copy of them."""

    def fill(temporary: Path) -> None:
        with suppress(OSError):
            if is_local(source) and is_local(target):
                return os.link(source, temporary)
        with source.open("rb") as whole, temporary.open("wb") as copied:
            while block := whole.read(2**24):
                copied.write(block)

    with told("copy", source):
        write_atomic(target, fill)


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(cast(Any, file), "sha256").hexdigest()


def remove(path: Path) -> None:
    """Delete a file; it may be gone already."""
    with suppress(FileNotFoundError), told("remove", path):
        path.unlink()


def _reason(error: OSError) -> str:
    """What the operating system says; pyarrow hides it in the text."""
    hidden = re.search(r"\[errno (\d+)\]", str(error), re.IGNORECASE)
    return os.strerror(int(hidden[1])) if hidden else error.strerror or " ".join(str(error).split())


def _put(path: Any, write: Callable[[Path], T]) -> T:
    with tempfile.TemporaryDirectory(prefix="perflaw-") as folder, told("write", path):
        temporary = Path(folder) / path.name
        result = write(temporary)
        try:
            path.fs.put_file(str(temporary), path.path)
        except FileNotFoundError as error:  # there is no such bucket
            raise StoreError(f"cannot write {path}: {' '.join(str(error).split())}") from error
        return result


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
