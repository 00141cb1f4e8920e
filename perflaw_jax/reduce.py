"""What a sweep keeps, as monoids over exactly evaluated candidates: top-k, marginals, counts. The frontier has its own file.

Each reducer starts empty and has ``update(batch)``, ``merge(other)`` and ``finish()``; tiles, devices and hosts may be combined
in any order with the same result. Each also says what a block must reach to matter still (``Screen``), so that the device can
pass over nearly everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, NamedTuple

import numpy as np

from perflaw_jax.design import Scalar
from perflaw_jax.space import Space


class Batch(NamedTuple):
    """Feasible candidates with exact results, one array entry [n] each."""

    candidate_id: np.ndarray  # int64
    score: np.ndarray  # float64, more is better (laws of which less is better are negated)
    training_flops: np.ndarray
    total_params: np.ndarray
    low: np.ndarray  # least raw score that could reach this score
    high: np.ndarray  # a raw score that this score is still at least as good as
    costs: np.ndarray  # [n, number of frontier costs]

    def take(self, index) -> Batch:
        """The candidates at an index array, slice or mask."""
        return Batch(*(column[index] for column in self))

    def ranked(self) -> Batch:
        """In the order of merit: higher score, then fewer training FLOPs, then fewer parameters, then lower id."""
        return self.take(np.lexsort((self.candidate_id, self.total_params, self.training_flops, -self.score)))

    @staticmethod
    def join(batches: Sequence[Batch]) -> Batch:
        """All candidates of several batches."""
        return Batch(*(np.concatenate(columns) for columns in zip(*batches, strict=True)))

    @staticmethod
    def none(costs: int) -> Batch:
        """No candidates."""
        empty = np.empty(0)
        return Batch(np.empty(0, np.int64), empty, empty, empty, empty, empty, np.empty((0, costs)))


class Scale(NamedTuple):
    """Buckets of costs, so many to an octave as the range of the costs allows; int32 [costs] each."""

    shift: Scalar  # bits of a float32 cost that do not matter
    offset: Scalar  # leading bits of the first bucket


class Screen(NamedTuple):
    """What a block's best raw score must reach to matter, as numbers that enter the device program.

    ``margin`` bounds the float32 error of a raw score relative to ``1 + |raw|``. ``table`` holds, per bucket of each cost (see
    ``Scale``), the best raw score known among candidates that are strictly cheaper than the whole bucket.
    """

    margin: Scalar
    floor: Scalar  # of the top-k: reaching it may still enter
    table: Scalar | None = None
    scale: Scale | None = None


def distinct(ids: np.ndarray) -> np.ndarray:
    """``np.unique`` of int64 ids by sorting, a tenth of the time that hashing takes."""
    ids = np.sort(ids)
    return ids[np.diff(ids, prepend=ids[:1] - 1) != 0]


def leading_bits(cost: Scalar, shift: Scalar) -> Scalar:
    """Exponent and first bits of the mantissa of a float32 cost >= 0, as an int32 that rises with it: a bucket without a log.

    >>> [int(leading_bits(np.float32(cost), 17) - leading_bits(np.float32(1), 17)) for cost in (1, 1.5, 2, 4)]
    [0, 32, 64, 128]
    """
    return cost.view("int32") >> shift


def asked_at(xp: Any, screen: Screen, costs: Sequence[Scalar]) -> Scalar:
    """The raw score below which nothing of these costs matters to the top-k or the frontier.

    ``xp`` is jax.numpy on the device and numpy for the second look on the host.
    """
    if screen.table is None or screen.scale is None:
        return screen.floor
    last = screen.table.shape[0] - 1
    index = []
    for i, cost in enumerate(costs):
        place = leading_bits(cost, screen.scale.shift[i]) - screen.scale.offset[i]
        place = xp.where(cost < xp.inf, place, 0)  # an unknown cost is none at all
        index.append(xp.clip(place, 0, last))
    return xp.minimum(screen.floor, screen.table[tuple(index)])


def reach(screen: Screen, best: Scalar) -> Scalar:
    """The highest that a float32 raw score may be in truth; NaN for -inf."""
    return best + screen.margin * (1 + abs(best))


def excess(xp: Any, screen: Screen, best: Scalar, costs: Sequence[Scalar], axis_floors: Sequence[Scalar]) -> Scalar:
    """By how much a block's best raw score passes what some reducer asks of it: the block matters where this is >= 0.

    ``axis_floors`` are the least raw scores at the block's values on each axis. NaN, which is never >= 0, for a block without
    candidates (best = -inf).
    """
    return reach(screen, best) - reduce(xp.minimum, axis_floors, asked_at(xp, screen, costs))


@dataclass
class TopK:
    """The k best candidates in the order of merit."""

    k: int
    costs: int = 0
    best: Batch = field(init=False)

    def __post_init__(self) -> None:
        """Start with no candidates."""
        self.best = Batch.none(self.costs)

    def update(self, batch: Batch) -> TopK:
        """Take in candidates, none of them twice in one batch."""
        if len(self.best.score) == self.k:
            batch = batch.take(np.flatnonzero(batch.score >= self.best.score[-1]))
        if len(batch.score) > self.k:
            batch = batch.take(np.flatnonzero(batch.score >= np.partition(batch.score, -self.k)[-self.k]))
        if len(batch.score):
            ranked = Batch.join([self.best, batch]).ranked()
            once = np.diff(ranked.candidate_id, prepend=-1) != 0  # a candidate may be met twice, and is then next to itself
            self.best = ranked.take(once).take(slice(self.k))
        return self

    def merge(self, other: TopK) -> TopK:
        """Take in another's candidates."""
        return self.update(other.best)

    def finish(self) -> Batch:
        """The best candidates, best first."""
        return self.best

    def floor(self) -> float:
        """Raw score below which nothing can enter any more."""
        return float(self.best.low[-1]) if len(self.best.score) == self.k else -np.inf


