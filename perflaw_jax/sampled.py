"""The Optuna search: a sampler proposes, every batch is repaired and evaluated exactly in one call, the sampler learns.

A trial is one candidate, or with a cell all candidates that share the values it proposes: the engine then sweeps them, and the
trial is worth what the best of them is worth. Limits are hard: a trial that breaks one is told as a violated constraint, with
a value below any that counts, and is never reported.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from perflaw_jax.cells import Cells
from perflaw_jax.columns import Columns
from perflaw_jax.engine import Problem, Rows, spread
from perflaw_jax.kernel import Task
from perflaw_jax.objective import make_design, violation
from perflaw_jax.proposals import Choices
from perflaw_jax.samplers import LIMITS, Proposer, Verdict
from perflaw_jax.studies import Finished, Told

SAMPLE = 256  # candidates that show where scores lie
UNKNOWN_COST = 1e100  # told where a cost is no number


class Judged(NamedTuple):
    """Trials evaluated exactly: the candidates that they stand for, and how far each breaks the limits (0: not at all)."""

    rows: Rows
    violation: np.ndarray


@dataclass
class Judge:
    """Evaluates batches of trials; every program is compiled once.

    Attributes:
        columns: of the problem's engine; its sign tells whether more is better.
        choices: what the trials vary.
        multi: whether the frontier's costs are objectives beside the score.
        batch: trials that are asked for, evaluated and told together.
    """

    columns: Columns
    choices: Choices
    multi: bool = False
    batch: int = 16
    floor: float = field(init=False)  # what a trial that just misses a limit is worth, in the engine's sign
    span: float = field(init=False)  # what it may lose further

    def __post_init__(self) -> None:
        """Look at a sample of the space for the scale of its scores."""
        self._cells = Cells(self.problem, self.choices.open)
        space = self.problem.space
        decided = self.columns.of(space.ids(spread(space.shape, SAMPLE)), size=self.batch).decided
        known = decided.score[decided.feasible] if decided.feasible.any() else decided.score[np.isfinite(decided.score)]
        low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)
        self.span = high - low + 1
        self.floor = low - self.span

    @property
    def problem(self) -> Problem:
        """What is searched."""
        return self.columns.engine.problem

    def judge(self, proposals: np.ndarray) -> Judged:
        """Evaluate proposals [n, axes that vary], n <= batch."""
        count = len(proposals)
        digits = self.choices.digits(np.concatenate([proposals, np.repeat(proposals[-1:], self.batch - count, axis=0)]))
        if self.choices.cell:
            ids = np.array([self._best_of_cell([int(d[i]) for d in digits]) for i in range(count)])
            rows = self.columns.of(ids, size=self.batch)
        else:
            rows = self.columns.of(self.problem.space.ids(digits), size=self.batch)
        if rows.decided.feasible.all():
            broken = np.zeros(len(rows.ids))
        else:
            broken = np.where(rows.decided.feasible, 0.0, self.violations(rows.digits))
        return jax.tree.map(lambda leaf: leaf[:count], Judged(rows, broken))

    def verdicts(self, judged: Judged) -> list[Verdict]:
        """What the sampler is told."""
        decided, broken = judged.rows.decided, judged.violation
        score = np.where(broken > 0, self.floor - self.span * broken / (1 + broken), decided.score)
        costs = [np.where(np.isfinite(c), c, UNKNOWN_COST) for c in decided.costs] if self.multi else []
        values = np.stack([self.columns.sign * score, *costs], axis=1)
        return [Verdict(tuple(v), amount) for v, amount in zip(values.tolist(), broken.tolist(), strict=True)]

    def violations(self, digits: Sequence[np.ndarray]) -> np.ndarray:
        """How far candidates that are not feasible break the limits, by their indices along each axis [n]."""
        space = self.problem.space
        with jax.enable_x64(True):
            task = Task(self.problem.law, dict(self.problem.limits), space.spend)
            return np.asarray(_violations(space.fields(digits), task))

    def _best_of_cell(self, digits: list[int]) -> int:
        """The best candidate of a cell; where none is feasible, the corner that breaks the limits least."""
        best = self._cells.best(digits)
        if best is not None:
            return best
        corners = self._cells.corners(digits)
        return int(self.problem.space.ids(corners)[np.argmin(self.violations(corners))])


@jax.jit
@partial(jax.vmap, in_axes=(0, None))
def _violations(fields: dict[str, Any], task: Task) -> Any:
    design = make_design(fields, task.spend)
    return violation(design, task.law.raw(design), task.limits)


def search(
    judge: Judge, proposer: Proposer, finished: Finished, tick: Callable[[int, float], None] = lambda missing, best: None
) -> list[int]:
    """Search until the total of ``finished`` is reached.

    Args:
        judge: evaluates the trials.
        proposer: proposes them, and learns.
        finished: keeps them; its total may be reached with the help of other processes.
        tick: called after every batch with the number of trials still missing and the best score so far (infinite if none).

    Returns:
        The candidate ids of all finished trials, in their order.
    """
    sign, best = judge.columns.sign, -np.inf
    names, axes = list(judge.choices.counts), [axis.field for axis in judge.problem.space.axes]
    while missing := finished.missing():
        news = finished.news()
        proposer.learn(news)
        asked = [proposer.ask() for _ in range(min(judge.batch, missing))]
        judged = judge.judge(np.array([[a.params[name] for name in names] for a in asked], np.int64).reshape(len(asked), -1))
        verdicts = judge.verdicts(judged)
        fields = judge.problem.space.fields(judged.rows.digits)
        places = zip(*(fields[name].tolist() for name in axes), strict=True)
        ids = judged.rows.ids.tolist()
        finished.add(
            [
                Told(a.params, v.values, id, dict(zip(axes, place, strict=True)), proposer.tell(a, v))
                for a, v, id, place in zip(asked, verdicts, ids, places, strict=True)
            ]
        )
        scores = [v.values[0] for v in verdicts if not v.violation]
        scores += [t.values[0] for t in news if not t.constraints[LIMITS]]
        best = max([best, *(sign * score for score in scores)])
        tick(missing - len(asked), sign * best)
    return finished.ids()
