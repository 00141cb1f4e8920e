"""How far the score of a design can be trusted: quantiles of the law's ensemble, and the distance to what it was fitted on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from perflaw_jax.accounting import quantity
from perflaw_jax.design import Design
from perflaw_jax.laws import LawEntry, Support
from perflaw_jax.objective import make_design

QUANTILES = {"score_p05": 0.05, "score_p50": 0.50, "score_p95": 0.95}
BATCH = 1024  # designs per call: one trace

Fields = Mapping[str, np.ndarray]  # Design field -> float64 [n]


class Confidence:
    """What a law's own data say of designs; its programs are compiled once."""

    def __init__(self, entry: LawEntry):
        self.entry = entry
        self.has_ensemble = hasattr(entry.law, "scores")
        self._quantiles = _over_designs(lambda d, law: jnp.stack([law.quantile(d, share) for share in QUANTILES.values()]))
        self._scores = _over_designs(lambda design, law: law.scores(design))
        self._inputs = _over_designs(lambda design, _: jnp.stack([_real(quantity(name, design)) for name in self._names]))

    @property
    def _names(self) -> tuple[str, ...]:
        return self.entry.support.inputs if self.entry.support is not None else ()

    def columns(self, fields: Fields) -> dict[str, np.ndarray]:
        """The columns that the law's uncertainty and support allow, [n] each.

        ``score_p05``, ``score_p50`` and ``score_p95`` are quantiles of what the law believes. ``extrapolation`` is the distance
        to the nearest data that it was fitted on: root mean square over its inputs of the logarithm of their ratios, 0 inside a
        published range. ``extrapolated`` says that it is wider than any gap between the data themselves.
        """
        columns = {}
        law, support = self.entry.law, self.entry.support
        if hasattr(law, "quantile"):
            columns |= dict(zip(QUANTILES, np.concatenate([*_batches(self._quantiles, fields, law)]).T, strict=True))
        if support is not None:
            distance = distance_to(support, np.concatenate([*_batches(self._inputs, fields, 0.0)]))
            columns |= {"extrapolation": distance, "extrapolated": distance > support.reach * (1 + 1e-9)}
        return columns

    def probability_best(self, fields: Fields) -> np.ndarray:
        """Share of the ensemble's members by which each of some designs is the best of them, float64 [n].

        Of equal designs the first is taken for the best.
        """
        best, holder, place = np.array(-np.inf), np.zeros(1, np.int64), 0
        for scores in _batches(self._scores, fields, self.entry.law):
            if len(scores):
                scores = scores if self.entry.higher_is_better else -scores
                here, first = scores.max(axis=0), scores.argmax(axis=0) + place
                best, holder = np.maximum(best, here), np.where(here > best, first, holder)
            place += len(scores)
        return np.bincount(holder, minlength=place)[:place] / len(holder)


def distance_to(support: Support, values: np.ndarray) -> np.ndarray:
    """Distance of points ``values`` [n, inputs] to the nearest of the boxes, in the logarithm: root mean square, [n]."""
    with np.errstate(divide="ignore"):
        low, high, points = np.log(support.low), np.log(support.high), np.log(values)
    nearest = np.full(len(points), np.inf)
    for below, above in zip(low, high, strict=True):
        outside = np.maximum(0, np.maximum(below - points, points - above))
        nearest = np.minimum(nearest, np.sqrt(np.mean(np.square(outside), axis=1)))
    return nearest


def support_of(inputs: tuple[str, ...], values: np.ndarray) -> Support:
    """The support of a law fitted on points ``values`` [n, inputs]: its reach is the widest gap from one to its nearest."""
    points = np.unique(values, axis=0)
    whole = Support(inputs, points, points)
    gaps = [
        distance_to(whole._replace(low=np.delete(points, i, 0), high=np.delete(points, i, 0)), points[i : i + 1])[0]
        for i in range(len(points))
    ]
    return whole._replace(reach=float(np.max(gaps)) if len(points) > 1 else 0.0)


def _over_designs(function: Callable[[Design, Any], Any]) -> Callable[[Fields, Any], Any]:
    return jax.jit(jax.vmap(lambda fields, law: function(make_design(fields), law), in_axes=(0, None)))


def _batches(program: Callable[[Fields, Any], Any], fields: Fields, law: Any) -> Iterator[np.ndarray]:
    """A program over designs in float64, a batch at a time; the last one is filled up with its last design."""
    count = max(np.size(values) for values in fields.values())
    count = 0 if any(np.shape(values) == (0,) for values in fields.values()) else count
    whole = {
        name: np.broadcast_to(np.asarray(v, np.float64) if count else np.ones(1), max(count, 1)) for name, v in fields.items()
    }
    for start in range(0, max(count, 1), BATCH):
        rows = np.minimum(np.arange(start, start + BATCH), max(count, 1) - 1)
        with jax.enable_x64(True):
            yield np.asarray(program({name: values[rows] for name, values in whole.items()}, law))[: max(0, count - start)]


def _real(value: Any) -> Any:
    return 1.0 * jnp.asarray(value)
