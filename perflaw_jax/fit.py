"""Fits: the coefficients of a law from runs, by many starts under a Huber loss, and how well the runs pin them down.

One objective serves all: ``sum_i w_i huber(residual_i)``, minimised by BFGS in coordinates of the order of one. Starts and
bootstrap resamples are lanes of one vmapped program; a resample is a vector of weights, the number of times that each run was
drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from perflaw_jax.laws.entry import coefficients, with_coefficients
from perflaw_jax.recipes import Recipe

DRAWN, STARTS = 4096, 48  # starts that are looked at, and the best of them that are followed
STEPS = 1000  # at most
SAME = 1e-4  # relative: two starts that came so close found the same minimum
FLAT = 1e-3  # largest gradient at a minimum, relative to the loss, in coordinates of the order of one
LOST = 1e-6  # singular value, relative to the largest, below which a combination of coefficients is not identified


class Rows(NamedTuple):
    """What is fitted on: inputs by name [n], the target [n], and which run a row belongs to (0 ... runs - 1) [n]."""

    inputs: dict[str, np.ndarray]
    target: np.ndarray
    run: np.ndarray


@dataclass(frozen=True)
class Fit:
    """A fitted law.

    Attributes:
        law: with the coefficients found.
        free: names of the fitted coefficients.
        objective: the sum of the Huber losses there.
        errors: residuals [n], in the logarithm where the recipe has it so.
        covariance: of the fitted coefficients, from the curvature [free, free].
        notes: what a user must know of the fit; empty where there is nothing.
        agreeing: share of the starts followed that came to this minimum.
    """

    law: Any
    free: tuple[str, ...]
    objective: float
    errors: np.ndarray
    covariance: np.ndarray
    notes: tuple[str, ...]
    agreeing: float


def fit(recipe: Recipe, rows: Rows, seed: int = 0) -> Fit:
    """Fit a law to rows.

    Args:
        recipe: which coefficients, from where, by which loss.
        rows: float64 arrays.
        seed: of the starts.

    Raises:
        ValueError: there are fewer rows, or fewer distinct ones, than coefficients to fit.
    """
    enough(recipe, rows)
    problem = _Problem(recipe, rows)
    with jax.enable_x64(True):
        ones = np.ones(len(rows.target))
        starts = np.random.default_rng(seed).uniform(-1, 1, (DRAWN, len(problem.free)))
        starts[0] = 0
        first = np.nan_to_num(np.asarray(problem.losses(starts, ones)), nan=np.inf, posinf=np.inf)
        followed = starts[np.argsort(first, kind="stable")[:STARTS]]
        ends, losses = (np.asarray(a) for a in problem.minimise(followed, np.broadcast_to(ones, (STARTS, len(ones)))))
        losses = np.where(np.isfinite(losses), losses, np.inf)
        best = int(losses.argmin())
        slope = float(np.abs(np.asarray(problem.gradient(ends[best], ones))).max())
        jacobian, errors = (np.asarray(a) for a in problem.linearised(ends[best]))
        law, scale = jax.tree.map(float, problem.law(ends[best])), problem.scales(ends[best])
    agreeing = float(np.mean(losses <= losses[best] * (1 + SAME) + 1e-300))
    covariance, lost = _curvature(jacobian, errors, problem.free)
    notes = [*_convergence(slope, losses[best], agreeing), *lost]
    return Fit(
        law=law,
        free=problem.free,
        objective=float(losses[best]),
        errors=errors,
        covariance=covariance * np.outer(scale, scale),
        notes=tuple(notes),
        agreeing=agreeing,
    )


def resampled_runs(runs: int, count: int, seed: int) -> np.ndarray:
    """How often each run is drawn in each of ``count`` resamples of whole runs, int [count, runs]."""
    return np.random.default_rng(seed).multinomial(runs, np.full(runs, 1 / runs), size=count)


def refit(recipe: Recipe, rows: Rows, found: Fit, draws: np.ndarray) -> tuple[Any, np.ndarray]:
    """Fit once more on every resample, from the fit to all runs.

    Args:
        recipe: as for ``found``.
        rows: as for ``found``.
        found: the fit to all rows.
        draws: times that each run is drawn [count, runs].

    Returns:
        The laws as one pytree with a leading axis [count], and which of them are of use: finite, and from at least as many
        distinct rows as there are coefficients [count].
    """
    problem = _Problem(recipe, rows)
    weights = draws[:, rows.run].astype(float)
    with jax.enable_x64(True):
        start = problem.place(found.law)
        ends, losses = problem.minimise(np.broadcast_to(start, (len(draws), len(start))), weights)
        laws = jax.vmap(problem.law)(ends)
        laws = jax.tree.map(lambda leaf: np.broadcast_to(np.asarray(leaf), (len(draws), *np.shape(leaf)[1:])), laws)
    distinct = np.array([len(np.unique(rows_of(rows)[drawn > 0], axis=0)) for drawn in weights])
    return laws, np.isfinite(np.asarray(losses)) & (distinct >= len(problem.free))


def enough(recipe: Recipe, rows: Rows) -> None:
    """ValueError where there are fewer distinct rows than coefficients."""
    distinct = len(np.unique(rows_of(rows), axis=0))
    if distinct < len(recipe.spread):
        raise ValueError(
            f"{distinct} distinct rows are too few for {len(recipe.spread)} coefficients: {', '.join(recipe.spread)}"
        )


def rows_of(rows: Rows) -> np.ndarray:
    """The inputs as [n, inputs]."""
    return np.stack([np.asarray(column, float) for column in rows.inputs.values()], axis=1)


class _Problem:
    """A recipe on rows, in coordinates u: the coefficient, or its logarithm, is where the recipe begins plus ``spread`` u."""

    def __init__(self, recipe: Recipe, rows: Rows):
        self.recipe, self.free = recipe, tuple(recipe.spread)
        known = coefficients(recipe.law)
        self._center = np.array([np.log(known[n]) if n in recipe.positive else known[n] for n in self.free], float)
        self._spread = np.array([recipe.spread[n] for n in self.free], float)
        self._data = {name: np.asarray(column, float) for name, column in rows.inputs.items()}, np.asarray(rows.target, float)
        self.losses = jax.jit(jax.vmap(self._loss, in_axes=(0, None)))
        self.gradient = jax.jit(jax.grad(self._loss))
        self.minimise = jax.jit(jax.vmap(partial(_bfgs, self._loss)))
        self.linearised = jax.jit(lambda u: (jax.jacfwd(self._residuals)(u), self._residuals(u)))

    def law(self, u: Any) -> Any:
        """The law at a place."""
        return with_coefficients(self.recipe.law, dict(zip(self.free, self._values(u), strict=True)))

    def place(self, law: Any) -> np.ndarray:
        """Where a law is."""
        found = coefficients(law)
        values = np.array([np.log(found[n]) if n in self.recipe.positive else found[n] for n in self.free], float)
        return (values - self._center) / self._spread

    def scales(self, u: np.ndarray) -> np.ndarray:
        """Change of each coefficient with its coordinate."""
        values = np.asarray(self._values(u))
        return self._spread * np.where([n in self.recipe.positive for n in self.free], values, 1.0)

    def _values(self, u: Any) -> Any:
        at = self._center + self._spread * u
        return jnp.where(np.array([n in self.recipe.positive for n in self.free]), jnp.exp(at), at)

    def _residuals(self, u: Any) -> Any:
        inputs, target = self._data
        law = self.law(u)
        formula = getattr(law, "of_loss", None) or law.of
        predicted = jax.vmap(formula)(*(inputs[name] for name in self.recipe.inputs))
        if self.recipe.clamped:
            predicted = law.clamp(predicted)
        return jnp.log(predicted) - jnp.log(target) if self.recipe.logarithmic else predicted - target

    def _loss(self, u: Any, weights: Any) -> Any:
        return jnp.sum(weights * huber(self._residuals(u), self.recipe.delta))


def huber(residual: Any, delta: float) -> Any:
    """``r^2 / 2`` up to ``delta``, and linear beyond.

    >>> float(huber(0.5, 1.0)), float(huber(-3.0, 1.0)), float(huber(-3.0, float("inf")))
    (0.125, 2.5, 4.5)
    """
    if np.isinf(delta):
        return jnp.square(residual) / 2
    size = jnp.minimum(abs(residual), delta)
    return size * (abs(residual) - size / 2)


def _bfgs(loss: Any, start: Any, weights: Any) -> tuple[Any, Any]:
    """The place and the value of the minimum that a start leads to."""
    import optimistix

    scale = jnp.maximum(loss(start, weights), 1e-300)
    solver = optimistix.BFGS(rtol=1e-10, atol=1e-12)
    found = optimistix.minimise(
        lambda u, weights: loss(u, weights) / scale, solver, start, args=weights, max_steps=STEPS, throw=False
    )
    return found.value, loss(found.value, weights)


def _curvature(jacobian: np.ndarray, errors: np.ndarray, names: tuple[str, ...]) -> tuple[np.ndarray, list[str]]:
    """Covariance of the coordinates [k, k], by least squares with far residuals pulled in, and what is not identified."""
    lengths = np.linalg.norm(jacobian, axis=0)
    unfelt = [name for name, length in zip(names, lengths, strict=True) if not length > 0]
    if unfelt:
        return np.full((len(names),) * 2, np.nan), [f"not identified: {', '.join(unfelt)}"]
    _, singular, directions = np.linalg.svd(jacobian / lengths, full_matrices=False)
    lost = []
    for value, direction in zip(singular, directions, strict=True):
        if value < LOST * singular[0]:
            mixed = [name for name, part in zip(names, direction, strict=True) if abs(part) > 0.1]
            lost.append(f"not identified: only a combination of {', '.join(mixed)} is known")
    spare = max(1, len(errors) - len(names))
    usual = 3 * np.median(abs(errors))
    variance = np.sum(np.square(np.minimum(abs(errors), usual))) / spare
    return variance * np.linalg.pinv(jacobian.T @ jacobian), lost


def _convergence(slope: float, loss: float, agreeing: float) -> list[str]:
    notes = []
    if not np.isfinite(loss):
        return ["did not converge: no start led to a finite loss"]
    if slope > FLAT * max(loss, 1e-12):
        notes.append(f"did not converge: the loss still changes by {slope / max(loss, 1e-300):.1g} of itself")
    if agreeing * STARTS < 2:
        notes.append("found by one start alone: there may be a better minimum")
    return notes


def summary(found: Fit) -> dict[str, Any]:
    """How a fit went, as its file tells it."""
    return {
        "objective": found.objective,
        "root_mean_square": float(np.sqrt(np.mean(np.square(found.errors)))),
        "starts_agreeing": found.agreeing,
        "notes": list(found.notes),
    }
