"""The loss of a fit and its minimum: one vmapped BFGS for many starts, or for many resamples.

One objective serves all: ``sum_i w_i huber(residual_i)``, in coordinates of the order of one. Programs are compiled once for
all fits of one form whose rows round up to the same power of two.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from perflaw_jax.laws.entry import coefficients, with_coefficients
from perflaw_jax.recipes import Recipe

STEPS = 1000  # at most


class Form(NamedTuple):
    """What of a recipe decides the programs: fits that share it, and the rounded-up number of rows, are compiled once."""

    free: tuple[str, ...]
    logs: tuple[bool, ...]  # whether a coefficient is fitted by its logarithm
    inputs: tuple[str, ...]
    logarithmic: bool
    clamped: bool


class Task(NamedTuple):
    """The rest: numbers. The coefficients, or their logarithms, are ``center + spread @ u`` at the coordinates u."""

    law: Any
    center: np.ndarray  # [free]
    spread: np.ndarray  # [free, free]
    delta: float
    inputs: dict[str, np.ndarray]  # [rows, filled up]
    target: np.ndarray


def task_of(recipe: Recipe, columns: Mapping[str, np.ndarray], target: np.ndarray) -> tuple[Task, Form]:
    """A recipe on rows: inputs by name [n] and the target [n], float64."""
    free = tuple(recipe.spread)
    logs = tuple(name in recipe.positive for name in free)
    form = Form(free, logs, tuple(recipe.inputs), recipe.logarithmic, recipe.clamped)
    inputs = {name: _filled(np.asarray(column, float)) for name, column in columns.items()}
    spread = np.diag([float(recipe.spread[name]) for name in free])
    task = Task(recipe.law, np.zeros(len(free)), np.eye(len(free)), recipe.delta, inputs, _filled(np.asarray(target, float)))
    return task._replace(center=place_of(form, task, recipe.law), spread=spread), form


def _filled(values: np.ndarray) -> np.ndarray:
    """Rows repeated at the end up to a power of two."""
    short = 2 ** max(5, (values.shape[-1] - 1).bit_length()) - values.shape[-1]
    return np.concatenate([values, np.repeat(values[..., -1:], short, axis=-1)], axis=-1)


def filled_weights(weights: np.ndarray) -> np.ndarray:
    """Weights [lanes, rows] with nothing for the rows that fill up."""
    whole = np.zeros((len(weights), _filled(weights[:1]).shape[-1]))
    whole[:, : weights.shape[1]] = weights
    return whole


def place_of(form: Form, task: Task, law: Any) -> np.ndarray:
    """The coordinates of a law."""
    found = coefficients(law)
    values = [np.log(found[name]) if log else found[name] for name, log in zip(form.free, form.logs, strict=True)]
    return np.linalg.solve(task.spread, np.array(values, float) - task.center)


def _values(form: Form, task: Task, u: Any) -> Any:
    at = task.center + task.spread @ u
    return jnp.where(np.array(form.logs), jnp.exp(jnp.where(np.array(form.logs), at, 0.0)), at)


def slopes(form: Form, task: Task, u: Any) -> Any:
    """Change of the coefficients with the coordinates, [free, free]."""
    return jnp.where(np.array(form.logs), _values(form, task, u), 1.0)[:, None] * task.spread


def around(task: Task, u: np.ndarray, jacobian: np.ndarray, errors: np.ndarray, loss: float) -> Task:
    """The task in coordinates that begin at a minimum and in which the loss rises by as much in every direction.

    Resamples of the rows lie close by, and BFGS needs few steps to them.
    """
    pull = np.minimum(1.0, task.delta / np.maximum(abs(errors), 1e-300))
    curvature = (jacobian * pull[:, None]).T @ jacobian
    values, vectors = np.linalg.eigh(curvature)
    whitened = vectors / np.sqrt(np.maximum(values, 1e-12 * values.max())) * np.sqrt(max(loss, 1e-300))
    return task._replace(center=task.center + task.spread @ u, spread=task.spread @ whitened)


def law_at(form: Form, task: Task, u: Any) -> Any:
    """The law at a place."""
    values = _values(form, task, u)
    return with_coefficients(task.law, {name: values[i] for i, name in enumerate(form.free)})


def _residuals(form: Form, task: Task, u: Any) -> Any:
    law = law_at(form, task, u)
    formula = getattr(law, "of_loss", None) or law.of
    predicted = jax.vmap(formula)(*(task.inputs[name] for name in form.inputs))
    if form.clamped:
        predicted = law.clamp(predicted)
    return jnp.log(predicted) - jnp.log(task.target) if form.logarithmic else predicted - task.target


def _loss(form: Form, task: Task, u: Any, weights: Any) -> Any:
    return jnp.sum(weights * huber(_residuals(form, task, u), task.delta))


@partial(jax.jit, static_argnums=0)
def losses(form: Form, task: Task, places: Any, weights: Any) -> Any:
    """The loss at many places [m]."""
    return jax.vmap(lambda u: _loss(form, task, u, weights))(places)


@partial(jax.jit, static_argnums=0)
def linearised(form: Form, task: Task, u: Any, weights: Any) -> tuple[Any, Any, Any]:
    """The largest gradient of the loss, the Jacobian of the residuals, and the residuals."""
    slope = jnp.max(abs(jax.grad(_loss, argnums=2)(form, task, u, weights)))
    return slope, jax.jacfwd(lambda u: _residuals(form, task, u))(u), _residuals(form, task, u)


@partial(jax.jit, static_argnums=0, static_argnames="tolerance")
def minimise(form: Form, task: Task, starts: Any, weights: Any, *, tolerance: float) -> tuple[Any, Any]:
    """The places and the values of the minima that starts [lanes, free] lead to, each under its own weights [lanes, rows].

    ``tolerance`` is of a last step, in the coordinates and in the loss relative to that of the start.
    """
    import optimistix

    def one(start: Any, weights: Any) -> tuple[Any, Any]:
        scale = jnp.maximum(_loss(form, task, start, weights), 1e-300)
        found = optimistix.minimise(
            lambda u, weights: _loss(form, task, u, weights) / scale,
            optimistix.BFGS(rtol=tolerance, atol=tolerance),
            start,
            args=weights,
            max_steps=STEPS,
            throw=False,
        )
        return found.value, _loss(form, task, found.value, weights)

    return jax.vmap(one)(starts, weights)


def huber(residual: Any, delta: Any) -> Any:
    """``r^2 / 2`` up to ``delta``, and linear beyond.

    >>> float(huber(0.5, 1.0)), float(huber(-3.0, 1.0)), float(huber(-3.0, float("inf")))
    (0.125, 2.5, 4.5)
    """
    size = jnp.minimum(abs(residual), delta)
    return size * (abs(residual) - size / 2)
