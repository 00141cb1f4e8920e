"""How the best design moves with a budget: the certified optimum at each of several budgets, and power laws through them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from perflaw_jax.engine import Problem
from perflaw_jax.exact import Searcher
from perflaw_jax.objective import Bound
from perflaw_jax.space import Space

LEAST_POINTS = 3  # that a power law is fitted through


@dataclass(frozen=True)
class Point:
    """The optimum at one budget.

    Attributes:
        budget: the greatest value allowed of the quantity that the curve is over.
        candidate_id: the best candidate, or None where none satisfies the limits.
        problem: what was searched there.
        binds: ends of limits ("training_flops max") without which a better score is possible, and ends of axes
            ("hidden_size stop") at which the best candidate lies.
    """

    budget: float
    candidate_id: int | None
    problem: Problem
    binds: tuple[str, ...]


class PowerLaw(NamedTuple):
    """``quantity = coefficient x budget^exponent``, by least squares in the logarithms."""

    coefficient: float
    exponent: float
    error: float  # standard error of the exponent
    points: int  # that it was fitted through


def curve(
    searcher: Searcher, over: str, budgets: Sequence[float], tick: Callable[[int, float], None] = lambda done, best: None
) -> list[Point]:
    """The certified optimum at each budget, and what binds there.

    Args:
        searcher: of the problem ``within`` any of the budgets.
        over: a quantity of the design that the budgets limit from above; with tokens bought by the budget, ``training_flops``.
        budgets: in the unit of ``over``.
        tick: called after each with the number done and the best score (NaN if there is none).

    Raises:
        UnboundedPrimitive: the law uses a primitive that has no bounds.
    """
    points = []
    for done, budget in enumerate(budgets, start=1):
        here = within(searcher.problem, over, budget)
        best = searcher.search(here, top=1).top.finish()
        if len(best.score):
            binds = (
                *_binding_limits(searcher, here, float(best.score[0])),
                *_binding_ends(here.space, int(best.candidate_id[0])),
            )
            points.append(Point(float(budget), int(best.candidate_id[0]), here, binds))
        else:
            points.append(Point(float(budget), None, here, ()))
        tick(done, float(best.score[0]) if len(best.score) else np.nan)
    return points


def within(problem: Problem, over: str, budget: float) -> Problem:
    """The problem under a budget, frontier aside; an open end of a limit is infinite: one trace serves all budgets."""
    limits = {name: _whole(bound) for name, bound in problem.limits.items()}
    limits[over] = limits.get(over, _whole(Bound()))._replace(max=float(budget))
    spends = problem.space.spend is not None and over == "training_flops"
    space = replace(problem.space, spend=float(budget)) if spends else problem.space
    return replace(problem, limits=limits, space=space, costs=())


def _whole(bound: Bound) -> Bound:
    return bound._replace(
        min=-np.inf if bound.min is None else float(bound.min), max=np.inf if bound.max is None else float(bound.max)
    )


def _binding_limits(searcher: Searcher, problem: Problem, score: float) -> list[str]:
    """Ends of limits that cost score: without the end, the best scores more."""
    binding = []
    for name, bound in problem.limits.items():
        for end, free in (("min", -np.inf), ("max", np.inf)):
            if getattr(bound, end) != free:
                without = replace(problem, limits={**problem.limits, name: bound._replace(**{end: free})})
                if name == "training_flops" and end == "max" and problem.space.spend is not None:  # it buys the tokens, too
                    without = replace(without, space=replace(problem.space, spend=2 * problem.space.spend))
                if searcher.search(without, top=1).certificate.best > score:
                    binding.append(f"{name} {end}")
    return binding


def _binding_ends(space: Space, candidate_id: int) -> list[str]:
    """Ends of axes with more than one value at which a candidate lies."""
    binding = []
    for axis, digit in zip(space.axes, space.digits(np.array([candidate_id])), strict=True):
        value, ends = axis.values[int(digit[0])], {"start": min(axis.values), "stop": max(axis.values)}
        binding += [f"{axis.field} {end}" for end, at in ends.items() if value == at and len({*axis.values}) > 1]
    return binding


def power_law(budget: np.ndarray, values: np.ndarray) -> PowerLaw | None:
    """The power law through values [n] at budgets [n]; None with fewer than three positive points or one budget alone."""
    known = (budget > 0) & (values > 0) & np.isfinite(budget) & np.isfinite(values)
    x, y = np.log(budget[known]), np.log(values[known])
    spread = float(((x - x.mean()) ** 2).sum()) if len(x) else 0.0
    if len(x) < LEAST_POINTS or not spread:
        return None
    exponent = float(((x - x.mean()) * (y - y.mean())).sum() / spread)
    level = float(y.mean() - exponent * x.mean())
    residual = float(((y - level - exponent * x) ** 2).sum()) / (len(x) - 2)
    return PowerLaw(float(np.exp(level)), exponent, float(np.sqrt(residual / spread)), len(x))


def free_choice(points: Sequence[Point], over: str, axes: Collection[str]) -> np.ndarray:
    """Mask of the points [n] at which of all limits the budget alone binds, and no end of any of the ``axes`` does.

    Elsewhere the optimum follows the limit or the grid: a power law through it would say nothing about the law.
    """
    ends = {f"{axis} {end}" for axis in axes for end in ("start", "stop")}
    return np.array([_limits_that_bind(p) == {f"{over} max"} and not ends.intersection(p.binds) for p in points], bool)


def _limits_that_bind(point: Point) -> set[str]:
    return {bind for bind in point.binds if bind.endswith((" min", " max"))}
