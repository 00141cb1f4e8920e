"""The command in a process of its own, as a user runs it."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# A shell that runs the tests in the background lets its children ignore Ctrl-C.
PERFLAW = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from perflaw_jax.cli import main
sys.argv[0] = "perflaw"
main()
"""


def started(*arguments, cwd: Path | None = None, script: str = PERFLAW) -> subprocess.Popen:
    """``perflaw`` with these arguments; ``script`` is the Python that runs it."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(
        command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
    )
