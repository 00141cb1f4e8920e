"""How far the score of a design can be trusted: quantiles of the law's ensemble, and the distance to what it was fitted on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from perflaw_jax.accounting import quantity
from perflaw_jax.distance import beyond, distance_to
from perflaw_jax.laws import LawEntry
from perflaw_jax.objective import make_design

QUANTILES = {"score_p05": 0.05, "score_p50": 0.50, "score_p95": 0.95}
DISTANCE = ("extrapolation", "extrapolated")
BATCH = 1024  # designs per call: one trace

Fields = Mapping[str, np.ndarray]  # Design field -> float64 [n]


class Confidence:
    """What a law's own data say of designs."""

    def __init__(self, entry: LawEntry):
        self.entry = entry
        self.has_ensemble = hasattr(entry.law, "scores")

    def columns(self, fields: Fields) -> dict[str, np.ndarray]:
        """The columns that the law's uncertainty and support allow, [n] each.

        ``score_p05``, ``score_p50`` and ``score_p95`` are quantiles of what the law believes. ``extrapolation`` is the distance
        to the nearest data that it was fitted on: root mean square over its inputs of the logarithm of their ratios, 0 inside a
        published range. ``extrapolated`` says that it is wider than any gap between the data themselves.
        """
        columns = {}
        law, support = self.entry.law, self.entry.support
        if hasattr(law, "quantile"):
            columns |= dict(zip(QUANTILES, np.concatenate([*_batches(_quantiles, fields, law)]).T, strict=True))
        if support is not None:
            inputs = np.concatenate([*_batches(partial(_inputs, support.inputs), fields)])
            distance = distance_to(support, inputs)
            columns |= dict(zip(DISTANCE, (distance, beyond(support, distance)), strict=True))
        return columns

    def probability_best(self, fields: Fields) -> np.ndarray:
        """Share of the ensemble's members by which each of some designs is the best of them, float64 [n].

        Of equal designs the first is taken for the best.
        """
        best, holder, place = np.array(-np.inf), np.zeros(1, np.int64), 0
        for scores in _batches(_scores, fields, self.entry.law):
            if len(scores):
                scores = scores if self.entry.higher_is_better else -scores
                here, first = scores.max(axis=0), scores.argmax(axis=0) + place
                best, holder = np.maximum(best, here), np.where(here > best, first, holder)
            place += len(scores)
        return np.bincount(holder, minlength=place)[:place] / len(holder)


def _batches(program: Callable[..., Any], fields: Fields, *law: Any) -> Iterator[np.ndarray]:
    """A program over designs in float64, a batch at a time; the last one is filled up with its last design."""
    count = max(np.size(values) for values in fields.values())
    count = 0 if any(np.shape(values) == (0,) for values in fields.values()) else count
    whole = {
        name: np.broadcast_to(np.asarray(v, np.float64) if count else np.ones(1), max(count, 1)) for name, v in fields.items()
    }
    for start in range(0, max(count, 1), BATCH):
        rows = np.minimum(np.arange(start, start + BATCH), max(count, 1) - 1)
        with jax.enable_x64(True):
            yield np.asarray(program({name: values[rows] for name, values in whole.items()}, *law))[: max(0, count - start)]


@partial(jax.jit, static_argnums=0)
def _inputs(names: tuple[str, ...], fields: Fields) -> Any:
    return jax.vmap(lambda one: jnp.stack([1.0 * jnp.asarray(quantity(name, make_design(one))) for name in names]))(fields)


@jax.jit
def _quantiles(fields: Fields, law: Any) -> Any:
    return jax.vmap(lambda one: jnp.stack([law.quantile(make_design(one), share) for share in QUANTILES.values()]))(fields)


@jax.jit
def _scores(fields: Fields, law: Any) -> Any:
    return jax.vmap(lambda one: law.scores(make_design(one)))(fields)
