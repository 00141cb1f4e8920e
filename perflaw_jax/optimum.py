"""The certified optimum of a problem, as a yardstick: how far a search stayed below it."""

from __future__ import annotations

import time
from typing import Any

from perflaw_jax.columns import Columns
from perflaw_jax.sweep import sweep

MOST = 2**31  # candidates that are swept for it
PATIENCE = 60.0  # seconds


class _TimeIsUp(Exception):
    pass


def distance(columns: Columns, best: float | None) -> dict[str, Any]:
    """The certified optimum and how far ``best`` (in the engine's sign) is from it, or why it was skipped.

    Returns ``candidate_id``, ``score`` and ``distance`` (>= 0, None where nothing was found) or ``skipped`` alone. A score of
    None says that no candidate satisfies the limits.
    """
    engine, deadline = columns.engine, time.monotonic() + PATIENCE
    if engine.problem.space.size > MOST:
        return {"skipped": f"{engine.problem.space.size:.1e} candidates are too many to sweep for it"}

    def tick(done: int, kept: Any) -> None:
        if time.monotonic() > deadline:
            raise _TimeIsUp

    try:
        top = sweep(engine.problem, top=1, marginals=False, counts=False, engine=engine, tick=tick).top.finish()
    except _TimeIsUp:
        return {"skipped": f"it took longer than {PATIENCE:.0f} s"}
    if not len(top.score):
        return {"candidate_id": None, "score": None, "distance": None}
    score = float(top.score[0])
    below = None if best is None else score - best
    return {"candidate_id": int(top.candidate_id[0]), "score": columns.sign * score, "distance": below}
