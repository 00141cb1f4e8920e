"""Progress on stderr: a bar on a terminal, plain lines otherwise. Results go to stdout and are not touched."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LINE_EVERY = 10.0  # seconds between plain lines

Tick = Callable[[float, int, float], None]
"""Progress: share done, candidates done, best score so far (NaN if none)."""


def silent(share: float, candidates: int, best: float) -> None:
    """A ``Tick`` that shows nothing."""


@contextmanager
def shown(name: str, size: int) -> Iterator[Callable[[float, int, float], None]]:
    """Yield a function of (share done, candidates done, best score so far) that shows them."""
    if sys.stderr.isatty():
        with _bar(name, size) as tick:
            yield tick
    else:
        print(f"{name}: {size:,} candidates", file=sys.stderr)
        yield _lines(name)


@contextmanager
def _bar(name: str, size: int) -> Iterator[Callable[[float, int, float], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:3.0f}%"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, TextColumn("{task.fields[best]}"), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"{name} {size:.3g}", total=1.0, best="")

        def tick(share: float, candidates: int, best: float) -> None:
            bar.update(task, completed=share, best="" if best != best else f"best {best:.2f}")

        yield tick


def _lines(name: str) -> Callable[[float, int, float], None]:
    last = time.monotonic()

    def tick(share: float, candidates: int, best: float) -> None:
        nonlocal last
        if time.monotonic() - last >= LINE_EVERY:
            last = time.monotonic()
            so_far = "" if best != best else f", best {best:.2f}"
            print(f"{name}: {100 * share:.0f}% done{so_far}", file=sys.stderr)

    return tick
