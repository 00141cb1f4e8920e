"""Where boxes are cut: along the axes that take the most from their bounds."""

from __future__ import annotations

import numpy as np

from perflaw_jax.box_bounds import BATCHES, BoxBounds
from perflaw_jax.boxes import BlockGrid, Boxes, split
from perflaw_jax.frontier import Frontier

MOST_CUTS = 3  # axes along which a box is cut at once
WORTH_IT = 1 / 3  # of what the best axis takes from the bound: others are cut along as well
TINY = 1e-6  # of a score
SAMPLE = 32  # of the boxes to be cut, on which the axes are tried


def cut(
    boxes: Boxes, bounds: BoxBounds, blocks: BlockGrid, frontier: Frontier | None, room: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut boxes along the axes that take the most from their bounds, by a sample of them.

    Where no axis takes anything, they are cut along that of which they hold the greatest share of the grid. While the pieces
    are few, by what there is ``room`` for and by what is bounded in the time that one takes, they are cut again.

    Returns:
        Of the pieces their first and last places [n, axes], and the row of the box that they come from [n].
    """
    gain = _gain_per_place(boxes, bounds, frontier) + 1e-30 / np.asarray(blocks.grid.space.shape)
    first, last, parent = split(*boxes[:2], _worthwhile(boxes.last - boxes.first, gain), blocks.unit)
    while len(first) <= min(room, BATCHES[0]) >> MOST_CUTS and np.any(blocks.count(first, last) > 1):
        first, last, row = split(first, last, _worthwhile(last - first, gain), blocks.unit)
        parent = parent[row]
    return first, last, parent


def _worthwhile(width: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """The axes along which to cut boxes of some widths [m, axes], given what each takes from a bound per place [axes]."""
    taken = width * gain
    worthwhile = (taken > 0) & (taken >= taken.max(axis=1, keepdims=True) * WORTH_IT)
    many = np.flatnonzero(worthwhile.sum(axis=1) > MOST_CUTS)
    rank = np.argsort(np.argsort(-taken[many], axis=1, kind="stable"), axis=1, kind="stable")
    worthwhile[many] &= rank < MOST_CUTS
    return worthwhile


def _gain_per_place(boxes: Boxes, bounds: BoxBounds, frontier: Frontier | None) -> np.ndarray:
    """By how much the bounds of a sample of boxes rise per place that an axis is narrowed by, [axes]."""
    rows = np.unique(np.linspace(0, len(boxes.first) - 1, SAMPLE).astype(int))
    boxes, axes = boxes.take(rows), boxes.first.shape[1]
    first, last = (np.repeat(ends[None], axes, axis=0) for ends in boxes[:2])
    for axis in range(axes):
        first[axis, :, axis] = last[axis, :, axis] = (boxes.first[:, axis] + boxes.last[:, axis]) // 2
    feasible, least = bounds.least(first.reshape(-1, axes), last.reshape(-1, axes))
    least = np.maximum(least.reshape(axes, *boxes.least.shape), boxes.least)
    with np.errstate(all="ignore"):
        gain = least[..., 0] - boxes.least[:, 0]
        for column, weight in _weights(frontier):
            gain = gain + weight * np.log(least[..., column] / boxes.least[:, column])
        finite = np.where(np.isfinite(gain), gain, 0)
        half = np.maximum(finite.max(axis=0) / 2, TINY)  # of what the best axis gives: where nothing is left, a box is halved
        nothing_left = ~feasible.reshape(gain.shape) | (least[..., 0] == np.inf)
        gain = np.where(nothing_left, half, finite) / (boxes.last - boxes.first).T
    return np.nan_to_num(gain, nan=0, posinf=0).sum(axis=1) / len(rows)


def _weights(frontier: Frontier | None) -> list[tuple[int, float]]:
    """What a factor e in a cost is worth, in score: as much as along the frontier; next to nothing in the FLOPs' case."""
    weights = [(1, 1e-9)]
    front = None if frontier is None else frontier.front
    if front is not None and len(front.score) > 1:
        spans = np.log(np.maximum(np.ptp(front.costs, axis=0) / np.maximum(front.costs.min(axis=0), 1e-300), 1e-3) + 1)
        weights += [(3 + i, float(np.ptp(front.score) / span)) for i, span in enumerate(spans)]
    return weights
