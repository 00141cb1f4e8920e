"""Iso-FLOP curves: at levels of training FLOPs, the best score at each size: the certified best of each bin of sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from perflaw_jax.certificate import Progress
from perflaw_jax.columns import Columns
from perflaw_jax.curve import within
from perflaw_jax.engine import Problem
from perflaw_jax.exact import Searcher
from perflaw_jax.objective import Bound
from perflaw_jax.reduce import Batch
from perflaw_jax.report.tables import Feasible

if TYPE_CHECKING:
    from pandas import DataFrame

BINS = 20  # of sizes, at equal ratios
MOST_BOXES = 2**22  # over all searches
MOST_AXES = 12  # of which every corner is looked at
FLOAT32 = 1e-6  # relative: what rows may be off by


class TooHard(ValueError):
    """The searches take too long."""


def from_rows(columns: Columns, levels: list[float], rows: Callable[[], Iterable[Feasible]]) -> DataFrame:
    """The best design at each level of FLOPs (a maximum) in each of ``BINS`` bins of total parameters, from all feasible rows.

    Args:
        columns: evaluates candidates.
        levels: descending.
        rows: makes a stream of all feasible rows; it is read twice.

    Returns:
        ``level``, ``total_params``, ``score``, ``training_flops`` and the fields of the design, by level and size.

    Raises:
        ValueError: the sizes do not differ, or no level is feasible.
    """
    low, high = np.inf, 0.0
    for batch in rows():
        within_budget = batch.sizes[batch.flops <= levels[0] * (1 + FLOAT32)]
        if len(within_budget):
            low, high = min(low, float(within_budget.min())), max(high, float(within_budget.max()))
    edges = _edges(low, high)
    best, ids = np.full((len(levels), BINS), -np.inf), np.full((len(levels), BINS), -1)
    ends = np.array(levels)
    ends[0] *= 1 + FLOAT32
    for batch in rows():
        level = np.searchsorted(-ends, -batch.flops, side="right") - 1  # the lowest that it keeps to, -1 for none
        place = np.clip(np.searchsorted(edges, batch.sizes, side="right") - 1, 0, BINS - 1)
        cell = (np.maximum(level, 0), place)
        signed = np.where(level >= 0, columns.sign * batch.score, -np.inf)
        np.maximum.at(best, cell, signed)
        record = np.flatnonzero((signed >= best[cell]) & (level >= 0))
        ids[cell[0][record], cell[1][record]] = batch.ids[record]
    for level in range(len(levels) - 2, -1, -1):  # what keeps to a level keeps to those above it
        better = best[level + 1] > best[level]
        best[level][better], ids[level][better] = best[level + 1][better], ids[level + 1][better]
    return _joined(_table(columns, level, line[line >= 0]) for level, line in zip(levels, ids, strict=True))


def from_searches(columns: Columns, levels: list[float]) -> DataFrame:
    """The same by an exact search per level and bin; a ValueError where that takes too long, too."""
    low, high = _sizes(columns)
    problem, best = columns.engine.problem, _searches(columns)
    edges = _edges(low, high)
    reached = [i for i in range(BINS) if len(best(_binned(problem, levels[0], edges[i], edges[i + 1])).score)]
    if not reached:
        raise ValueError("no bin of sizes holds a feasible design")
    edges = np.geomspace(edges[reached[0]], edges[reached[-1] + 1], BINS + 1)
    return _joined(_searched(columns, level, edges, best) for level in levels)


def _searched(columns: Columns, level: float, edges: np.ndarray, best: Callable[[Problem], Batch]) -> DataFrame:
    asked = [_binned(columns.engine.problem, level, *ends) for ends in zip(edges, edges[1:], strict=False)]
    at = replace(columns, engine=columns.engine.at(asked[0]))  # of the limits, only that on FLOPs changes what designs are
    return _table(at, level, np.concatenate([best(problem).candidate_id for problem in asked]))


def levels_up_to(budget: float, least: float | None, count: int = 6) -> list[float]:
    """Levels of FLOPs at equal ratios, the budget first; ``least`` is what the cheapest design takes, if that is known."""
    ratio = 10**0.5 if least is None else float(np.clip((budget / least) ** (1 / count), 1.2, 10**0.5))
    return [budget / ratio**i for i in range(count)]


def _binned(problem: Problem, level: float, low: float, high: float) -> Problem:
    """The problem at a level of FLOPs and with sizes between two ends; of one structure for all, hence one trace."""
    capped = within(problem, "training_flops", level)
    bound = capped.limits.get("total_params", Bound())
    least, most = (end if own is None else own for own, end in ((bound.min, -np.inf), (bound.max, np.inf)))
    inside = bound._replace(min=max(float(low), least), max=min(float(high), most))
    return replace(capped, limits={**capped.limits, "total_params": inside})


def _edges(low: float, high: float) -> np.ndarray:
    """Edges of the bins between two sizes; a ValueError where they are about the same."""
    if not high:
        raise ValueError("no candidate is feasible")
    if not high > low * 1.01:
        raise ValueError("all designs have about the same number of parameters")
    return np.geomspace(low, high, BINS + 1)


def _joined(tables: Iterable[DataFrame]) -> DataFrame:
    import pandas as pd

    return pd.concat(tables, ignore_index=True)


def _table(columns: Columns, level: float, ids: np.ndarray) -> DataFrame:
    """The best designs of a level in the order of their sizes, each once."""
    import pandas as pd

    rows = columns.of(np.unique(ids))
    best = {
        "level": level,
        "candidate_id": rows.ids,
        "score": columns.sign * rows.decided.score,
        "training_flops": rows.decided.training_flops,
        **columns.design(rows),
        "total_params": rows.decided.total_params,
    }
    return pd.DataFrame(best).sort_values("total_params", ignore_index=True, kind="stable")


def _searches(columns: Columns) -> Callable[[Problem], Batch]:
    """The best candidate of a problem with other numbers in its limits, by programs compiled once."""
    engine = columns.engine
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
