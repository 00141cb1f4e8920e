"""Bounds of whole boxes of the grid, many at once on the device: what no candidate inside can surpass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from perflaw_jax.accounting import quantity
from perflaw_jax.bounds import Interval, bound, highest, interval
from perflaw_jax.boxes import Grid
from perflaw_jax.design import Design, Scalar
from perflaw_jax.kernel import Task
from perflaw_jax.objective import Bound, evaluate, make_design

BATCHES = (512, 2048)  # boxes per call: a trace for each that is used
ROUNDING = 1e-9  # relative: by so much the tokens that a budget buys may be rounded
UNLIMITED = 1e300  # in place of infinity, of which arithmetic makes what has no bounds


class WithinBudget(NamedTuple):
    """A law for designs within a budget of training FLOPs: there it is the law itself, and a box of the grid is bounded better.

    Tokens beyond what the budget buys count as what it buys. So the bound of a box does not take its most tokens together
    with its largest model, which no design within the budget has.
    """

    law: Any
    budget: Scalar  # training FLOPs

    def raw(self, design: Design) -> Scalar:
        """The law's raw score of what the budget buys."""
        bought = (1 + ROUNDING) * jnp.minimum(self.budget, UNLIMITED) / (6 * quantity("active_params", design))
        return self.law.raw(design._replace(training_tokens=jnp.minimum(1.0 * design.training_tokens, bought)))

    def clamp(self, raw: Scalar) -> Scalar:
        """The law's clamp."""
        return self.law.clamp(raw)


class Terms(NamedTuple):
    """What ranks a candidate, all of it better the lower, and whether it may stand at all."""

    feasible: Any
    ranks: tuple[Any, ...]  # minus the score, the training FLOPs, the parameters, the frontier's costs


class Place(NamedTuple):
    """Where in the tables of ``Corners`` the bounds of a field over a box are found."""

    field: str
    dims: tuple[int, ...]
    rising: tuple[bool, ...]
    positive: bool  # whether no value is below zero


class Form(NamedTuple):
    """What of a problem decides the programs: those that share it are compiled once."""

    places: tuple[Place, ...]
    constants: tuple[tuple[str, float], ...]  # fields that are fixed: numbers known beforehand make for a smaller program
    costs: tuple[str, ...]


class BoxBounds:
    """The compiled programs that bound a problem's boxes."""

    _task: Task
    _columns: list[int]

    def __init__(self, grid: Grid, costs: tuple[str, ...]):
        with jax.enable_x64(True):
            self._tables = jax.device_put({name: (c.low, c.high) for name, c in grid.fields.items()})
        self._pick = _least
        places = (Place(name, c.dims, c.rising, bool(np.all(c.low >= 0))) for name, c in grid.fields.items())
        self._form = Form(tuple(places), tuple(grid.constants.items()), costs)

    def on(self, task: Task, costs: Sequence[int]) -> BoxBounds:
        """The same programs for a task (law, limits and what buys the tokens) and some of the costs, by their places."""
        other = copy(self)
        other._task = task
        other._columns = [0, 1, 2, *(3 + place for place in costs)]
        return other

    def sharpened(self) -> BoxBounds:
        """Sharper bounds of the score, by where the law rises and falls: fewer boxes, each of several times the work."""
        other = copy(self)
        other._pick = _least_by_slopes
        return other

    def least(self, first: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Whether a box may hold a feasible candidate [m], and the least of everything that ranks them [m, 3 + costs]."""
        few = len(first) <= BATCHES[0] and self._pick is _least  # the sharper program takes seconds to compile: for one size
        feasible, least = self._run(self._pick, first, last, BATCHES[0 if few else 1])
        return feasible, least[:, self._columns]

    def same(self, first: np.ndarray, last: np.ndarray) -> np.ndarray:
        """Of everything that ranks candidates, whether it is one and the same all over a box [m, 3 + costs]."""
        return self._run(_same, first, last, BATCHES[1])[:, self._columns]

    def compile(self, first: np.ndarray, last: np.ndarray) -> None:
        """Compile all programs on some one box, [1, axes]."""
        for size in BATCHES:
            self.least(first.repeat(size, axis=0), last.repeat(size, axis=0))
        self.same(first, last)

    def _run(self, pick: Any, first: np.ndarray, last: np.ndarray, size: int) -> Any:
        parts, count = [], len(first)
        with jax.enable_x64(True):
            for start in range(0, count, size):
                ends = (_padded(places[start : start + size], size) for places in (first, last))
                parts.append(_over_boxes(pick, self._form, *ends, self._tables, self._task))
            return jax.tree.map(lambda *leaves: np.concatenate([np.asarray(leaf) for leaf in leaves])[:count], *parts)


def _padded(places: np.ndarray, size: int) -> np.ndarray:
    short = size - len(places)
    return np.concatenate([places, np.repeat(places[-1:], short, axis=0)]) if short else places


@partial(jax.jit, static_argnums=(0, 1))
def _over_boxes(pick: Any, form: Form, first: Any, last: Any, tables: dict, task: Task) -> Any:
    def one(first: Any, last: Any) -> Any:
        return pick(form, task, {place.field: _field(place, tables[place.field], first, last) for place in form.places})

    return jax.vmap(one)(first, last)


def _field(place: Place, tables: tuple[Any, Any], first: Any, last: Any) -> Interval:
    """What is known of a field over a box."""
    low, high = tables
    begins = tuple(first[d] if rising else last[d] for d, rising in zip(place.dims, place.rising, strict=True))
    ends = tuple(last[d] if rising else first[d] for d, rising in zip(place.dims, place.rising, strict=True))
    return interval(low[begins], high[ends], positive=place.positive)


def _least(form: Form, task: Task, fields: dict[str, Interval]) -> tuple[Any, Any]:
    terms = bound(partial(_terms, form, task))(fields)
    return terms.feasible.upper, jnp.stack([jnp.asarray(rank.lower, float) for rank in terms.ranks])


def _least_by_slopes(form: Form, task: Task, fields: dict[str, Interval]) -> tuple[Any, Any]:
    feasible, least = _least(form, task, fields)
    law = _law(task)
    raw = highest(lambda fields: 1.0 * law.raw(_design(form, task, fields)))(fields)
    score = bound(lambda raw: 1.0 * law.clamp(raw))(raw)
    return feasible, least.at[0].max(-jnp.asarray(score.upper, float))


def _same(form: Form, task: Task, fields: dict[str, Interval]) -> Any:
    terms = bound(partial(_terms, form, task))(fields)
    return jnp.stack([rank.same for rank in terms.ranks])


def _terms(form: Form, task: Task, fields: dict) -> Terms:
    design = _design(form, task, fields)
    e = evaluate(design, _law(task), task.limits)
    return Terms(e.feasible, (-e.score, e.training_flops, e.total_params, *(quantity(c, design) for c in form.costs)))


def _design(form: Form, task: Task, fields: Mapping[str, Any]) -> Design:
    return make_design({**dict(form.constants), **fields}, task.spend)


def _law(task: Task) -> Any:
    budget = task.limits.get("training_flops", Bound()).max
    return task.law if budget is None or task.spend is not None else WithinBudget(task.law, budget)
