"""A lock on a directory, shared or exclusive, that is gone with the process that held it."""

import itertools
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from perflaw_jax.files import StoreError, is_local

TRIES, PAUSE = 20, 0.01  # seconds between tries: whoever leaves holds the lock alone for a moment, to take its file away


@contextmanager
def locked(directory: Path, name: str = "", *, shared: bool = False, wait: bool = False) -> Iterator[None]:
    """Hold the lock ``name`` of a directory.

    The operating system releases it when the holder ends, however it ends. An object store cannot lock: there every process
    goes ahead, and the same inputs give the same bytes.

    Args:
        directory: where the lock file lies while somebody holds it.
        name: several locks of one directory are told apart by theirs.
        shared: let others in who ask for no more than that.
        wait: until the lock is free, instead of raising a ``StoreError`` that says who holds it.
    """
    try:
        import fcntl
    except ImportError:  # on Windows
        yield
        return
    if not is_local(directory):
        yield
        return
    file = directory / f".{name}.lock" if name else directory / ".lock"
    how = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    descriptor = _acquire(file, how if wait else how | fcntl.LOCK_NB)
    try:
        os.ftruncate(descriptor, 0)
        if not shared:
            os.pwrite(descriptor, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode(), 0)
        yield
    finally:
        with suppress(OSError):  # the last one out takes the file away
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.unlink()
        os.close(descriptor)


def _acquire(file: Path, how: int) -> int:
    import fcntl

    for left in itertools.count(TRIES, -1):
        try:
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise StoreError(f"cannot lock {file.parent}: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, how)
            if os.fstat(descriptor).st_ino == os.stat(file).st_ino:
                return descriptor
        except FileNotFoundError:
            pass  # its holder took it away between our opening and locking it: try with the new one
        except BlockingIOError:
            if left <= 0:
                holder = _holder(descriptor)
                os.close(descriptor)
                raise StoreError(f"{file.parent} is being written by {holder}; wait for it, or choose another --out") from None
            time.sleep(PAUSE)
        except OSError as error:
            os.close(descriptor)
            raise StoreError(f"cannot lock {file.parent}: {error.strerror}") from error
        os.close(descriptor)
    raise AssertionError("unreachable")


def _holder(descriptor: int) -> str:
    try:
        holder = json.loads(os.pread(descriptor, 1000, 0))
        return f"another process (pid {holder['pid']} on {holder['host']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
