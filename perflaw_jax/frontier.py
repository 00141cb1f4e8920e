"""The exact Pareto frontier of the score against one or two minimised costs, as a monoid.

Of candidates equal in the score and in every cost one is kept: the first in the order of merit (fewer training FLOPs, fewer
parameters, lower id).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from perflaw_jax.reduce import BUCKETS, Batch, leading_bits

ROUNDING = 1e-4  # relative: much more than the error of a cost in float32


@dataclass
class Frontier:
    """The candidates that no other beats: as good a score at no higher cost, and better in at least one."""

    costs: int
    front: Batch = field(init=False)  # ascending in the first cost
    offset: np.ndarray | None = field(init=False, default=None)  # leading bits of the first bucket, int32 per cost
    _tabled: tuple[Batch, np.ndarray] | None = field(init=False, default=None)  # a front and its table

    def __post_init__(self) -> None:
        """Start with no candidates."""
        self.front = Batch.none(self.costs)

    def update(self, batch: Batch) -> Frontier:
        """Take in candidates."""
        if len(batch.score):
            batch = batch.take(self._sieve(batch))
        if len(batch.score):
            self.front = non_dominated(Batch.join([self.front, batch]))
        return self

    def merge(self, other: Frontier) -> Frontier:
        """Take in another's candidates."""
        return self.update(other.front)

    def finish(self) -> Batch:
        """The frontier: ascending in the first cost, then in the second."""
        return self.front

    def table(self) -> np.ndarray:
        """Per bucket of cost, the best raw score known among candidates strictly cheaper than the bucket (see Screen)."""
        if self._tabled is None or self._tabled[0] is not self.front:
            self._tabled = self.front, self._table(self.front)
        return self._tabled[1]

    def _sieve(self, batch: Batch) -> np.ndarray:
        """Mask of the candidates worth a closer look: not plainly dominated by the front or by others of the batch."""
        if self.offset is None:  # the cheapest known, and a quarter of the range for what is cheaper still
            self.offset = self._bits(batch.costs.min(axis=0)) - np.int32(BUCKETS[self.costs] // 4)
        table = np.maximum(self.table(), self._table(batch))
        bucket = np.clip(self._bits(batch.costs) - self.offset, 0, BUCKETS[self.costs] - 1)
        hopeful = batch.high > table[tuple(bucket.T)]
        if self.costs == 1 and len(self.front.score):  # and one by one where the front is a staircase
            step = np.searchsorted(self.front.costs[:, 0], batch.costs[:, 0], side="right") - 1
            hopeful &= (step < 0) | (batch.score >= self.front.score[step])
        return hopeful

    def _table(self, batch: Batch) -> np.ndarray:
        buckets = BUCKETS[self.costs]
        table = np.full((buckets,) * self.costs, -np.inf)
        if len(batch.score):
            bucket = self._bits(batch.costs * (1 + ROUNDING)) - self.offset + 1  # the first that is dearer as a whole
            bucket = np.maximum(bucket, 1)  # bucket 0 has no lower edge: nothing is cheaper
            inside = (bucket < buckets).all(axis=1)
            np.maximum.at(table, tuple(bucket[inside].T), batch.high[inside])
            for axis in range(self.costs):
                np.maximum.accumulate(table, axis=axis, out=table)
        return table

    def _bits(self, costs: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            return leading_bits(costs.astype(np.float32), self.costs)


def non_dominated(batch: Batch) -> Batch:
    """The non-dominated candidates of a batch, ascending in the costs; one of each set of equals."""
    import moocore

    batch = batch.ranked()
    points = np.column_stack([-batch.score, batch.costs])
    batch = batch.take(moocore.is_nondominated(points, keep_weakly=False))  # keeps the first of equals
    return batch.take(np.lexsort(tuple(batch.costs.T[::-1])))
