"""float64 decides: blocks that float32 could not pass over are evaluated exactly, until none is left that may matter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from perflaw_jax.asked import Asked
from perflaw_jax.engine import BATCHES, Engine, as_batch
from perflaw_jax.kept import Kept
from perflaw_jax.kernel import Decided, Surveyed
from perflaw_jax.reduce import excess

WORDS = 512  # of eight booleans, looked at together
MOST = 16 * BATCHES[1]  # blocks to decide before looking again


class MarginExceeded(Exception):
    """A float32 score was further from its float64 value than the margin allows for: sweep again with a wider one."""


Blocks = list[np.ndarray]  # coordinates per axis of the nest, int64 [m] each


class Doubts(NamedTuple):
    """Blocks that may matter: coordinates per axis of the nest [m], best float32 raw score [m], least costs [m] each."""

    blocks: Blocks
    best: np.ndarray
    costs: Sequence[np.ndarray]

    def take(self, index) -> Doubts:
        """The blocks at an index array, slice or mask."""
        return Doubts([b[index] for b in self.blocks], self.best[index], [c[index] for c in self.costs])


def settle(engine: Engine, blocks: Blocks, kept: Kept) -> None:
    """Evaluate exactly the blocks that ``find`` marks (see ``marked``)."""
    for first in range(0, len(blocks[0]), MOST):
        some = [b[first : first + MOST] for b in blocks]
        promise = engine.refine(some, kept.asked(engine))
        _decide(engine, Doubts(some, promise.best, promise.costs), promise.excess, kept)


def settle_surveyed(engine: Engine, start: tuple[int, ...], surveyed: Surveyed, kept: Kept) -> None:
    """The same for the candidates of a tile that ``survey`` wants looked at."""
    doubts = _doubts(engine, start, surveyed)
    _decide(engine, doubts, _excess(doubts, kept.asked(engine)), kept)


def _doubts(engine: Engine, start: tuple[int, ...], surveyed: Surveyed) -> Doubts:
    best = np.asarray(surveyed.best).ravel()
    flat = np.flatnonzero(best > -np.inf)
    return Doubts(engine.tiling.coordinates(start, flat), best[flat], [np.asarray(c).ravel()[flat] for c in surveyed.costs])


def marked(engine: Engine, start: tuple[int, ...], wanted: Any) -> Blocks:
    """Coordinates of the blocks of a tile for which ``find`` says True, without those beyond the grid."""
    blocks = engine.tiling.coordinates(start, flatnonzero(np.asarray(wanted)))
    inside = np.logical_and.reduce([place < n for place, n in zip(blocks, engine.tiling.blocks, strict=True)])
    return blocks if inside.all() else [place[inside] for place in blocks]


def flatnonzero(wanted: np.ndarray) -> np.ndarray:
    """``np.flatnonzero`` of booleans of which few are True, in a third of the time: stretches without any are passed over."""
    flags, stretch = np.ravel(wanted), 8 * WORDS
    size = len(flags) // stretch * stretch
    words = flags[:size].view(np.uint64).reshape(-1, WORDS)
    stretches = np.flatnonzero(np.bitwise_or.reduce(words, axis=1))
    inside = np.flatnonzero(flags[:size].reshape(-1, stretch)[stretches])
    found = stretches[inside // stretch] * stretch + inside % stretch
    return np.concatenate([found, size + np.flatnonzero(flags[size:])])


def _decide(engine: Engine, doubts: Doubts, promise: np.ndarray, kept: Kept) -> None:
    """The most promising first, looking again after every batch: what a few teach the reducers mostly settles the rest."""
    batch = BATCHES[0]
    doubts, promise = _sift(doubts, promise)
    while len(doubts.best):
        if len(promise) > batch:
            doubts = doubts.take(_promising_first(doubts, promise, batch))
        now, doubts = doubts.take(slice(batch)), doubts.take(slice(batch, None))
        decided, ids, real = engine.decide(now.blocks)
        _check_margin(engine, decided, real, now.best)
        kept.update(as_batch(decided, ids, real))
        left, asked = len(doubts.best), kept.asked(engine)
        doubts, promise = _sift(doubts, _excess(doubts, asked))
        if len(promise) > BATCHES[0] and engine.layout.lanes > 1:  # of one candidate, the best score has the least cost
            doubts, promise = _sift(doubts, engine.refine(doubts.blocks, asked).excess)
        taught = len(promise) < left / 2
        batch = BATCHES[1] if taught else min(max(BATCHES[1], 2 * batch), MOST)  # look again seldom where it does not pay


def _promising_first(doubts: Doubts, promise: np.ndarray, count: int) -> np.ndarray:
    """Indices of all blocks, those to decide next at the front.

    Where there is a frontier, the best of as many stretches of its first cost: each tells of another part of the frontier. Of
    blocks against which nothing can be held yet, half of them are the best and half are spread over all there are: several
    values of an axis may have no candidate that is known.
    """
    unknown = np.flatnonzero(promise == np.inf)
    if len(unknown) > count:
        promise = np.where(promise == np.inf, doubts.best, -np.inf)
        promise[unknown[:: -(-2 * len(unknown) // count)]] = np.inf
    elif doubts.costs:
        by_cost, stretch = np.argsort(doubts.costs[0]), np.arange(len(promise)) * count // len(promise)
        order = by_cost[np.lexsort((-promise[by_cost], stretch))]
        best = np.searchsorted(stretch, np.arange(count))
        return np.concatenate([order[best], np.delete(order, best)])
    return np.argpartition(-promise, count)


def _sift(doubts: Doubts, promise: np.ndarray) -> tuple[Doubts, np.ndarray]:
    matters = promise >= 0
    return doubts.take(matters), promise[matters]


def _excess(doubts: Doubts, asked: Asked) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return excess(np, asked.screen, doubts.best, doubts.costs, asked.of_blocks(doubts.blocks))


def _check_margin(engine: Engine, decided: Decided, real: np.ndarray, best: np.ndarray) -> None:
    exact = np.where(decided.feasible & real, decided.raw, -np.inf).max(axis=1)
    if np.any(exact > best + engine.margin * (1 + np.abs(best))):
        raise MarginExceeded
