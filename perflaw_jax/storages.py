"""Where a study is stored: a database by its URL, or a journal file; every failure is one line that names it."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from sqlalchemy import event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, IntegrityError, OperationalError, ProgrammingError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from perflaw_jax.files import StoreError

JOURNAL = "journal:"
JOURNAL_ENDINGS = (".log", ".journal")
DATABASES = ("sqlite", "postgresql")
TRIES, PAUSE = 5, 0.2  # seconds; at making the tables of a new database


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


@contextmanager
def opened(text: str) -> Iterator[BaseStorage]:
    """The storage that the user names; ValueError for what is none, StoreError for one that cannot be reached."""
    storage = _open(text)
    try:
        yield storage
    finally:
        if isinstance(storage, RDBStorage):
            storage.remove_session()
            storage.engine.dispose()


def _open(text: str) -> BaseStorage:
    if text.startswith(JOURNAL) or (text.endswith(JOURNAL_ENDINGS) and "://" not in text):
        path = text.removeprefix(JOURNAL)
        with reaching(text):
            return JournalStorage(JournalFileBackend(path, KernelLock(path)))
    database = text.partition("://")[0].partition("+")[0]
    if "://" not in text or database not in DATABASES:
        allowed = "sqlite:///FILE, postgresql://USER@HOST/DATABASE or journal:FILE"
        raise ValueError(f"--storage: {shown(text)} is no storage; allowed: {allowed}")
    try:
        make_url(text).get_dialect()
    except (ArgumentError, ValueError):
        raise ValueError(
            f"--storage: {shown(text)} is not a database URL; write {database}://USER@HOST:PORT/DATABASE"
        ) from None
    with reaching(text):
        storage = _database(text)
        if database == "sqlite":
            event.listen(storage.engine, "connect", _write_ahead)
            storage.engine.dispose()  # connections made before that
        return storage


def _database(url: str) -> RDBStorage:
    """A database with Optuna's tables; another process may be making them at the same time.

    What may fail is done by connections that are closed at once: those of a storage that was never made would stay open.
    """
    for _ in range(TRIES):
        try:
            RDBStorage(url, engine_kwargs={"poolclass": NullPool})
            break
        except (IntegrityError, ProgrammingError, OperationalError) as error:
            if "exist" not in str(error):
                raise
            time.sleep(PAUSE)
    return RDBStorage(url)


def _write_ahead(connection: Any, _: Any) -> None:
    """Spare SQLite the wait for the disk at every commit: what a killed process committed is kept all the same."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")


@contextmanager
def reaching(storage: str) -> Iterator[None]:
    """Whatever fails inside for the storage's sake is one line that names it."""
    try:
        yield
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
