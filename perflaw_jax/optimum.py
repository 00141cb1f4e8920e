"""The certified optimum of a problem, as a yardstick: how far a search stayed below it."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from perflaw_jax.columns import Columns
from perflaw_jax.exact import exact_search
from perflaw_jax.exhaustive import sweep
from perflaw_jax.reduce import Batch

MOST_SWEPT = 2**31  # candidates
PATIENCE = 60.0  # seconds


class _TimeIsUp(Exception):
    pass


def distance(columns: Columns, best: float | None) -> dict[str, Any]:
    """The certified optimum and how far ``best`` (in the engine's sign) is from it, or why it was skipped.

    Returns ``candidate_id``, ``score`` and ``distance`` (>= 0, None where nothing was found) or ``skipped`` alone. A score of
    None says that no candidate satisfies the limits.
    """
    try:
        top = _optimum(columns)
    except _TimeIsUp:
        return {"skipped": f"it took longer than {PATIENCE:.0f} s"}
    except ValueError as error:
        return {"skipped": str(error)}
    if not len(top.score):
        return {"candidate_id": None, "score": None, "distance": None}
    score = float(top.score[0])
    below = None if best is None else score - best
    return {"candidate_id": int(top.candidate_id[0]), "score": columns.sign * score, "distance": below}


def _optimum(columns: Columns) -> Batch:
    """By the exact search; a law that it cannot bound is swept, where that is possible."""
    problem, deadline = replace(columns.engine.problem, costs=()), time.monotonic() + PATIENCE  # no frontier is asked for

    def tick(*_: Any) -> None:
        if time.monotonic() > deadline:
            raise _TimeIsUp

    try:
        return exact_search(problem, top=1, tick=tick).top.finish()
    except ValueError:
        if problem.space.size > MOST_SWEPT:
            raise
    return sweep(problem, top=1, marginals=False, counts=False, tick=tick).top.finish()
