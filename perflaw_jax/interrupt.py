"""Ctrl-C and SIGTERM as a wish to stop: what is under way is finished first, so that a run can go on later."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

DEFAULT = (signal.SIG_DFL, signal.default_int_handler)


class Stopped(Exception):
    """A run was stopped by its user or scheduler; what is kept of it, in one line."""


@contextmanager
def stoppable() -> Iterator[Callable[[], bool]]:
    """Yield a function that tells whether the process was asked to stop; a second Ctrl-C stops it at once.

    Signals reach a process's main thread alone: in any other this never says so. Handlers that are not Python's own belong to
    a scheduler, and are left in place.
    """
    asked = threading.Event()

    def ask(*_: Any) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        print("perflaw: finishing what is under way; once more to stop at once", file=sys.stderr)

    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    ours = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) in DEFAULT]
    before = {number: signal.signal(number, ask) for number in ours}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
