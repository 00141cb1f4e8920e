"""Cells: all candidates that share a trial's values on some axes, swept exactly by programs compiled once for all trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from perflaw_jax.engine import Engine, Problem
from perflaw_jax.exhaustive import sweep
from perflaw_jax.space import Space


@dataclass
class Cells:
    """The cells of a problem.

    Attributes:
        problem: the whole.
        open: positions of the axes on which a cell holds every value.
    """

    problem: Problem
    open: tuple[int, ...]
    _engine: Engine | None = field(default=None, init=False)

    def best(self, digits: Sequence[int]) -> int | None:
        """Id of the best candidate of the cell at ``digits`` (whatever they say on the open axes); None if none is feasible."""
        space = self._space(digits)
        self._engine = self._engine.on(space) if self._engine else Engine(replace(self.problem, space=space, costs=()))
        found = sweep(self._engine.problem, top=1, marginals=False, counts=False, engine=self._engine).top.finish()
        if not len(found.candidate_id):
            return None
        inside = space.digits(found.candidate_id)
        return int(self.problem.space.ids([inside[i][0] if i in self.open else d for i, d in enumerate(digits)]))

    def corners(self, digits: Sequence[int]) -> list[np.ndarray]:
        """Indices of the corners of the cell at ``digits``: per axis of the space, int64 [2 ** len(open)]."""
        ends = np.array(np.meshgrid(*((0, self.problem.space.shape[i] - 1) for i in self.open), indexing="ij"))
        ends = ends.reshape(len(self.open), -1)
        fixed = [np.full(ends.shape[1], d) for d in digits]
        return [ends[self.open.index(i)] if i in self.open else d for i, d in enumerate(fixed)]

    def _space(self, digits: Sequence[int]) -> Space:
        """The cell as a space of its own: the axes that are not open cut down to one value."""
        space = self.problem.space
        axes = [
            axis if i in self.open else replace(axis, values=(axis.values[digit],))
            for i, (axis, digit) in enumerate(zip(space.axes, digits, strict=True))
        ]
        return replace(space, axes=tuple(axes))