@dataclass
class Marginals:
    """The best candidate at every value of every axis."""

    space: Space
    best: list[Batch] = field(init=False)  # per axis, [n values]; candidate_id -1 and score -inf where none is known

    def __post_init__(self) -> None:
        """Start with no candidates."""
        self.best = [
            Batch(
                candidate_id=np.full(n, -1),
                score=np.full(n, -np.inf),
                training_flops=np.full(n, np.inf),
                total_params=np.full(n, np.inf),
                low=np.full(n, -np.inf),
                high=np.full(n, -np.inf),
                costs=np.empty((n, 0)),
            )
            for n in self.space.shape
        ]

    def update(self, batch: Batch) -> Marginals:
        """Take in candidates."""
        batch = batch._replace(costs=np.empty((len(batch.score), 0)))
        for axis, digit in enumerate(self.space.digits(batch.candidate_id)):
            best = self.best[axis].score.copy()
            np.maximum.at(best, digit, batch.score)
            hopeful = np.flatnonzero(batch.score >= best[digit])
            if len(hopeful):
                ranked = batch.take(hopeful).ranked()
                values, first = np.unique(self.space.digit(ranked.candidate_id, axis), return_index=True)
                self._challenge(axis, values, ranked.take(first))  # the first in the order of merit
        return self

    def merge(self, other: Marginals) -> Marginals:
        """Take in another's candidates."""
        for axis, theirs in enumerate(other.best):
            known = np.flatnonzero(theirs.candidate_id >= 0)
            self._challenge(axis, known, theirs.take(known))
        return self

    def finish(self) -> list[Batch]:
        """Per axis, the best candidate at each value."""
        return self.best

    def floors(self) -> list[np.ndarray]:
        """Per axis, the raw score below which nothing can become the best at a value."""
        return [b.low for b in self.best]

    def _challenge(self, axis: int, values: np.ndarray, batch: Batch) -> None:
        """Put each candidate in place of the one at its axis value where it ranks before it."""
        mine = self.best[axis].take(values)
        keys = ("score", "training_flops", "total_params", "candidate_id")
        wins, level = np.zeros(len(values), bool), np.ones(len(values), bool)
        for key in keys:
            new, old = getattr(batch, key), getattr(mine, key)
            wins |= level & ((new > old) if key == "score" else (new < old))
            level &= new == old
        for column, new in zip(self.best[axis], batch, strict=True):
            column[values[wins]] = new[wins]


@dataclass
class Counts:
    """How many candidates there are, how many are feasible, and how many each limit cuts (one may be cut by several)."""

    candidates: int = 0
    feasible: int = 0
    cut: dict[str, int] = field(default_factory=dict)

    def update(self, candidates: int, holds: dict[str, float]) -> Counts:
        """Take in a tile: its number of candidates, and how many of them each check holds for."""
        cut = {name: candidates - round(float(n)) for name, n in holds.items()}
        feasible = candidates - cut.pop("feasible")
        if not cut.get("finite_score"):  # of most laws every score is finite, and nothing is said of it
            cut.pop("finite_score", None)
        return self.merge(Counts(candidates, feasible, cut))

    def merge(self, other: Counts) -> Counts:
        """Add another's counts."""
        self.candidates += other.candidates
        self.feasible += other.feasible
        self.cut = {name: self.cut.get(name, 0) + other.cut.get(name, 0) for name in {**self.cut, **other.cut}}
        return self

    def finish(self) -> Counts:
        """The counts."""
        return self
