"""How far designs lie from what a law was fitted on: root mean square over its inputs of the logarithm of the ratio."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from perflaw_jax.laws import Support

BATCHES = (2**10, 2**16)  # designs per call: a trace for each that is used; the larger one still fits in a core's cache
UNROLLED = 8  # boxes per step
NEAR = 1e-9  # relative: what lies at the reach itself is within it


def distance_to(support: Support, values: np.ndarray) -> np.ndarray:
    """Distance of points ``values`` [n, inputs] to the nearest box, float64 [n]; infinite where a value is 0 or unknown."""
    with np.errstate(divide="ignore"):
        return distance_of_logs(support, [*np.log(values).T])


def distance_of_logs(support: Support, inputs: Sequence[np.ndarray]) -> np.ndarray:
    """The same for the logarithms of the inputs, [n] each."""
    low, high = np.log(support.low), np.log(support.high)
    filled = [np.concatenate([ends, np.repeat(ends[-1:], -len(ends) % UNROLLED, axis=0)]) for ends in (low, high)]
    boxes = [ends.reshape(-1, UNROLLED, len(inputs)) for ends in filled]
    if np.array_equal(low, high):
        boxes = boxes[:1]  # points
    count = len(inputs[0])
    size = next((size for size in BATCHES if size >= count), BATCHES[-1])
    distance = np.empty(count)
    with jax.enable_x64(True):
        for start in range(0, count, size):
            some = [values[start : start + size] for values in inputs]
            short = size - len(some[0])
            distance[start : start + size] = _nearest(boxes, [np.pad(v, (0, short)) for v in some])[: size - short]
    return distance


def beyond(support: Support, distance: np.ndarray) -> np.ndarray:
    """Whether distances are wider than any gap between the data themselves, bool [n]."""
    return distance > support.reach * (1 + NEAR)


def support_of(inputs: tuple[str, ...], values: np.ndarray) -> Support:
    """The support of a law fitted on points ``values`` [n, inputs]: its reach is the widest gap from one to its nearest."""
    from scipy.spatial import KDTree  # a third of a second to import

    points = np.unique(values, axis=0)
    if len(points) < 2:
        return Support(inputs, points, points)
    places = np.log(points)
    gaps = KDTree(places).query(places, k=2)[0][:, 1]
    return Support(inputs, points, points, float(gaps.max() / np.sqrt(points.shape[1])))


@jax.jit
def _nearest(boxes: list[Any], inputs: list[Any]) -> Any:
    """Root mean square distance [n] to the nearest of ``boxes``: low and high ends, or points, each [steps, UNROLLED, inputs].

    Written out elementwise: several times faster on CPU than a reduction, or than a tree of the points.
    """

    def step(least: Any, ends: list[Any]) -> tuple[Any, None]:
        for box in range(UNROLLED):
            least = jnp.minimum(least, sum(_outside([end[box, i] for end in ends], x) ** 2 for i, x in enumerate(inputs)))
        return least, None

    least, _ = jax.lax.scan(step, jnp.full_like(inputs[0], jnp.inf), boxes)
    return jnp.sqrt(jnp.where(jnp.isnan(least), jnp.inf, least) / len(inputs))


def _outside(ends: list[Any], x: Any) -> Any:
    if len(ends) == 1:
        return x - ends[0]
    low, high = ends
    return jnp.maximum(jnp.maximum(low - x, x - high), 0)
