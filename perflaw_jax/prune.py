"""Which boxes the reducers may still want: the best that a box could hold, against what is kept already.

A box is known by ``least``, bounds from below of minus the score, the training FLOPs, the parameters and the frontier's costs
([m, 3 + costs], see ``boxes.Boxes``), and by its lowest candidate id.
"""

from __future__ import annotations

import numpy as np

from perflaw_jax.reduce import Batch, TopK


def open_to_top(top: TopK, least: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Mask of the boxes that may hold a candidate ranking before the last one kept."""
    if len(top.best.score) < top.k:
        return np.ones(len(least), bool)
    return _before(least[:, :3], ids, top.best.take(slice(-1, None)))


def open_to_front(front: Batch, least: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Mask of the boxes whose best corner no point of the frontier beats."""
    if not len(front.score):
        return np.ones(len(least), bool)
    score, costs = -least[:, 0], least[:, 3:]
    best = _best_within(front, costs, score)
    open_ = best < score
    # of equals the frontier keeps one: a box whose best corner IS a point may hold one that ranks before it
    level = np.flatnonzero(best == score)
    place = np.minimum(np.searchsorted(_joined(front.costs), _joined(costs[level])), len(front.score) - 1)
    point = front.take(place)
    equal = (point.score == score[level]) & (point.costs == costs[level]).all(axis=1)
    level, point = level[equal], point.take(equal)
    open_[level] = _before(least[level, :3], ids[level], point)
    return open_


def _before(ranks: np.ndarray, ids: np.ndarray, others: Batch) -> np.ndarray:
    """Whether (minus score, FLOPs, parameters, id) come before those of the other candidates, one for all or one for each."""
    before = np.asarray(ids < others.candidate_id)
    for rank, other in zip(ranks.T[::-1], (others.total_params, others.training_flops, -others.score), strict=True):
        before = (rank < other) | ((rank == other) & before)
    return before


def _best_within(front: Batch, costs: np.ndarray, enough: np.ndarray) -> np.ndarray:
    """The best score of the points at no higher costs [m], or one that is enough; -inf where there is no such point."""
    points = np.append(front.score, -np.inf)
    within = np.searchsorted(front.costs[:, 0], costs[:, 0], side="right")
    if costs.shape[1] == 1:
        return points[within - 1]  # the last up to the cost is the best: the frontier is a staircase
    # Two costs: a table for whole runs of points in the order of each cost, then what is left of a run, point by point.
    count, run = len(front.score), int(np.sqrt(len(front.score))) + 1
    second = np.argsort(front.costs[:, 1], kind="stable")
    within = within, np.searchsorted(front.costs[second, 1], costs[:, 1], side="right")
    table = np.full((count // run + 2,) * 2, -np.inf)
    np.maximum.at(table, (np.arange(count) // run + 1, np.argsort(second) // run + 1), front.score)
    table = np.maximum.accumulate(np.maximum.accumulate(table, axis=0), axis=1)
    best = table[within[0] // run, within[1] // run]
    for order, k, other in ((np.arange(count), within[0], 1), (second, within[1], 0)):
        rows = np.flatnonzero(best < enough)
        place = (k[rows] // run * run)[:, None] + np.arange(run)
        point = order[np.minimum(place, count - 1)]
        fits = (place < k[rows, None]) & (front.costs[point, other] <= costs[rows, other, None])
        best[rows] = np.maximum(best[rows], np.where(fits, front.score[point], -np.inf).max(axis=1))
    return best


def _joined(costs: np.ndarray) -> np.ndarray:
    """One or two costs as one number that sorts like them."""
    return costs[:, 0] if costs.shape[1] == 1 else costs[:, 0] + 1j * costs[:, 1]
