"""Where boxes are cut: along the axes that take the most from their bounds."""

from __future__ import annotations

import numpy as np

from perflaw_jax.box_bounds import BoxBounds
from perflaw_jax.boxes import Boxes
from perflaw_jax.frontier import Frontier

MOST_CUTS = 3  # axes along which a box is cut at once
WORTH_IT = 1 / 2  # of what the best axis takes from the bound: others are cut along as well
TINY = 1e-6  # of a score
SAMPLE = 32  # of the boxes to be cut, on which the axes are tried


def cut_axes(boxes: Boxes, bounds: BoxBounds, shape: tuple[int, ...], frontier: Frontier | None) -> np.ndarray:
    """The axes along which to cut each box [m, axes]: those that take the most from its bound, by a sample of the boxes.

    Where none takes anything, the axis of the grid (of that ``shape``) of which a box holds the greatest share.
    """
    width = (boxes.last - boxes.first).astype(float)
    taken = width * (_gain_per_place(boxes, bounds, frontier) + 1e-30 / np.asarray(shape))
    rank = np.argsort(np.argsort(-taken, axis=1, kind="stable"), axis=1, kind="stable")
    return (taken > 0) & (taken >= taken.max(axis=1, keepdims=True) * WORTH_IT) & (rank < MOST_CUTS)


def _gain_per_place(boxes: Boxes, bounds: BoxBounds, frontier: Frontier | None) -> np.ndarray:
    """By how much the bounds of a sample of boxes rise per place that an axis is narrowed by, [axes]."""
    rows = np.unique(np.linspace(0, len(boxes.first) - 1, SAMPLE).astype(int))
    boxes, axes = boxes.take(rows), boxes.first.shape[1]
    first, last = (np.repeat(ends[None], axes, axis=0) for ends in boxes[:2])
    for axis in range(axes):
        first[axis, :, axis] = last[axis, :, axis] = (boxes.first[:, axis] + boxes.last[:, axis]) // 2
    _, least = bounds.least(first.reshape(-1, axes), last.reshape(-1, axes))
    least = np.maximum(least.reshape(axes, *boxes.least.shape), boxes.least)
    with np.errstate(all="ignore"):
        gain = least[..., 0] - boxes.least[:, 0]
        for column, weight in _weights(frontier):
            gain = gain + weight * np.log(least[..., column] / boxes.least[:, column])
        finite = np.where(np.isfinite(gain), gain, 0)
        nothing_left = least[..., 0] == np.inf  # worth as much as the most that another axis gives
        gain = np.where(nothing_left, np.maximum(finite.max(axis=0), TINY), finite) / (boxes.last - boxes.first).T
    return np.nan_to_num(gain, nan=0, posinf=0).sum(axis=1) / len(rows)


def _weights(frontier: Frontier | None) -> list[tuple[int, float]]:
    """What a factor e in a cost is worth, in score: as much as along the frontier; next to nothing in the FLOPs' case."""
    weights = [(1, 1e-9)]
    front = None if frontier is None else frontier.front
    if front is not None and len(front.score) > 1:
        spans = np.log(np.maximum(np.ptp(front.costs, axis=0) / np.maximum(front.costs.min(axis=0), 1e-300), 1e-3) + 1)
        weights += [(3 + i, float(np.ptp(front.score) / span)) for i, span in enumerate(spans)]
    return weights
