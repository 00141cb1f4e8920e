"""The answer to what a user asks: the best designs, which limit binds, and how the score moves with each limit."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock

import numpy as np
import pandas as pd

from perflaw_jax.bounds import UnboundedPrimitive
from perflaw_jax.design import FIELDS
from perflaw_jax.planner import grids
from perflaw_jax.planner.inputs import PERFORMANCE_LAW, Inputs
from perflaw_jax.planner.limits import (
    Limits,
    ends,
    grid_of,
    holds,
    law_of,
    limits_of,
    meets,
    moved,
    value_at,
    without,
)
from perflaw_jax.planner.solvers import Columns, Evaluated, Searched, Solver, TooSlow

MOST_ROWS = 1000
FACTORS = (0.5, 0.75, 1.25, 2.0)
MOST_LAYERS = 16  # layer counts that the curve over them looks at
AUTHORS_DIGITS = 2  # of the MMLU, before they rank
_ONE_AT_A_TIME = {"dense": Lock(), "moe": Lock()}  # two threads would both compile what each of them needs


@dataclass(frozen=True)
class Plan:
    """What the planner found.

    Attributes:
        inputs: what was asked.
        limits: the same as limits on the grid.
        solver: what answers further questions about it.
        table: the best designs, the first first: rank, the Design fields, counts, score and the share of the budget used.
        candidates: designs that the ranges leave to choose from.
        excludes: where no design is left, the limits of which any one alone would have to go.
        note: what a reader must know of how this was found, "" if nothing.
        seconds: that finding the table took.
    """

    inputs: Inputs
    limits: Limits
    solver: Solver
    table: pd.DataFrame
    candidates: int
    excludes: tuple[str, ...]
    note: str
    seconds: float


@dataclass(frozen=True)
class Shift:
    """How the best score moves with one end of a limit.

    Attributes:
        end: such as "training_flops max".
        at: where the end lies.
        scores: factor on it -> the best score then, NaN where no design is left.
        free: the best score without it.
        binds: whether that is better.
    """

    end: str
    at: float
    scores: dict[float, float]
    free: float
    binds: bool


def solve(inputs: Inputs) -> Plan:
    """The best designs, by the exact search of a fixed grid or by evaluating all of a small one.

    Where a law does not let the search finish in time, a coarser grid is evaluated instead, and ``note`` says so.
    """
    began = time.perf_counter()
    with _ONE_AT_A_TIME[inputs.kind]:
        try:
            return _solve(inputs, _solver(inputs), "", began)
        except (TooSlow, UnboundedPrimitive):
            note = f"{inputs.law_name} cannot be searched exactly in time: these are the best of a coarser grid"
            return _solve(inputs, _coarse(*_law_key(inputs), inputs.shared, inputs.leading), note, began)


def _solve(inputs: Inputs, solver: Solver, note: str, began: float) -> Plan:
    limits = limits_of(inputs)
    top = solver.top(limits, inputs.ranking, MOST_ROWS)
    excludes = () if len(top["score"]) else tuple(end for end in ends(limits) if solver.best(without(limits, end)))
    table = _table(inputs, top)
    return Plan(inputs, limits, solver, table, solver.count(limits), excludes, note, time.perf_counter() - began)


def frontier(plan: Plan, cost: str) -> pd.DataFrame:
    """The designs that no other beats in the score at the same cost, ascending in the cost; see `Solver`."""
    return _table(plan.inputs, plan.solver.frontier(plan.limits, cost))


def sensitivity(plan: Plan) -> list[Shift]:
    """How the best score moves with each end of each limit, those that bind first; the first is the training budget."""
    best = plan.solver.best(plan.limits)
    if best is None:
        return []
    shifts = [_shift(plan, end, best) for end in ends(plan.limits)]
    return sorted(shifts, key=lambda shift: (not shift.end.startswith("training_flops"), not shift.binds))


def _shift(plan: Plan, end: str, best: Columns) -> Shift:
    at, away = value_at(plan.limits, end), 1 if end.endswith(" max") else -1
    factors = sorted(FACTORS, key=lambda factor: away * factor)  # those that loosen the limit last, the nearest of them first
    looser = [factor for factor in factors if away * (factor - 1) * at > 0]
    scores = {}
    found: Columns | None = best
    for factor in [factor for factor in factors if factor not in looser][::-1]:
        found = _tightened(plan, end, at * factor, found)
        scores[factor] = _score(found)
    free = _loosened(plan, end, at, away * np.inf, best)
    binds = _score(free) > _score(best)
    found, last = best, at
    for factor in looser:
        if binds:
            found, last = _loosened(plan, end, last, at * factor, found), at * factor
        scores[factor] = _score(found)
    sign = 1 if plan.inputs.entry.higher_is_better else -1
    return Shift(end, at, {factor: sign * scores[factor] for factor in FACTORS}, sign * _score(free), binds)


def _tightened(plan: Plan, end: str, to: float, best: Columns | None) -> Columns | None:
    """The best design under a stricter limit: the best of a looser one, where it still meets it."""
    if best is None or meets(best, end, to):
        return best
    return None if end == "score min" else plan.solver.best(moved(plan.limits, end, to), near=best)


def _loosened(plan: Plan, end: str, at: float, to: float, best: Columns) -> Columns:
    """The best design under a looser limit: the one known, or a better one of what the limit now lets in."""
    if end == "score min":
        return best
    other = "min" if end.endswith(" max") else "max"
    name = end.split()[0]
    beyond = plan.limits[name]._replace(**{other: float(np.nextafter(at, to)), end.split()[1]: float(to)})
    found = plan.solver.best({**plan.limits, name: beyond}, least=_score(best), near=best)
    return best if found is None or _score(found) <= _score(best) else found


def _score(design: Columns | None) -> float:
    return float("nan") if design is None else float(design["score"][0])


def by_layers(plan: Plan) -> pd.DataFrame:
    """The best score at each of some layer counts in range that any design has; NaN scores are left out."""
    axis = next(axis for axis in plan.solver.space.axes if axis.field == "num_hidden_layers")
    bound = plan.limits["num_hidden_layers"]
    counts = np.array(axis.values)[holds(bound, np.array(axis.values))].tolist()
    chosen = [counts[i] for i in np.unique(np.linspace(0, len(counts) - 1, min(len(counts), MOST_LAYERS)).round().astype(int))]
    found = []
    for n in chosen:
        limits = {**plan.limits, "num_hidden_layers": bound._replace(min=float(n), max=float(n))}
        best = plan.solver.best(limits, near=found[-1] if found else None)
        if best is not None:
            found.append(best)
    columns = {name: np.concatenate([one[name] for one in found]) for name in found[0]} if found else {}
    return _table(plan.inputs, columns) if found else plan.table.iloc[:0]


def _table(inputs: Inputs, columns: Columns) -> pd.DataFrame:
    sign = 1 if inputs.entry.higher_is_better else -1
    flops = columns["training_flops"]
    table = {name: columns[name].astype(np.int64) if name != "training_tokens" else columns[name] for name in FIELDS}
    counts = {name: columns[name].astype(np.int64) for name in ("total_params", "active_params")}
    # the authors' utilisation counts tokens up to as many trillions as the model has billions of parameters
    share = np.minimum(1, columns["total_params"] * 1e3 / columns["training_tokens"]) if inputs.grid == "authors" else 1
    return pd.DataFrame(
        {
            "rank": np.arange(1, len(flops) + 1),
            **table,
            **counts,
            "training_flops": flops,
            "score": sign * columns["score"],
            "budget_used": flops / inputs.budget * share,
        }
    )


# --- solvers, kept for the questions to come ---------------------------------------------------------------------------


def _law_key(inputs: Inputs) -> tuple[str, str, float]:
    return inputs.kind, inputs.law_name, inputs.gamma


def _solver(inputs: Inputs) -> Solver:
    if inputs.grid == "authors":
        return _authors(*_law_key(inputs))
    return Searched(grid_of(inputs), law_of(inputs))


@lru_cache(4)
def _authors(kind: str, law: str, gamma: float) -> Evaluated:
    inputs = Inputs.model_validate({"kind": kind, "law": law, "gamma": gamma})
    return Evaluated(grids.authors(), law_of(inputs), AUTHORS_DIGITS if law in PERFORMANCE_LAW.values() else None)


@lru_cache(4)
def _coarse(kind: str, law: str, gamma: float, shared: int, leading: int) -> Evaluated:
    inputs = Inputs.model_validate({"kind": kind, "law": law, "gamma": gamma, "grid": "fine"})
    space = grids.coarse() if kind == "dense" else grids.coarse(shared, leading)
    return Evaluated(space, law_of(inputs))
