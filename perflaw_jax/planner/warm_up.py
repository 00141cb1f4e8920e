"""The programs that most questions need, compiled while a user looks at the first page."""

from __future__ import annotations

from threading import Thread

from perflaw_jax.planner.inputs import check
from perflaw_jax.planner.solve import solve
from perflaw_jax.planner.solvers import Searched

QUESTIONS = ({"grid": "fine"}, {"kind": "moe", "grid": "fine"})  # their programs serve every ranking and range


def warm_up() -> Thread:
    """Answer ``QUESTIONS``, then compile what others need beside, in a thread of its own."""
    thread = Thread(target=_answer, name="warm-up", daemon=True)
    thread.start()
    return thread


def _answer() -> None:
    plans = [solve(check(question)) for question in QUESTIONS]
    for plan in plans:
        if isinstance(plan.solver, Searched):
            plan.solver.compile(plan.limits)
