"""Two ways to the best designs of a grid under limits: the exact search of a huge one, and evaluating a small one whole."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from perflaw_jax.accounting import PER_TOKEN, quantity
from perflaw_jax.certificate import Found, Progress
from perflaw_jax.design import FIELDS, Design, Scalar
from perflaw_jax.engine import BATCHES, REFINED, Engine, Problem, spread
from perflaw_jax.exact import Searcher
from perflaw_jax.exhaustive import sweep
from perflaw_jax.frontier import Frontier
from perflaw_jax.kept import Kept
from perflaw_jax.laws import PerformanceDense, PerformanceMoE
from perflaw_jax.objective import evaluate, make_design
from perflaw_jax.planner.limits import OPEN, Limits, allowed, in_reach, moved_within
from perflaw_jax.planner.ranking import NONE, RANKINGS, Ranked
from perflaw_jax.space import Space

SCORED = 8192  # designs per call: one trace for each law
PATIENCE = 5.0  # seconds that a search may take
FRONTIER_GAP = 0.05  # of a score: frontiers may miss what is better by less
COSTS = ("training_flops", "total_params")  # of frontiers
# Laws by which the grid is swept for a frontier that tokens move along: all of it in half the time of a search, but for a first
# time, when compiling takes seconds. The warm-up compiles it for these.
SWEPT = (PerformanceDense, PerformanceMoE)

# Design fields, total_params, active_params, training_flops, raw, score: float64 [n] each; candidate_id int64 [n]
Columns = dict[str, np.ndarray]


class TooSlow(Exception):
    """The law does not let the search finish in time."""


class Solver(Protocol):
    """Answers about one grid by one law, more being better."""

    @property
    def space(self) -> Space:
        """The grid."""
        ...

    def count(self, limits: Limits) -> int:
        """How many designs the limits on the grid's own fields leave."""
        ...

    def best(self, limits: Limits, least: float = -np.inf, near: Columns | None = None) -> Columns | None:
        """The design of the best score, None where the limits leave none; where it is below ``least``, any or None.

        It is found sooner where it is ``near`` some designs.
        """
        ...

    def top(self, limits: Limits, ranking: str, count: int) -> Columns:
        """The first designs of a ranking."""
        ...

    def frontier(self, limits: Limits, cost: str) -> Columns:
        """The designs that no other beats in the score at the same cost, ascending in the cost."""
        ...


class Searched(NamedTuple):
    """By branch and bound: exact, and as fast for a billion designs as for a million."""

    space: Space
    law: Any

    def count(self, limits: Limits) -> int:
        """See `Solver`."""
        return in_reach(self.space, limits)

    def best(self, limits: Limits, least: float = -np.inf, near: Columns | None = None) -> Columns | None:
        """See `Solver`."""
        near_ids = None if near is None else moved_within(self.space, near["candidate_id"], limits)
        found = self._search(limits, 1, least=least, near=near_ids)
        return self._columns(found.top.finish().candidate_id) if found.certificate.best > -np.inf else None

    def top(self, limits: Limits, ranking: str, count: int) -> Columns:
        """See `Solver`."""
        return self._columns(self._search(limits, count, ranking).top.finish().candidate_id)

    def frontier(self, limits: Limits, cost: str) -> Columns:
        """See `Solver`; where it is searched for, to within ``FRONTIER_GAP``."""
        engine = self._swept(limits, cost)
        if engine is not None:
            found = sweep(engine.problem, top=1, marginals=False, counts=False, engine=engine).frontier
            return self._reaching(limits, found)
        return self._reaching(limits, self._search(limits, 1, frontier=(cost,), gap=FRONTIER_GAP).frontier)

    def _swept(self, limits: Limits, cost: str) -> Engine | None:
        """What sweeps the grid for a frontier; None where it is searched for.

        What a least score leaves of a frontier is its upper end, so that none is asked.
        """
        if cost not in PER_TOKEN or not isinstance(self.law, SWEPT):
            return None
        problem = Problem(self.space, self.law, {name: bound for name, bound in limits.items() if name != "score"}, (cost,))
        engine = _sweeper(_Key(self.space), type(self.law), cost).at(problem)
        return engine if engine.finite else None

    def _reaching(self, limits: Limits, frontier: Frontier | None) -> Columns:
        """The points of a frontier that reach the least score."""
        assert frontier is not None
        columns = self._columns(frontier.finish().candidate_id)
        mask = allowed(columns, {"score": limits["score"]})
        return {name: values[mask] for name, values in columns.items()}

    def compile(self, limits: Limits) -> None:
        """Compile what any question may need."""
        _searcher(_Key(self.space)).compile(self._problem(limits, "performance"))
        for cost in COSTS:
            self.frontier(limits, cost)
            engine = self._swept(limits, cost)
            if engine is not None:  # questions differ in how many blocks come near the frontier
                asked = Kept.empty(engine.problem, top=1, marginals=False, counts=False).asked(engine)
                for few_or_many, size in zip(REFINED, BATCHES, strict=True):
                    engine.refine(spread(engine.tiling.blocks, few_or_many), asked)
                    engine.decide(spread(engine.tiling.blocks, 1), size=size)

    def _search(self, limits: Limits, top: int, ranking: str = "performance", **options: Any) -> Found:
        problem = self._problem(limits, ranking)
        options = {"frontier": (), "sharpen": False, **options}  # sharper bounds compile for longer than a user would wait
        return _searcher(_Key(self.space)).search(problem, top=top, tick=_until(PATIENCE), **options)

    def _problem(self, limits: Limits, ranking: str) -> Problem:
        least = limits["score"].min
        law = Ranked(self.law, RANKINGS[ranking], NONE if least is None else max(least, NONE))
        return Problem(self.space, law, {**limits, "score": OPEN}, COSTS)

    def _columns(self, ids: np.ndarray) -> Columns:
        return {**scored(self.space.fields(self.space.digits(ids)), self.law), "candidate_id": ids}


