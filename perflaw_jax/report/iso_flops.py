"""Iso-FLOP curves: at levels of training FLOPs, the best score at each size: the certified best of each bin of sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from perflaw_jax.columns import Columns
from perflaw_jax.curve import within
from perflaw_jax.engine import Problem
from perflaw_jax.exact import Progress, Searcher
from perflaw_jax.exhaustive import sweep
from perflaw_jax.objective import Bound
from perflaw_jax.reduce import Batch

if TYPE_CHECKING:
    from pandas import DataFrame

COARSE, FINE = 16, 20  # bins of sizes: to find which are feasible, and to draw
SWEPT = 2**27  # candidates: up to here a sweep takes less time than a search
MOST_BOXES = 2**22  # over all searches
MOST_AXES = 12  # of which every corner is looked at


class TooHard(ValueError):
    """The searches take too long."""


def iso_flops(columns: Columns, levels: list[float], cost: int) -> DataFrame:
    """The best design at each level of FLOPs (a maximum) in each of ``FINE`` bins of total parameters.

    Args:
        columns: of the engine whose problem is asked.
        levels: descending.
        cost: of a whole sweep, in candidates.

    Returns:
        ``level``, ``total_params``, ``score``, ``training_flops`` and the fields of the design, by level and size.

    Raises:
        ValueError: the sizes do not differ, no level is feasible, or it takes too long.
    """
    import pandas as pd

    best = _solver(columns, cost)
    low, high = _sizes(columns)
    if not high > low * 1.01:
        raise ValueError("all designs of the grid have about the same number of parameters")
    problem = columns.engine.problem
    edges = np.geomspace(low, high, COARSE + 1)
    reached = [i for i in range(COARSE) if len(best(_binned(problem, levels[0], edges[i], edges[i + 1])).score)]
    if not reached:
        raise ValueError("no bin of sizes holds a feasible design")
    edges = np.geomspace(edges[reached[0]], edges[reached[-1] + 1], FINE + 1)
    found = [
        record
        for level in levels
        for first, last in zip(edges, edges[1:], strict=False)
        for record in _records(columns, best, _binned(problem, level, first, last), level)
    ]
    frame = pd.DataFrame(found).drop_duplicates(["level", "candidate_id"])
    return frame.sort_values(["level", "total_params"], ascending=[False, True], ignore_index=True)


def levels_up_to(budget: float, least: float | None, count: int = 6) -> list[float]:
    """Levels of FLOPs at equal ratios, the budget first; ``least`` is what the cheapest design takes, if that is known."""
    ratio = 10**0.5 if least is None else float(np.clip((budget / least) ** (1 / count), 1.2, 10**0.5))
    return [budget / ratio**i for i in range(count)]


def _binned(problem: Problem, level: float, low: float, high: float) -> Problem:
    """The problem at a level of FLOPs and with sizes between two ends; of one structure for all, hence one trace."""
    capped = within(problem, "training_flops", level)
    bound = capped.limits.get("total_params", Bound(-np.inf, np.inf))
    inside = bound._replace(min=max(float(low), bound.min), max=min(float(high), bound.max))
    return replace(capped, limits={**capped.limits, "total_params": inside})


def _records(columns: Columns, best: Callable[[Problem], Batch], problem: Problem, level: float) -> Iterator[dict[str, Any]]:
    found = best(problem)
    if len(found.score):
        at = replace(columns, engine=columns.engine.at(problem))
        rows = at.of(found.candidate_id)
        yield {
            "level": level,
            "candidate_id": int(found.candidate_id[0]),
            "score": columns.sign * float(found.score[0]),
            "training_flops": float(found.training_flops[0]),
            **{name: float(values[0]) for name, values in at.design(rows).items()},
            "total_params": float(found.total_params[0]),
        }


def _solver(columns: Columns, cost: int) -> Callable[[Problem], Batch]:
    """The best candidate of a problem with other numbers in its limits."""
    engine = columns.engine
    if cost <= SWEPT:

        def swept(problem: Problem) -> Batch:
            return sweep(problem, top=1, marginals=False, counts=False, engine=engine.at(problem)).top.finish()

        return swept
    searcher = Searcher(_binned(engine.problem, 1.0, 1.0, 1.0), engine)
    spent = 0

    def searched(problem: Problem) -> Batch:
        nonlocal spent
        before = spent

        def tick(now: Progress) -> None:
            nonlocal spent
            spent = before + now.boxes
            if spent > MOST_BOXES:
                raise TooHard("the searches for them take too long on this grid")

        return searcher.search(problem, top=1, tick=tick).top.finish()

    return searched


def _sizes(columns: Columns) -> tuple[float, float]:
    """The least and the greatest number of parameters that the grid and its limits may hold, from the corners of the grid."""
    space, limits = columns.engine.problem.space, columns.engine.problem.limits
    ends = [(0, n - 1) if n > 1 else (0,) for n in space.shape]
    if len(ends) > MOST_AXES:
        raise TooHard(f"the grid has more than {MOST_AXES} axes")
    corners = [np.array(column) for column in zip(*product(*ends), strict=True)]
    sizes = columns.of(space.ids(corners)).decided.total_params
    bound = limits.get("total_params", Bound())
    low = max(float(sizes.min()), bound.min or 0.0)
    return low, min(float(sizes.max()), np.inf if bound.max is None else bound.max)
