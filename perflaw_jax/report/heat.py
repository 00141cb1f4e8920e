"""Heat maps: the best score over two axes of a grid, from rows that were kept or from the grid swept once more."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from perflaw_jax.columns import Columns
from perflaw_jax.design import nearest
from perflaw_jax.engine import Engine, Problem
from perflaw_jax.exhaustive import sweep
from perflaw_jax.report.frames import HeatMap, axis_view, kept_places
from perflaw_jax.space import Space

MOST_SWEPT = 2**33  # candidates, over all sweeps of one report
USUAL = ("num_hidden_layers", "hidden_size")
Ids = Iterable[tuple[np.ndarray, np.ndarray]]  # candidate ids [n] and their scores [n], batch by batch


@dataclass(frozen=True)
class Plan:
    """Which pairs of axes are shown, and which of their values.

    Attributes:
        space: the grid.
        first, second: the pair that is shown first, as positions of axes; each is paired with every other axis as well.
        best: index of the best design along each axis.
        sign: -1 where less is better.
    """

    space: Space
    first: int
    second: int
    best: Sequence[int]
    sign: int
    kept: list[np.ndarray] = field(init=False)  # per axis, the positions of the values that are shown

    def __post_init__(self) -> None:
        """Thin every axis."""
        kept = [kept_places(n, at) for n, at in zip(self.space.shape, self.best, strict=True)]
        object.__setattr__(self, "kept", kept)

    @property
    def others(self) -> list[int]:
        """Axes that vary, other than the first pair."""
        return [i for i, n in enumerate(self.space.shape) if n > 1 and i not in (self.first, self.second)]

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """All pairs, that of the first and the second axis first."""
        own = [(self.first, other) for other in (self.second, *self.others)]
        return own + [(self.second, other) for other in self.others]

    def map(self, pair: tuple[int, int], signed: np.ndarray, how: str) -> HeatMap:
        """The heat map of signed scores [kept, kept], -inf where there is none."""
        down, across = (self.space.axes[i] for i in pair)
        rows, columns = (np.asarray(self.space.axes[i].values)[self.kept[i]] for i in pair)
        score = np.where(np.isfinite(signed), self.sign * signed, np.nan)
        up, right = np.argsort(rows), np.argsort(columns)  # a spec may list values in any order
        thin = {
            axis_view(self.space.axes[i]).label: np.diff(self.kept[i])[0]
            for i in pair
            if len(self.kept[i]) < self.space.shape[i]
        }
        told = "; ".join(f"of {name} one value in {step}" for name, step in thin.items())
        return HeatMap(
            axis_view(down),
            axis_view(across),
            rows[up],
            columns[right],
            score[np.ix_(up, right)],
            f"{how} ({told})" if told else how,
        )


def choose_pair(space: Space, wanted: Sequence[str] | None) -> tuple[int, int]:
    """Positions of the two axes to show first; ValueError where the grid has no such two."""
    names = [axis.field for axis in space.axes]
    vary = [name for name, n in zip(names, space.shape, strict=True) if n > 1]
    if wanted is None:
        if len(vary) < 2:
            raise ValueError("a heat map needs two axes with more than one value, and this grid has fewer")
        usual = [name for name in USUAL if name in vary]
        wanted = [*usual, *(name for name in vary if name not in usual)][:2]
    for name in wanted:
        if name not in vary:
            raise ValueError(f"--heat: no axis {name!r} with more than one value here; {nearest(name, vary)}")
    if len(wanted) != 2 or wanted[0] == wanted[1]:
        raise ValueError(f"--heat: write two different axes, AXIS,AXIS; here there are {', '.join(vary)}")
    return names.index(wanted[0]), names.index(wanted[1])


def from_rows(plan: Plan, rows: Ids) -> list[HeatMap]:
    """Heat maps of all pairs from all feasible rows, which stream past and are not kept."""
    places = [np.full(n, -1) for n in plan.space.shape]
    for place, kept in zip(places, plan.kept, strict=True):
        place[kept] = np.arange(len(kept))
    best = [np.full((len(plan.kept[a]), len(plan.kept[b])), -np.inf) for a, b in plan.pairs]
    axes = {axis for pair in plan.pairs for axis in pair}
    for ids, score in rows:
        signed = plan.sign * score
        digits = {axis: places[axis][plan.space.digit(ids, axis)] for axis in axes}
        for (a, b), cells in zip(plan.pairs, best, strict=True):
            shown = (digits[a] >= 0) & (digits[b] >= 0)
            np.maximum.at(cells, (digits[a][shown], digits[b][shown]), signed[shown])
    how = "the best of all feasible rows with these two values"
    return [plan.map(pair, cells, how) for pair, cells in zip(plan.pairs, best, strict=True)]


def from_sweeps(plan: Plan, problem: Problem, cost: int) -> list[HeatMap]:
    """Heat maps from sweeps with one axis held at each of its values; ``cost`` is that of a whole sweep, in candidates.

    Pairs with the second axis are left out where the grid is too large to be swept twice.
    """
    problem = replace(problem, costs=())
    held = [plan.first, plan.second] if 2 * cost <= MOST_SWEPT and plan.others else [plan.first]
    found = {}
    for axis in held:
        others = [b for a, b in plan.pairs if a == axis]
        found |= {(axis, other): cells for other, cells in zip(others, _held(plan, problem, axis, others), strict=True)}
    how = "the best of all candidates with these two values under the limits"
    return [plan.map(pair, cells, how) for pair, cells in found.items()]


def _held(plan: Plan, problem: Problem, axis: int, others: Sequence[int]) -> list[np.ndarray]:
    """Signed best scores over one axis and each of the others: [kept, kept] each."""
    engine, best = None, [np.full((len(plan.kept[axis]), len(plan.kept[b])), -np.inf) for b in others]
    for row, place in enumerate(plan.kept[axis]):
        axes = list(plan.space.axes)
        axes[axis] = replace(axes[axis], values=(axes[axis].values[place],))
        space = replace(plan.space, axes=tuple(axes))
        engine = engine.on(space) if engine else Engine(replace(problem, space=space))  # programs are compiled once
        kept = sweep(engine.problem, top=1, counts=False, engine=engine).marginals
        for cells, other in zip(best, others, strict=True):
            cells[row] = kept.finish()[other].score[plan.kept[other]] if kept else -np.inf
    return best


def slices(plan: Plan, columns: Columns) -> list[HeatMap]:
    """Heat maps of single designs: all but two axes stay where the best design has them."""
    maps = []
    for pair in plan.pairs:
        a, b = np.meshgrid(plan.kept[pair[0]], plan.kept[pair[1]], indexing="ij")
        digits = [np.full(a.size, at) for at in plan.best]
        digits[pair[0]], digits[pair[1]] = a.ravel(), b.ravel()
        decided = columns.of(plan.space.ids(digits)).decided
        signed = np.where(decided.feasible, decided.score, -np.inf).reshape(a.shape)
        how = "a slice through the best design: all else is as there, for the grid is too large to be swept for this"
        maps.append(plan.map(pair, signed, how))
    return maps
