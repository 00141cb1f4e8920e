"""The answer to what a user asks: the best designs, which limit binds, and how the score moves with each limit."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd

from perflaw_jax.bounds import UnboundedPrimitive
from perflaw_jax.design import FIELDS
from perflaw_jax.planner import grids
from perflaw_jax.planner.inputs import PERFORMANCE_LAW, Inputs
from perflaw_jax.planner.limits import (
    BILLION,
    WORDS,
    Limits,
    ends,
    law_of,
    limits_of,
    moved,
    value_at,
    without,
)
from perflaw_jax.planner.solvers import Columns, Evaluated, Searched, Solver, TooSlow

MOST_ROWS = 1000
FACTORS = (0.5, 0.75, 1.25, 2.0)
MOST_LAYERS = 24  # layer counts that the curve over them looks at
AUTHORS_DIGITS = 2  # of the MMLU, before they rank


@dataclass(frozen=True)
class Plan:
    """What the planner found.

    Attributes:
        inputs: what was asked.
        table: the best designs, the first first: rank, the Design fields, counts, score and the share of the budget used.
        candidates: designs that the ranges leave to choose from.
        excludes: where no design is left, the limits of which any one alone would have to go.
        note: what a reader must know of how this was found, "" if nothing.
        seconds: that finding the table took.
    """

    inputs: Inputs
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
        words: the same for a reader.
        at: where the end lies.
        scores: factor on it -> the best score then, NaN where no design is left.
        free: the best score without it.
        binds: whether that is better.
    """

    end: str
    words: str
    at: float
    scores: dict[float, float]
    free: float
    binds: bool


def solve(inputs: Inputs) -> Plan:
    """The best designs, by the exact search of a fixed grid or by evaluating all of a small one.

    Where a law does not let the search finish in time, a coarser grid is evaluated instead, and ``note`` says so.
    """
    began, limits = time.perf_counter(), limits_of(inputs)
    solver, note = solver_of(inputs), ""
    try:
        top = solver.top(limits, inputs.ranking, MOST_ROWS)
        excludes = () if len(top["score"]) else tuple(end for end in ends(limits) if solver.best(without(limits, end)))
    except (TooSlow, UnboundedPrimitive):
        solver = _coarse(inputs)
        note = f"{inputs.law_name} cannot be searched exactly in time: these are the best of a coarser grid"
        top = solver.top(limits, inputs.ranking, MOST_ROWS)
        excludes = () if len(top["score"]) else tuple(end for end in ends(limits) if solver.best(without(limits, end)))
    return Plan(inputs, _table(inputs, top), solver.count(limits), excludes, note, time.perf_counter() - began)
