"""What an exact search found, with the proof of it, and how far one under way is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from perflaw_jax.frontier import Frontier
from perflaw_jax.reduce import TopK


@dataclass(frozen=True)
class Certificate:
    """Proof of a search's result.

    Attributes:
        candidates: how many the space holds; each was evaluated, or lies in a box that was shown not to matter.
        boxes: how many boxes were bounded.
        evaluated: how many times single candidates were evaluated, some of them twice.
        best: the best score found, -inf if no candidate is feasible.
        upper: no candidate that was left out scores more; ``best`` where the search is complete.
    """

    candidates: int
    boxes: int
    evaluated: int
    best: float
    upper: float

    @property
    def gap(self) -> float:
        """How much better than the best found a candidate could still be: 0 for a complete search."""
        return self.upper - self.best if self.upper > self.best else 0.0


@dataclass(frozen=True)
class Found:
    """What a search found: reducers as a sweep keeps them. How many candidates are feasible is not known to it."""

    top: TopK
    frontier: Frontier | None
    certificate: Certificate
    marginals: None = None
    counts: None = None


class Progress(NamedTuple):
    """How far a search is."""

    settled: float  # share of the candidates, from 0 to 1
    boxes: int  # bounded so far
    waiting: int  # boxes still to be looked into
    best: float  # score found, -inf if none
    upper: float  # bound of what may still be found
