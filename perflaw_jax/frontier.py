"""The exact Pareto frontier of the score against one or two minimised costs, as a monoid.

Of candidates equal in the score and in every cost one is kept: the first in the order of merit (fewer training FLOPs, fewer
parameters, lower id).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from perflaw_jax.reduce import Batch, Scale, leading_bits

BUCKETS = {1: 8192, 2: 512}  # per cost
SPARE = 8  # one of so many buckets is left for what is cheaper than all that is known at first
FINEST = 12  # bits of a float32 to leave out at least: buckets are then wider than what ``ROUNDING`` allows for
MOST_WAITING = 2**18  # candidates, or half the frontier where that is more
ROUNDING = 1e-4  # relative: much more than the error of a cost in float32


@dataclass
class Frontier:
    """The candidates that no other beats: as good a score at no higher cost, and better in at least one.

    Candidates that may belong to it wait until there are many of them, or until it is asked for: putting a few into a large
    frontier takes as long as putting many.
    """

    costs: int
    scale: Scale = field(init=False)
    _front: Batch = field(init=False)  # ascending in the first cost
    _waiting: list[Batch] = field(init=False, default_factory=list)
    _tabled: np.ndarray = field(init=False)  # of all candidates so far

    def __post_init__(self) -> None:
        """Start with no candidates."""
        self._front = Batch.none(self.costs)
        self._tabled = np.full((BUCKETS[self.costs],) * self.costs, -np.inf)
        self.scale = Scale(np.zeros(self.costs, np.int32), np.zeros(self.costs, np.int32))

    @property
    def front(self) -> Batch:
        """The frontier of all candidates so far: ascending in the first cost, then in the second."""
        if self._waiting:
            self._front, self._waiting = non_dominated(Batch.join([self._front, *self._waiting])), []
        return self._front

    @property
    def hopeful(self) -> list[Batch]:
        """The frontier as it was known last, and what waits to be put into it."""
        return [self._front, *self._waiting]

    def update(self, batch: Batch) -> Frontier:
        """Take in candidates."""
        if len(batch.score):
            batch = batch.take(self._sieve(batch))
        if len(batch.score):
            self._waiting.append(batch)
        if sum(len(waiting.score) for waiting in self._waiting) > max(MOST_WAITING, len(self._front.score) / 2):
            self._front = self.front
        return self

    def merge(self, other: Frontier) -> Frontier:
        """Take in another's candidates."""
        return self.update(other.front)

    def finish(self) -> Batch:
        """The frontier: ascending in the first cost, then in the second."""
        return self.front

    def table(self) -> np.ndarray:
        """Per bucket of cost, the best raw score known among candidates strictly cheaper than the bucket (see Screen)."""
        return self._tabled

    def _sieve(self, batch: Batch) -> np.ndarray:
        """Indices of the candidates worth a closer look: not plainly dominated by those so far or by others of the batch."""
        if not np.any(self.scale.shift):
            self.scale = _scale(batch.costs)
        self._tabled = np.maximum(self._tabled, self._table(batch))
        bucket = np.clip(self._buckets(batch.costs), 0, BUCKETS[self.costs] - 1)
        hopeful = np.flatnonzero(batch.high > self._tabled[tuple(bucket.T)])
        if self.costs == 1 and len(self._front.score):  # and one by one where the front is a staircase
            step = np.searchsorted(self._front.costs[:, 0], batch.costs[hopeful, 0], side="right") - 1
            hopeful = hopeful[(step < 0) | (batch.score[hopeful] >= self._front.score[step])]
        return hopeful

    def _table(self, batch: Batch) -> np.ndarray:
        buckets = BUCKETS[self.costs]
        table = np.full((buckets,) * self.costs, -np.inf)
        bucket = self._buckets(batch.costs * (1 + ROUNDING)) + 1  # the first that is dearer as a whole
        bucket = np.maximum(bucket, 1)  # bucket 0 has no lower edge: nothing is cheaper
        inside = (bucket < buckets).all(axis=1)
        np.maximum.at(table, tuple(bucket[inside].T), batch.high[inside])
        for axis in range(self.costs):
            np.maximum.accumulate(table, axis=axis, out=table)
        return table

    def _buckets(self, costs: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            return leading_bits(costs.astype(np.float32), self.scale.shift) - self.scale.offset


def _scale(costs: np.ndarray) -> Scale:
    """As fine as gives all of some costs [n, costs] their buckets; what lies beyond shares the first and the last one."""
    count = costs.shape[1]
    with np.errstate(over="ignore"):
        lowest, highest = (leading_bits(end(costs, axis=0).astype(np.float32), 0) for end in (np.min, np.max))
    room = BUCKETS[count] - BUCKETS[count] // SPARE
    shift = np.full(count, FINEST, np.int32)
    while np.any(wide := (highest >> shift) - (lowest >> shift) >= room):
        shift += wide
    return Scale(shift, (lowest >> shift) - np.int32(BUCKETS[count] // SPARE))


def non_dominated(batch: Batch) -> Batch:
    """The non-dominated candidates of a batch, ascending in the costs; one of each set of equals."""
    import moocore

    batch = batch.ranked()
    points = np.column_stack([-batch.score, batch.costs])
    batch = batch.take(moocore.is_nondominated(points, keep_weakly=False))  # keeps the first of equals
    return batch.take(np.lexsort(tuple(batch.costs.T[::-1])))
