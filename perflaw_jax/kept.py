"""What a sweep keeps, all reducers together, and what they ask of a block that is to matter to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from perflaw_jax.asked import Asked, single
from perflaw_jax.engine import Engine, Problem
from perflaw_jax.frontier import Frontier
from perflaw_jax.reduce import Batch, Counts, Marginals, Screen, TopK, distinct


@dataclass
class Kept:
    """The reducers of a sweep; those that are None are not kept."""

    top: TopK
    frontier: Frontier | None
    marginals: Marginals | None
    counts: Counts | None

    @staticmethod
    def empty(problem: Problem, *, top: int, marginals: bool, counts: bool) -> Kept:
        """Reducers that have seen nothing."""
        costs = len(problem.costs)
        return Kept(
            TopK(top, costs),
            Frontier(costs) if costs else None,
            Marginals(problem.space) if marginals else None,
            Counts() if counts else None,
        )

    def update(self, batch: Batch) -> None:
        """Take in exactly evaluated feasible candidates."""
        for reducer in (self.top, self.frontier, self.marginals):
            if reducer is not None:
                reducer.update(batch)

    def ids(self) -> np.ndarray:
        """The ids of all candidates that are in any reducer, ascending."""
        return distinct(self._ids([self.frontier.front] if self.frontier else []))

    def hopeful(self) -> np.ndarray:
        """The same and those that may yet enter one, in no order and some several times: known without sorting any out."""
        return self._ids(self.frontier.hopeful if self.frontier else [])

    def _ids(self, front: Sequence[Batch]) -> np.ndarray:
        marginals = self.marginals.best if self.marginals else []
        ids = np.concatenate([batch.candidate_id for batch in (self.top.best, *front, *marginals)])
        return ids[ids >= 0]

    def merge(self, other: Kept) -> Kept:
        """Take in what another sweep of the same problem kept."""
        for name in ("top", "frontier", "marginals", "counts"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine is not None and theirs is not None:
                mine.merge(theirs)
        return self

    def asked(self, engine: Engine) -> Asked:
        """What a block must reach to matter to the reducers as they stand."""
        screen = Screen(single(engine.margin), single(self.top.floor()))
        if self.frontier is not None:
            screen = screen._replace(table=single(self.frontier.table()), scale=self.frontier.scale)
        return Asked.of(engine.tiling, screen, self.marginals.floors() if self.marginals is not None else [])
