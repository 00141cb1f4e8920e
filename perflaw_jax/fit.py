"""Fits: the coefficients of a law from runs, by many starts under a Huber loss, and how well the runs pin them down.

A fit follows the best of many starts; a bootstrap goes on from the fit to all runs, each resample with the number of times that
every run was drawn for a weight. Both are lanes of one program, see ``minimise``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np

from perflaw_jax.minimise import around, filled_weights, law_at, linearised, losses, minimise, place_of, slopes, task_of
from perflaw_jax.recipes import Recipe

DRAWN, STARTS = 4096, 48  # starts that are looked at, and the best of them that are followed
RESAMPLED = 1e-5  # of a last step: coefficients good to 1e-5 of themselves, and resamples differ by percents; less is noise
SAME = 1e-4  # relative: two starts that came so close found the same minimum
FLAT = 1e-3  # largest gradient at a minimum, relative to the loss, in coordinates of the order of one
NOTHING = 1e-9  # a loss so small, relative to that of a usual start, is none
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
        ValueError: there are fewer distinct rows than coefficients to fit.
    """
    enough(recipe, rows)
    task, form = task_of(recipe, rows.inputs, rows.target)
    with jax.enable_x64(True):
        once = filled_weights(np.ones((1, len(rows.target))))
        starts = np.random.default_rng(seed).uniform(-1, 1, (DRAWN, len(form.free)))
        starts[0] = 0
        first = np.nan_to_num(np.asarray(losses(form, task, starts, once[0])), nan=np.inf, posinf=np.inf)
        followed = starts[np.argsort(first, kind="stable")[:STARTS]]
        ends, found = map(np.asarray, minimise(form, task, followed, np.repeat(once, STARTS, axis=0), tolerance=1e-10))
        found = np.where(np.isfinite(found), found, np.inf)
        best = int(found.argmin())
        slope, jacobian, errors = map(np.asarray, linearised(form, task, ends[best], once[0]))
        law, slope_of = jax.tree.map(float, law_at(form, task, ends[best])), np.asarray(slopes(form, task, ends[best]))
    count, finite = len(rows.target), first[np.isfinite(first)]
    nothing = NOTHING * float(np.median(finite)) if len(finite) else 0.0
    agreeing = float(np.mean(found <= found[best] * (1 + SAME) + nothing))
    covariance, lost = _curvature(jacobian[:count], errors[:count], form.free)
    return Fit(
        law=law,
        free=form.free,
        objective=float(found[best]),
        errors=errors[:count],
        covariance=slope_of @ covariance @ slope_of.T,
        notes=(*_convergence(float(slope), float(found[best]) + nothing, agreeing), *lost),
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
    task, form = task_of(recipe, rows.inputs, rows.target)
    weights = draws[:, rows.run].astype(float)
    with jax.enable_x64(True):
        place = place_of(form, task, found.law)
        _, jacobian, errors = map(np.asarray, linearised(form, task, place, filled_weights(np.ones((1, len(rows.target))))[0]))
        count = len(rows.target)
        task = around(task, place, jacobian[:count], errors[:count], found.objective)
        start = np.zeros((len(draws), len(form.free)))
        ends, reached = minimise(form, task, start, filled_weights(weights), tolerance=RESAMPLED)
        laws = jax.vmap(lambda u: law_at(form, task, u))(ends)
        laws = jax.tree.map(lambda leaf: np.broadcast_to(np.asarray(leaf), (len(draws), *np.shape(leaf)[1:])), laws)
    kind = np.unique(rows_of(rows), axis=0, return_inverse=True)[1].ravel()
    distinct = ((weights > 0).astype(float) @ np.eye(kind.max() + 1)[kind] > 0).sum(axis=1)
    return laws, np.isfinite(np.asarray(reached)) & (distinct >= len(form.free))


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
    if slope > FLAT * loss:
        notes.append(f"did not converge: the loss still changes by {slope / loss:.1g} of itself")
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
