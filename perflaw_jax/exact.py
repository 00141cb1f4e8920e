"""The exact search: what a sweep of the grid would keep, found by bounding boxes of it and dropping all that cannot matter.

Boxes are taken best bound first, cut where that lowers the bound most, and bounded on the device many at a time; small ones
are evaluated candidate by candidate as in a sweep. What remains is the sweep's result, ties included, with a certificate.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from perflaw_jax.box_bounds import BoxBounds
from perflaw_jax.boxes import BlockGrid, Boxes, Grid, unique
from perflaw_jax.certificate import Certificate, Found, Progress
from perflaw_jax.cuts import cut
from perflaw_jax.engine import BATCHES, Engine, Problem, as_batch, spread
from perflaw_jax.frontier import Frontier
from perflaw_jax.kernel import Decided, Task
from perflaw_jax.pilot import around
from perflaw_jax.prune import open_to_front, open_to_top
from perflaw_jax.reduce import TopK

PILOT_BLOCKS = 1024
SEEDS = 8  # candidates whose surroundings are tried while that finds better ones
ROUNDS = 3  # of that at most: the boxes find the rest sooner
FOLLOWED = 6  # times that blocks around the frontier's points are tried
PARENTS = (1024, 4096)  # boxes cut at a time: of many an eighth, since choosing them takes time as well
ALONG = 2**13  # of those of a frontier, all of which must be followed: no order finds it sooner
LEAF = 2  # blocks of neighbouring candidates in a box that is evaluated rather than cut
MOST_BOXES = 2**19  # waiting; beyond, the smallest come first
MOST_BLOCKS = 2**14  # evaluated at a time
NEAR = 1e-9  # relative: how near to a tie rounding may have brought a box
SHARPEN_AFTER = 2**20  # boxes bounded: a search that goes on for longer is worth another program, of sharper bounds
FEW = 256  # boxes so near a tie that are simply cut further


class Searcher:
    """The compiled programs of exact searches: of one problem, and of others that differ from it in numbers alone.

    Args:
        problem: what is searched.
        engine: reuse one's compiled programs.
    """

    def __init__(self, problem: Problem, engine: Engine | None = None):
        self.problem = problem
        self.engine = engine or Engine(problem)
        self._bounds = BoxBounds(Grid(problem.space), problem.costs)

    def search(
        self,
        problem: Problem | None = None,
        *,
        top: int = 10,
        frontier: tuple[str, ...] | None = None,
        gap: float = 0.0,
        least: float = -np.inf,
        near: np.ndarray | None = None,
        tick: Callable[[Progress], None] = lambda progress: None,
        most_boxes: int = MOST_BOXES,
        sharpen: bool = True,
    ) -> Found:
        """The best candidates of a space, and its frontier if the problem names costs, without going through all of it.

        Args:
            problem: the searcher's own if not given; another may differ in the numbers of its limits and law, and in ``spend``.
            top: how many of the best candidates to keep, 1 or more.
            frontier: the costs, of those that the problem names, that the frontier minimises: all of them if not given, none
                for no frontier.
            gap: leave out what cannot beat the last one kept, or the frontier, by more than this in score.
            least: leave out what scores less; of that, candidates may be among those found.
            near: ids of candidates around which good ones are expected, to be tried first in place of a spread of the grid.
            tick: called after every step.
            most_boxes: about how many boxes may wait; memory is a hundred bytes each.
            sharpen: where the search takes long, compile sharper bounds, which takes seconds.

        Raises:
            UnboundedPrimitive: the law uses a primitive that has no bounds.
        """
        engine = self.engine if problem is None else self.engine.at(problem)
        search = _Search(engine, self._bounds, top, frontier, gap, least, most_boxes, sharpen)
        search.start(near)
        while len(search.waiting.first):
            search.step()
            tick(search.progress())
        return search.found()

    def compile(self, problem: Problem) -> None:
        """Compile now what only some searches need: for many boxes or blocks at a time, and for many that tie."""
        engine = self.engine.at(problem)
        bounds = self._bounds.on(Task(problem.law, dict(problem.limits), problem.space.spend), ())
        bounds.compile(*Grid(problem.space).everything())
        for size in BATCHES:
            engine.decide(spread(engine.tiling.blocks, 1), size=size)


def exact_search(problem: Problem, *, engine: Engine | None = None, **options: Any) -> Found:
    """``Searcher(problem, engine).search(**options)``."""
    return Searcher(problem, engine).search(**options)


class _Search:
    """The state of a search: what is kept, and the boxes that wait."""

    def __init__(
        self,
        engine: Engine,
        bounds: BoxBounds,
        top: int,
        frontier: tuple[str, ...] | None,
        gap: float,
        least: float,
        most_boxes: int,
        may_sharpen: bool,
    ):
        problem = engine.problem
        costs = problem.costs if frontier is None else frontier
        self.costs = [problem.costs.index(cost) for cost in costs]
        self.engine, self.gap, self.least, self.most_boxes = engine, gap, least, most_boxes
        self.grid = Grid(problem.space)
        self.blocks = BlockGrid(self.grid, engine.tiling)
        self.bounds = bounds.on(Task(problem.law, dict(problem.limits), problem.space.spend), self.costs)
        self.top = TopK(top, len(costs))
        self.frontier = Frontier(len(costs)) if costs else None
        self.bounded = self.evaluated = self.near_ties = 0
        self.left_out = -np.inf  # best bound of what only the gap excused
        self.may_sharpen = may_sharpen
        self.pruned = 1  # boxes waiting when all were last looked through
        ends = self.grid.everything()
        unknown = np.full((1, 3 + len(costs)), -np.inf)
        self.waiting = Boxes(*ends, unknown, np.zeros(unknown.shape, bool))

    # --- good candidates, early ----------------------------------------------------------------------------------------

    def start(self, near: np.ndarray | None = None) -> None:
        """Bound the whole grid, then find something to beat: a spread of blocks, and what lies around the best of them."""
        self.waiting = self._bounded(*self.waiting[:2], self.waiting)
        if not len(self.waiting.first):
            return
        tiling = self.engine.tiling
        self._evaluate(spread(tiling.blocks, PILOT_BLOCKS) if near is None else self._around(near))
        best = None
        for _ in range(ROUNDS):
            if not len(self.top.best.score) or best == (best := self.top.best.candidate_id[:SEEDS].tolist()):
                break
            self._evaluate(self._around(np.asarray(best)))
        if self.frontier is not None:
            self._follow(self.frontier)

    def _follow(self, frontier: Frontier) -> None:
        """The same for its points: a box is dropped by those in its own reach of the costs, wherever the best score is."""
        random = np.random.default_rng(0)  # fixed: the same search takes the same steps
        for i in range(FOLLOWED):
            known = frontier.front.candidate_id
            if len(known):
                self._evaluate(around(self.engine, known, 2.0 ** -(i + 2), random, PILOT_BLOCKS))

    def _around(self, ids: np.ndarray) -> list[np.ndarray]:
        """Blocks at distances of 1, 2, 4, 8 ... along each axis from those of some candidates."""
        shape = self.engine.tiling.blocks
        centre, _ = self.engine.tiling.block_of(ids)
        near = []
        for axis, n in enumerate(shape):
            steps = 2 ** np.arange(n.bit_length())
            moved = np.clip(centre[axis] + np.concatenate([steps, -steps])[:, None], 0, n - 1)
            near.append([moved.ravel() if a == axis else np.tile(c, len(moved)) for a, c in enumerate(centre)])
        return unique([np.concatenate(c) for c in zip(*near, strict=True)], shape)

    def _evaluate(self, coordinates: list[np.ndarray]) -> None:
        """Evaluate blocks exactly and keep what is worth keeping."""
        for start in range(0, len(coordinates[0]), MOST_BLOCKS):
            some = [c[start : start + MOST_BLOCKS] for c in coordinates]
            decided, ids, real = self._decide(some)
            batch = as_batch(decided, ids, real)
            self.evaluated += int(real.sum())
            self.top.update(batch)
            if self.frontier is not None:
                self.frontier.update(batch)

    def _decide(self, coordinates: list[np.ndarray]) -> tuple[Decided, np.ndarray, np.ndarray]:
        decided, ids, real = self.engine.decide(coordinates)
        return decided._replace(costs=tuple(decided.costs[i] for i in self.costs)), ids, real

    # --- boxes ---------------------------------------------------------------------------------------------------------

    def step(self) -> None:
        """Take the most promising boxes: evaluate the small ones, cut the others."""
        if self.bounded > SHARPEN_AFTER and self.may_sharpen:
            self._sharpen()
        picked = self._pick()
        picked = picked.take(self._open(picked))
        if not len(picked.first):
            self.waiting = self.waiting.take(self._open(self.waiting))
            return
        small = self.blocks.count(picked.first, picked.last) <= LEAF
        self._evaluate(self.blocks.inside(picked.first[small], picked.last[small]))
        large = picked.take(~small)
        if len(large.first):
            first, last, parent = cut(large, self.bounds, self.blocks, self.frontier, self.most_boxes)
            self.waiting = Boxes.join([self.waiting, self._bounded(first, last, large.take(parent))])
        if len(self.waiting.first) > 2 * self.pruned:
            self.waiting = self.waiting.take(self._open(self.waiting))
            self.pruned = max(2 * PARENTS[0], len(self.waiting.first))

    def _pick(self) -> Boxes:
        """Take the boxes to be cut from those waiting: the best, or the smallest where too many wait."""
        boxes = self.waiting
        crowded = len(boxes.first) > self.most_boxes
        count = int(np.clip(len(boxes.first) // 8, *PARENTS)) if self.frontier is None else ALONG
        count = max(1, min(count, self.most_boxes // 16))
        if len(boxes.first) <= count:
            chosen = np.ones(len(boxes.first), bool)
        elif crowded:
            chosen = _lowest(self.grid.sizes(boxes.first, boxes.last), boxes.least[:, 0], count)
        else:
            chosen = _lowest(boxes.least[:, 0], boxes.least[:, 1], count)
        self.waiting = boxes.take(~chosen)
        return boxes.take(chosen)

    def _bounded(self, first: np.ndarray, last: np.ndarray, parents: Boxes) -> Boxes:
        """Of pieces of boxes, those that may matter, with their bounds and what their parents knew."""
        feasible, least = self.bounds.least(first, last)
        self.bounded += len(first)
        boxes = Boxes(first, last, np.maximum(least, parents.least), parents.exact).take(feasible)
        boxes = boxes._replace(least=np.where(boxes.exact, parents.least[feasible], boxes.least))
        return self._settle_ties(boxes.take(self._open(boxes)))

    def _sharpen(self) -> None:
        """From here on bounds by slopes, for what waits as well."""
        self.may_sharpen, self.bounds = False, self.bounds.sharpened()
        self.waiting = self._bounded(*self.waiting[:2], self.waiting)

    def _open(self, boxes: Boxes) -> np.ndarray:
        """Mask of the boxes that may hold something to keep."""
        ids = self.grid.least_ids(boxes.first, boxes.last)
        wanted = self._wanted(boxes.least, ids)
        if not self.gap:
            return wanted
        worth_it = self._wanted(boxes.least + self.gap * (np.arange(boxes.least.shape[1]) == 0), ids)
        self.left_out = max(self.left_out, -boxes.least[wanted & ~worth_it, 0].min(initial=np.inf))
        return worth_it

    def _wanted(self, least: np.ndarray, ids: np.ndarray) -> np.ndarray:
        wanted = open_to_top(self.top, least, ids)
        if self.frontier is not None:
            wanted |= open_to_front(self.frontier.front, least, ids)
        return wanted & (-least[:, 0] >= self.least)

    def _settle_ties(self, boxes: Boxes) -> Boxes:
        """Where only rounding keeps boxes from being dropped, find out whether all their candidates are equal.

        What is the same all over a box is then known exactly, from one candidate, to the box and to all its pieces.
        """
        with np.errstate(invalid="ignore"):
            raised = boxes.least + np.where(boxes.exact, 0, NEAR * (1 + np.abs(boxes.least)))
        near = np.flatnonzero(~self._wanted(raised, self.grid.least_ids(boxes.first, boxes.last)))
        self.near_ties += len(near)
        if self.near_ties <= FEW or not len(near):
            return boxes
        same = self.bounds.same(boxes.first[near], boxes.last[near]) & ~boxes.exact[near]
        near, same = near[same.any(axis=1)], same[same.any(axis=1)]
        boxes.least[near] = np.where(same, self._ranks(boxes.first[near]), boxes.least[near])
        boxes.exact[near] |= same
        return boxes.take(self._open(boxes))

    def _ranks(self, places: np.ndarray) -> np.ndarray:
        """What ranks the candidates at some places [m, axes], as in ``Boxes.least`` [m, 3 + costs]."""
        blocks, lane = self.engine.tiling.block_of(self.grid.space.ids(self.grid.digits(places)))
        decided, _, _ = self._decide(blocks)
        ranks = (-decided.score, decided.training_flops, decided.total_params, *decided.costs)
        ranks = np.stack([rank[np.arange(len(lane)), lane] for rank in ranks], axis=1)
        return np.where(np.isnan(ranks), np.inf, ranks)

    # --- what is known -------------------------------------------------------------------------------------------------

    @property
    def best(self) -> float:
        """The best score found."""
        return float(self.top.best.score[0]) if len(self.top.best.score) else -np.inf

    def progress(self) -> Progress:
        """How far the search is."""
        left = float(self.grid.sizes(self.waiting.first, self.waiting.last).sum()) / self.grid.space.size
        upper = max(self.best, self.left_out, -self.waiting.least[:, 0].min(initial=np.inf))
        return Progress(1 - left, self.bounded, len(self.waiting.first), self.best, upper)

    def found(self) -> Found:
        """The result."""
        upper = max(self.best, self.left_out, self.least)
        certificate = Certificate(self.grid.space.size, self.bounded, self.evaluated, self.best, upper)
        return Found(self.top, self.frontier, certificate)


def _lowest(key: np.ndarray, then: np.ndarray, count: int) -> np.ndarray:
    """Mask of the ``count`` rows with the lowest key; of those equal at the limit, the lowest in ``then``."""
    limit = np.partition(key, count - 1)[count - 1]
    chosen = key < limit
    level = np.flatnonzero(key == limit)
    room = count - int(chosen.sum())
    chosen[level[np.argpartition(then[level], room - 1)[:room]] if room < len(level) else level] = True
    return chosen
