"""Progress on stderr: a bar on a terminal, plain lines otherwise, or JSON lines for machines. Results go to stdout."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

LINE_EVERY = 10.0  # seconds between plain lines
EVENT_EVERY = 1.0  # and between JSON lines

Tick = Callable[[float, int, float], None]
"""Progress: share done, candidates done, best score so far (NaN if none)."""


class Shown(Protocol):
    """A ``Tick`` that also takes what went wrong in a cluster."""

    def __call__(self, share: float, candidates: int, best: float, failures: int = 0, retries: int = 0) -> None:
        """Show progress."""
        ...


def silent(share: float, candidates: int, best: float) -> None:
    """A ``Tick`` that shows nothing."""


@contextmanager
def shown(name: str, size: int, as_json: bool = False) -> Iterator[Shown]:
    """Yield a function of (share done, candidates done, best score so far) that shows them."""
    if as_json:
        _event("begin", name=name, candidates=size)
        yield _events(name)
    elif sys.stderr.isatty():
        with _bar(name, size) as tick:
            yield tick
    else:
        print(f"{name}: {size:,} candidates", file=sys.stderr)
        yield _lines(name)


@contextmanager
def _bar(name: str, size: int) -> Iterator[Shown]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:3.0f}%"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, TextColumn("{task.fields[told]}"), console=Console(stderr=True), transient=True) as bar:
        task, pace = bar.add_task(f"{name} {size:.3g}", total=1.0, told=""), _Pace()

        def tick(share: float, candidates: int, best: float, failures: int = 0, retries: int = 0) -> None:
            rate = pace.rate(candidates)
            told = [f"{rate:.2g}/s" if rate else "", "" if best != best else f"best {best:.2f}", _trouble(failures, retries)]
            bar.update(task, completed=share, told=" ".join(filter(None, told)))

        yield tick


def _lines(name: str) -> Shown:
    last, pace = time.monotonic(), _Pace()

    def tick(share: float, candidates: int, best: float, failures: int = 0, retries: int = 0) -> None:
        nonlocal last
        rate = pace.rate(candidates)
        if time.monotonic() - last >= LINE_EVERY:
            last = time.monotonic()
            told = [f"{100 * share:.0f}% done", f"{rate:.2g} candidates/s" if rate else "", _left(share, pace)]
            told += ["" if best != best else f"best {best:.2f}", _trouble(failures, retries)]
            print(f"{name}: {', '.join(filter(None, told))}", file=sys.stderr)

    return tick


def _events(name: str) -> Shown:
    last, pace = 0.0, _Pace()

    def tick(share: float, candidates: int, best: float, failures: int = 0, retries: int = 0) -> None:
        nonlocal last
        rate = pace.rate(candidates)
        if time.monotonic() - last >= EVENT_EVERY or share >= 1:
            last = time.monotonic()
            _event(
                "progress",
                name=name,
                share=share,
                candidates=candidates,
                candidates_per_second=rate,
                seconds_left=pace.left(share),
                best=None if best != best else best,
                failures=failures,
                retries=retries,
            )

    return tick


def _event(kind: str, **told: Any) -> None:
    print(json.dumps({"event": kind, **told}), file=sys.stderr, flush=True)


def _trouble(failures: int, retries: int) -> str:
    return f"{failures} failed, {retries} retried" if failures else ""


def _left(share: float, pace: _Pace) -> str:
    left = pace.left(share)
    return "" if left is None else f"{left // 60:.0f}:{left % 60:02.0f} left"


class _Pace:
    """Candidates per second and seconds left, since the first tick: what was done before that belongs to an earlier run."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._first: tuple[float, int] | None = None
        self._share: float | None = None

    def rate(self, candidates: int) -> float | None:
        """Candidates per second up to now, once there is something to tell it by."""
        now = time.monotonic()
        if self._first is None:
            self._first = now, candidates
        began, first = self._first
        return (candidates - first) / (now - began) if now > began and candidates > first else None

    def left(self, share: float) -> float | None:
        """Seconds left at the pace since the first share that was told."""
        if self._share is None:
            self._share, self._began = share, time.monotonic()
        gained = share - self._share
        return (1 - share) / gained * (time.monotonic() - self._began) if gained > 0 else None
