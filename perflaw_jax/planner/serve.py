"""The planner's web server: Streamlit on this machine alone, which asks nothing of any network."""

from __future__ import annotations

import errno
import os
import socket
import sys
from pathlib import Path

HOST = "127.0.0.1"
SCRIPT = Path(__file__).with_name("script.py")
OPTIONS = {
    "browser.gatherUsageStats": False,
    "client.showErrorDetails": "none",
    "client.toolbarMode": "minimal",
    "global.developmentMode": False,
    "logger.hideWelcomeMessage": True,
    "logger.level": "error",
    "server.address": HOST,
    "server.fileWatcherType": "none",
    "theme.base": "light",
}


def serve(port: int, *, browser: bool) -> None:
    """Serve the planner until Ctrl-C, and open it in a browser where there is a display.

    Raises:
        OSError: the port is taken.
    """
    _check_free(port)
    from streamlit.web import bootstrap

    print(f"planner at http://{HOST}:{port} (Ctrl-C ends it)", flush=True)
    options = OPTIONS | {"server.port": port, "server.headless": not (browser and _has_display())}
    flags = {name.replace(".", "_"): value for name, value in options.items()}
    bootstrap.load_config_options(flags)
    bootstrap.run(str(SCRIPT), False, [], flags)
    sys.stdout.flush()
    os._exit(0)  # a thread may be compiling, which nothing can break off: Python's own end would abort in it


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            why = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be used: {error.strerror}"
            raise OSError(f"--port: {port} {why}; name another, such as --port {port + 1 if port < 65535 else 8501}") from None


def _has_display() -> bool:
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
