"""Where a study is stored: a database by its URL, or a journal file; every failure is one line that names it."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, IntegrityError, ProgrammingError, SQLAlchemyError

from perflaw_jax.manifest import StoreError

JOURNAL = "journal:"
JOURNAL_ENDINGS = (".log", ".journal")
DATABASES = ("sqlite", "postgresql")
TRIES = 5  # at making the tables of a new database, which another process may be doing too


class KernelLock(JournalFileOpenLock):
    """A lock that the kernel drops with the process that holds it: a killed one leaves nothing to wait for."""

    def __init__(self, path: str):
        super().__init__(path)
        self._path = path
        self._file: IO[bytes] | None = None

    def acquire(self) -> bool:
        """Wait for the lock, then drop the unfinished line that a killed writer may have left."""
        self._file = open(self._path, "r+b")
        fcntl.flock(self._file, fcntl.LOCK_EX)
        drop_unfinished_line(self._file)
        return True

    def release(self) -> None:
        """Let others write."""
        if self._file is not None:
            self._file.close()


def drop_unfinished_line(file: IO[bytes]) -> None:
    """Cut a file after its last line break, if it does not end with one."""
    if file.seek(0, os.SEEK_END) and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n":
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)


def open_storage(text: str) -> BaseStorage:
    """The storage that the user names; ValueError for what is none, StoreError for one that cannot be reached."""
    if text.startswith(JOURNAL) or text.endswith(JOURNAL_ENDINGS):
        path = text.removeprefix(JOURNAL)
        with reaching(text):
            return JournalStorage(JournalFileBackend(path, KernelLock(path)))
    database = text.partition("://")[0].partition("+")[0]
    if "://" not in text or database not in DATABASES:
        allowed = "sqlite:///FILE, postgresql://USER@HOST/DATABASE or journal:FILE"
        raise ValueError(f"--storage: {shown(text)} is no storage; allowed: {allowed}")
    with reaching(text):
        for _ in range(TRIES):
            try:
                return RDBStorage(text)
            except (IntegrityError, ProgrammingError):
                time.sleep(0.2)
        return RDBStorage(text)


@contextmanager
def reaching(storage: str) -> Iterator[None]:
    """Whatever fails inside for the storage's sake is one line that names it."""
    try:
        yield
    except ArgumentError as error:
        raise ValueError(f"--storage: {shown(storage)} is not a database URL: {_line(error)}") from None
    except ImportError as error:
        raise ValueError(f"--storage: {shown(storage)} needs a driver: pip install 'perflaw_jax[postgres]'") from error
    except (SQLAlchemyError, StorageInternalError, OSError, ValueError, KeyError) as error:
        raise StoreError(f"--storage {shown(storage)} cannot be used: {_line(error)}") from error


def shown(storage: str) -> str:
    """The storage without a password."""
    if "://" not in storage:
        return storage
    try:
        return make_url(storage).render_as_string(hide_password=True)
    except (ArgumentError, ValueError):
        return storage.rpartition("@")[2]


def _line(error: BaseException) -> str:
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return next(iter(str(cause).strip().splitlines()), type(cause).__name__)
