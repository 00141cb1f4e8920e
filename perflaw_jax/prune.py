"""Which boxes the reducers may still want: the best that a box could hold, against what is kept already.

A box is known by ``least``, bounds from below of minus the score, the training FLOPs, the parameters and the frontier's costs
([m, 3 + costs], see ``boxes.Boxes``), and by its lowest candidate id.
"""

from __future__ import annotations

import numpy as np

from perflaw_jax.reduce import Batch, TopK

PAIRS = 2**22  # of a box and a point of the frontier, compared at once
CELLS = 128  # per cost, of the coarse look at a frontier of two


def open_to_top(top: TopK, least: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Mask of the boxes that may hold a candidate ranking before the last one kept."""
    if len(top.best.score) < top.k:
        return np.ones(len(least), bool)
    return _before(least[:, :3], ids, top.best.take(slice(-1, None)))


def open_to_front(front: Batch, least: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Mask of the boxes whose best corner no point of the frontier beats."""
    if not len(front.score):
        return np.ones(len(least), bool)
    if front.costs.shape[1] == 1:
        return _above_staircase(front, least, ids)
    hopeful = np.flatnonzero(-least[:, 0] >= _coarse(front, least[:, 3:]))
    rows = max(1, PAIRS // len(front.score))
    parts = [hopeful[i : i + rows] for i in range(0, len(hopeful), rows)]
    mask = np.zeros(len(least), bool)
    for part in parts:
        mask[part] = _above_all(front, least[part], ids[part])
    return mask


def _before(ranks: np.ndarray, ids: np.ndarray, others: Batch) -> np.ndarray:
    """Whether (minus score, FLOPs, parameters, id) come before those of the other candidates, one for all or one for each."""
    before = np.asarray(ids < others.candidate_id)
    for rank, other in zip(ranks.T[::-1], (others.total_params, others.training_flops, -others.score), strict=True):
        before = (rank < other) | ((rank == other) & before)
    return before


def _above_staircase(front: Batch, least: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """One cost: the best known at no higher cost is the last point up to it."""
    cost = least[:, 3]
    step = np.searchsorted(front.costs[:, 0], cost, side="right") - 1
    point = front.take(np.maximum(step, 0))
    equal = (-least[:, 0] == point.score) & (cost == point.costs[:, 0])
    return (step < 0) | (-least[:, 0] > point.score) | (equal & _before(least[:, :3], ids, point))


def _above_all(front: Batch, least: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Two costs: every box against every point."""
    ranks = np.concatenate([least[:, :1], least[:, 3:]], axis=1)[:, None]
    points = np.column_stack([-front.score, front.costs])[None]
    reached = np.ones(ranks.shape[:1] + points.shape[1:2], bool)  # the point is as good in everything
    level = reached.copy()  # and no better in anything
    for i in range(ranks.shape[2]):
        reached &= points[:, :, i] <= ranks[:, :, i]
        level &= points[:, :, i] == ranks[:, :, i]
    beaten = np.asarray((reached & ~level).any(axis=1))
    box, point = np.nonzero(level)  # at most one: no two points of a frontier are equal
    beaten[box] |= ~_before(least[box, :3], ids[box], front.take(point))
    return ~beaten


def _coarse(front: Batch, costs: np.ndarray) -> np.ndarray:
    """A score that some point of the frontier reaches at no higher costs [m]; -inf where a coarse table knows of none."""
    edges = [np.unique(np.quantile(cost, np.linspace(0, 1, CELLS), method="lower")) for cost in front.costs.T]
    table = np.full([len(e) + 1 for e in edges], -np.inf)  # entry i: points up to edge i - 1
    cell = [np.searchsorted(e, cost, side="left") + 1 for e, cost in zip(edges, front.costs.T, strict=True)]
    np.maximum.at(table, tuple(cell), front.score)
    for axis in range(table.ndim):
        np.maximum.accumulate(table, axis=axis, out=table)
    return table[tuple(np.searchsorted(e, cost, side="right") for e, cost in zip(edges, costs.T, strict=True))]
