"""Laws held against models that they were not fitted on: refits without one organisation, or without what came later."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from math import ceil
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import least_squares

from perflaw_jax.accounting import quantity
from perflaw_jax.laws.entry import coefficients, with_coefficients
from perflaw_jax.objective import make_design

SOFTNESS = 2.0  # points: errors count in square up to about here, and in proportion beyond
LOW, HIGH = 0.05, 0.95  # shares of models below the ends of an interval
STEPS = 400


class Rows(NamedTuple):
    """Models to hold a law against, in one order."""

    fields: Mapping[str, np.ndarray]  # Design field -> float64 [n]
    years: np.ndarray  # of release: float64 [n], 2024.5 for 2024-07
    reported: np.ndarray  # float64 [n]

    def where(self, chosen: np.ndarray) -> Rows:
        """Some of the rows."""
        return Rows({name: v[chosen] for name, v in self.fields.items()}, self.years[chosen], self.reported[chosen])


class Intervals(NamedTuple):
    """Ends of the 90 % intervals, [n] each."""

    lower: np.ndarray
    upper: np.ndarray


def dated(law: Any, year: Any) -> Any:
    """The law as of a year, where it is one that knows of time."""

    def of_year(path: Any, leaf: Any) -> Any:
        name = jax.tree_util.keystr(path, simple=True, separator=".").rpartition(".")[2]
        return jnp.broadcast_to(year, jnp.shape(leaf)) if name == "release_year" else leaf

    return jax.tree_util.tree_map_with_path(of_year, law)


def scores(law: Any, rows: Rows) -> np.ndarray:
    """A law's scores of the models as of their release, float64 [n]."""

    def score(fields: Any, year: Any) -> Any:
        now = dated(law, year)
        return now.clamp(now.raw(make_design(fields)))

    with jax.enable_x64(True):
        return np.asarray(jax.jit(jax.vmap(score))(rows.fields, rows.years))


def own_intervals(law: Any, rows: Rows) -> Intervals:
    """The 90 % intervals that a law with ``quantile`` gives as it stands."""

    def ends(fields: Any, year: Any) -> Any:
        design, now = make_design(fields), dated(law, year)
        return now.quantile(design, LOW), now.quantile(design, HIGH)

    with jax.enable_x64(True):
        return Intervals(*map(np.asarray, jax.jit(jax.vmap(ends))(rows.fields, rows.years)))


class Refit:
    """A law with free coefficients and the models to fit them to; compiled once for all choices among the models.

    Args:
        law: with ``inputs`` and ``of``; its own coefficients are where every fit starts.
        free: names of the coefficients to fit.
        rows: the models.
    """

    def __init__(self, law: Any, free: tuple[str, ...], rows: Rows):
        self.law, self.free, self.rows = law, free, rows
        self.start = np.array([coefficients(law)[name] for name in free], float)
        self.stuck = 0  # fits that ended before they converged

        def all_scores(values: Any) -> Any:
            fitted = self.fitted(values)
            return jax.vmap(lambda year, inputs: fitted.clamp(dated(fitted, year).of(*inputs)))(rows.years, inputs)

        def all_inputs(fields: Any) -> list[Any]:
            return [1.0 * quantity(name, make_design(fields)) for name in law.inputs]

        with jax.enable_x64(True):
            inputs = [np.asarray(column) for column in jax.jit(jax.vmap(all_inputs))(rows.fields)]
        self._scores, self._slopes = jax.jit(all_scores), jax.jit(jax.jacfwd(all_scores))

    def fitted(self, values: Any) -> Any:
        """The law with these values of its free coefficients."""
        return with_coefficients(self.law, dict(zip(self.free, values, strict=True)))

    def scores(self, values: np.ndarray) -> np.ndarray:
        """Scores of all models, [n]."""
        with jax.enable_x64(True):
            return np.asarray(self._scores(values))

    def fit(self, among: np.ndarray) -> np.ndarray:
        """The free coefficients, fitted to the models ``among`` (bool [n]) by soft L1; the others have no say."""

        def errors(values: np.ndarray) -> np.ndarray:
            return np.where(among, np.asarray(self._scores(values)) - self.rows.reported, 0.0)

        def slopes(values: np.ndarray) -> np.ndarray:
            return np.where(among[:, None], np.asarray(self._slopes(values)), 0.0)

        method: dict[str, Any] = {"jac": slopes, "loss": "soft_l1", "f_scale": SOFTNESS, "x_scale": "jac", "max_nfev": STEPS}
        with jax.enable_x64(True):
            found = least_squares(errors, self.start, **method)
        self.stuck += found.status == 0
        return found.x


def left_out(refit: Refit, groups: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Every model's score by the law fitted to those of ``among`` in the other groups, [n]; NaN outside ``among``."""
    predicted = np.full(len(groups), np.nan)
    for group in np.unique(groups[among]):
        own = among & (groups == group)
        predicted[own] = refit.scores(refit.fit(among & ~own))[own]
    return predicted


def left_out_intervals(refit: Refit, groups: np.ndarray, predicted: np.ndarray) -> Intervals:
    """Intervals around ``predicted``, what ``left_out`` says of all models, with nothing known of a model's group.

    How far they reach is what the law misses other groups by, each predicted without itself and without this model's. One fit
    leaves out two groups, and serves both.
    """
    names, number = np.unique(groups, return_inverse=True)
    inner = np.full((len(names), len(groups)), np.nan)  # [group that nothing is known of, model]
    for one, other in combinations(range(len(names)), 2):
        said = refit.scores(refit.fit((number != one) & (number != other)))
        inner[one, number == other], inner[other, number == one] = said[number == other], said[number == one]
    below, above = np.array([reach(refit.law, said, refit.rows.reported) for said in inner]).T
    return intervals(refit.law, predicted, below[number], above[number])


def reach(law: Any, predicted: np.ndarray, reported: np.ndarray) -> tuple[float, float]:
    """How far 90 % intervals reach below and above, in units of ``law.spread``: the conformal quantile of held-out errors.

    Args:
        law: with ``spread``.
        predicted: scores of models that it was not fitted on, [n]; a NaN does not count.
        reported: what they should have been, [n].

    >>> from perflaw_jax.laws import MmluCalibrated
    >>> reach(MmluCalibrated(), np.full(99, 25.0), 25.0 + np.arange(-49, 50))
    (22.5, 22.5)
    """
    with jax.enable_x64(True):
        errors = (reported - predicted) / np.asarray(law.spread(predicted))
    errors = np.sort(errors[np.isfinite(errors)])
    place = min(ceil((len(errors) + 1) * HIGH - 1e-9), len(errors))
    return -float(errors[-place]), float(errors[place - 1])


def intervals(law: Any, predicted: np.ndarray, below: Any, above: Any) -> Intervals:
    """The 90 % intervals around some predictions by a law that reaches so far, [n] or the same for all."""
    with jax.enable_x64(True):
        return Intervals(*map(np.asarray, jax.jit(law._replace(below=below, above=above).interval)(predicted)))