def _until(patience: float) -> Callable[[Progress], None]:
    """Ends a search some seconds after its first step: before that, programs are compiled."""
    began: list[float] = []

    def tick(_: Progress) -> None:
        began.append(time.monotonic())
        if began[-1] - began[0] > patience:
            raise TooSlow

    return tick


class _Key(NamedTuple):
    """A space by what it is: those of ``grids`` are made once each."""

    space: Space

    def __hash__(self) -> int:
        return id(self.space)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self.space is other.space


@lru_cache(4)
def _searcher(key: _Key) -> Searcher:
    return Searcher(Problem(key.space, None, {}, COSTS))


@lru_cache(4)
def _sweeper(key: _Key, law: type, cost: str) -> Engine:
    return Engine(Problem(key.space, law(), {}, (cost,)))


class Evaluated:
    """By evaluating every design once; limits then only choose among them.

    Of equals the earlier in the grid comes first, after ranking by scores of so many ``digits``, if given.
    """

    def __init__(self, space: Space, law: Any, digits: int | None = None):
        self.space, self.law, self.digits = space, law, digits
        ids = np.arange(space.size)
        self.columns = {**scored(space.fields(space.digits(ids)), law), "candidate_id": ids}

    def count(self, limits: Limits) -> int:
        """See `Solver`."""
        return in_reach(self.space, limits)

    def best(self, limits: Limits, least: float = -np.inf, near: Columns | None = None) -> Columns | None:
        """See `Solver`."""
        rows = self._feasible(limits)
        return self._take(rows[[np.argmax(self.columns["score"][rows])]]) if len(rows) else None

    def top(self, limits: Limits, ranking: str, count: int) -> Columns:
        """See `Solver`; stable sorting of rounded scores, as the authors' program has it."""
        rows = self._feasible(limits)
        score, layers = self.columns["score"][rows], self.columns["num_hidden_layers"][rows]
        if self.digits is not None:
            score = np.array([round(value, self.digits) for value in score.tolist()])
        key = {"performance": -score, "balance": -(score**2) / np.log(1 + layers), "shallow": layers}[ranking]
        return self._take(rows[np.argsort(key, kind="stable")[:count]])

    def frontier(self, limits: Limits, cost: str) -> Columns:
        """See `Solver`."""
        rows = self._feasible(limits)
        costs, score = self.columns[cost][rows], self.columns["score"][rows]
        order = np.lexsort((-score, costs))
        before = np.concatenate([[-np.inf], np.maximum.accumulate(score[order])[:-1]]) if len(rows) else score
        return self._take(rows[order[score[order] > before]])

    def _feasible(self, limits: Limits) -> np.ndarray:
        return np.flatnonzero(allowed(self.columns, limits))

    def _take(self, rows: np.ndarray) -> Columns:
        return {name: values[rows] for name, values in self.columns.items()}


def scored(fields: Columns, law: Any) -> Columns:
    """Designs by their fields, float64 [n] each -> all fields, counts and scores."""
    count = max(np.size(values) for values in fields.values())
    named = {name: np.broadcast_to(np.asarray(fields.get(name, default), np.float64), count) for name, default in _DEFAULTS}
    parts = []
    with jax.enable_x64(True):
        for start in range(0, max(count, 1), SCORED):
            rows = np.minimum(np.arange(start, start + SCORED), max(count - 1, 0))
            some = {name: values[rows] if count else np.ones(SCORED) for name, values in named.items()}
            parts.append(jax.tree.map(np.asarray, _scored(some, law)))
    return named | {name: np.concatenate([part[name] for part in parts])[:count] for name in parts[0]}


_DEFAULTS = [(name, Design._field_defaults.get(name, 0)) for name in FIELDS]


@jax.jit
def _scored(fields: Any, law: Any) -> Any:
    return jax.vmap(partial(_score, law))(fields)


def _score(law: Any, fields: Any) -> dict[str, Scalar]:
    design = make_design(fields)
    e = evaluate(design, law, {})
    counts = {name: 1.0 * quantity(name, design) for name in ("total_params", "active_params", "training_flops")}
    return {**counts, "raw": jax.numpy.where(e.feasible, e.raw, jax.numpy.nan), "score": e.score}
