"""A PostgreSQL server of one's own: on loopback, in a temporary directory, as a user that is not root."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

BINARIES = "/usr/lib/postgresql"


def find_binaries() -> Path | None:
    """The directory that holds initdb and pg_ctl, the newest version first."""
    found = [path.parent for path in sorted(Path(BINARIES).glob("*/bin/initdb"), reverse=True)]
    on_path = shutil.which("initdb")
    found += [Path(on_path).resolve().parent] if on_path else []
    return next((path for path in found if (path / "pg_ctl").exists()), None)


def as_other_user() -> list[str]:
    """What must stand before a command: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return []
    import pwd

    user = next((name for name in ("postgres", "nobody") if _known(pwd, name)), None)
    if user is None or shutil.which("setpriv") is None:
        pytest.skip("PostgreSQL does not run as root, and there is no other user or no setpriv to become one")
    return ["setpriv", f"--reuid={user}", f"--regid={pwd.getpwnam(user).pw_gid}", "--clear-groups"]


def _known(pwd, name: str) -> bool:
    try:
        return pwd.getpwnam(name) is not None
    except KeyError:
        return False


@contextmanager
def server() -> Iterator[str]:
    """Start a server, give the URL of its database, stop it; skips where there is none to start."""
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL server: initdb and pg_ctl are neither on PATH nor in /usr/lib/postgresql")
    with TemporaryDirectory(prefix="perflaw-postgresql-") as directory:  # pytest's own are closed to other users
        with _running(binaries, Path(directory)) as url:
            yield url


@contextmanager
def _running(binaries: Path, directory: Path) -> Iterator[str]:
    prefix, data = as_other_user(), directory / "data"
    if prefix:
        shutil.chown(directory, prefix[1].partition("=")[2])

    def call(program: str, *arguments: str) -> None:
        command = [*prefix, str(binaries / program), "-D", str(data), *arguments]
        done = subprocess.run(command, cwd=directory, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    call("initdb", "-A", "trust", "-U", "perflaw", "-E", "UTF8", "--no-sync")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"
    call("pg_ctl", "-o", options, "-l", str(directory / "log"), "-w", "start")
    try:
        yield f"postgresql://perflaw@127.0.0.1:{port}/postgres"
    finally:
        call("pg_ctl", "-m", "immediate", "-w", "stop")
