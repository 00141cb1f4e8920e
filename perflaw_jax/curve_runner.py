"""A spec's curve: the certified optimum at each budget, written to a directory with its power laws and its picture."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from perflaw_jax.curve import LEAST_POINTS, Point, PowerLaw, curve, free_choice, power_law, within
from perflaw_jax.design import QUANTITIES, nearest
from perflaw_jax.engine import Problem
from perflaw_jax.exact import Searcher
from perflaw_jax.job import check_law, entry_of, header, make_columns, make_problem
from perflaw_jax.laws import LawEntry
from perflaw_jax.progress import Tick, silent
from perflaw_jax.results import plain
from perflaw_jax.spec import SweepSpec
from perflaw_jax.store import ResultDir

SHAPE = ("num_hidden_layers", "hidden_size", "intermediate_size", "moe_intermediate_size", "num_experts", "num_experts_per_tok")
SIZES = ("total_params", "active_params", "training_tokens")


@dataclass(frozen=True)
class CurveOutcome:
    """What a curve came to, for display: the same is in the result directory."""

    directory: Path
    entry: LawEntry
    over: str
    columns: dict[str, np.ndarray]  # of curve.parquet
    laws: dict[str, PowerLaw | None]
    without: list[float]  # budgets under which no candidate satisfies the limits
    picture: bool
    seconds: float


def run_curve(spec: SweepSpec, out: Path, over: str, budgets: Sequence[float], tick: Tick = silent) -> CurveOutcome:
    """Find the best design of a spec's grid under each of several budgets and write ``out``.

    Args:
        spec: its limit on ``over`` is replaced by each budget in turn.
        out: result directory.
        over: a quantity of the design, limited from above.
        budgets: ascending, in the unit of ``over``.
        tick: called with the share of the budgets done, no number of candidates, and the best score there.

    Raises:
        ValueError: a spec, quantity or law that makes no sense; nothing was written.
        StoreError: the disk fails, or the directory is another process's.
    """
    began = time.perf_counter()
    if over not in QUANTITIES:
        raise ValueError(f"--over: no quantity named {over!r}; {nearest(over, QUANTITIES)}")
    entry = entry_of(spec)
    problem = make_problem(spec, entry)
    check_law(entry, problem)
    searcher = Searcher(within(problem, over, budgets[0]))
    sign = 1 if entry.higher_is_better else -1
    directory = ResultDir.create(out, header(spec, entry, curve={"over": over, "budgets": [float(b) for b in budgets]}))
    with directory.held():
        directory.begin()
        points = curve(searcher, over, budgets, lambda done, best: tick(done / len(budgets), 0, sign * best))
        reached = [point for point in points if point.candidate_id is not None]
        columns = _columns(searcher, reached, over, spec, entry)
        laws, free = _power_laws(problem, over, reached, columns)
        shards = [directory.write_curve(columns)] if reached else []
        picture = bool(reached) and find_spec("matplotlib") is not None
        if picture:
            from perflaw_jax.curve_figure import draw

            draw(out / "curve.png", over, entry.metric, columns, laws, free)
        directory.write_manifest(_account(points, problem, laws, free), shards)
    without = [point.budget for point in points if point.candidate_id is None]
    return CurveOutcome(out, entry, over, columns, laws, without, picture, time.perf_counter() - began)


def _columns(searcher: Searcher, points: Sequence[Point], over: str, spec: SweepSpec, entry: LawEntry) -> dict[str, np.ndarray]:
    """The columns of curve.parquet: each point's candidate as its own problem has it, since a budget may buy its tokens."""
    parts, base = [], make_columns(searcher.engine, spec, entry)
    for point in points:
        budget = point.budget if over == "training_flops" else spec.budget
        columns = replace(base, engine=searcher.engine.at(point.problem), budget=budget)
        parts.append(plain(columns.full(columns.of(np.array([point.candidate_id])))))
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {}
    binds = np.array([", ".join(point.binds) for point in points], object)
    return {"budget": np.array([point.budget for point in points]), **columns, "binds": binds}


def _power_laws(
    problem: Problem, over: str, points: Sequence[Point], columns: dict[str, np.ndarray]
) -> tuple[dict[str, PowerLaw | None], dict[str, np.ndarray]]:
    """Per quantity that the grid varies: its power law, and the mask of the points that it was fitted through."""
    tables, axes = problem.space.tables, problem.space.axes
    laws, free = {}, {}
    for name in (*SHAPE, *SIZES):
        values = np.asarray(columns.get(name, 0.0), float)
        computed = name in SIZES and name not in tables
        dims = tables[name].dims if name in tables else ()
        own = [axis for axis in axes if axis.field != "training_tokens"] if computed else [axes[d] for d in dims]
        same = name == "active_params" and np.array_equal(values, columns.get("total_params", ()))  # a dense model
        if own and np.any(values > 0) and not same:
            free[name] = free_choice(
                points, over, [axis.field for axis in own if axis.base is None]
            )  # a ratio's end scales along
            laws[name] = power_law(columns["budget"][free[name]], values[free[name]])
    return laws, free


def _account(
    points: Sequence[Point], problem: Problem, laws: dict[str, PowerLaw | None], free: dict[str, np.ndarray]
) -> dict[str, Any]:
    return {
        "counts": {"candidates": problem.space.size, "feasible": None, "cut_by_limit": None},
        "power_laws": {name: law._asdict() if law is not None else None for name, law in laws.items()},
        "not_fitted": {
            name: f"{int(free[name].sum())} budgets at which neither another limit nor an end of an axis binds; "
            f"{LEAST_POINTS} are needed"
            for name, law in laws.items()
            if law is None
        },
        "without_optimum": [point.budget for point in points if point.candidate_id is None],
    }
