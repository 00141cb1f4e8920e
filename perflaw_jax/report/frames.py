"""What the figures are drawn from: scores with their direction, axes of the grid, what is read off a table of scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from perflaw_jax.design import is_fraction
from perflaw_jax.display import points, power, share, short, whole
from perflaw_jax.figure_style import label
from perflaw_jax.space import Axis

if TYPE_CHECKING:
    from pandas import DataFrame

MOST_CELLS = 64  # values of an axis in a heat map
MOST_POINTS = 1000  # of one line


@dataclass(frozen=True)
class Score:
    """What a score is, and which way is better."""

    metric: str
    higher_is_better: bool = True

    @property
    def sign(self) -> int:
        """Times this, more is better."""
        return 1 if self.higher_is_better else -1

    def near(self, best: float) -> float:
        """What counts as next to nothing beside the best: half a point, half a per cent of a loss or a fraction."""
        return 0.5 if abs(best) >= 10 else 0.005 * abs(best)

    def near_words(self, best: float) -> str:
        """The same in words."""
        return "half a point" if abs(best) >= 10 else "0.5 %"


class AxisView(NamedTuple):
    """An axis of the grid as a reader sees it."""

    name: str  # the field that it sets
    label: str
    form: Callable[[float], str]  # how its values are written


def axis_view(axis: Axis | str) -> AxisView:
    """An axis of a space, or a field by its name where the space is not known."""
    if isinstance(axis, str):
        return AxisView(axis, label(axis), form_of(axis))
    if axis.base is None:
        return AxisView(axis.field, label(axis.field), form_of(axis.field))
    sign = "/" if axis.relation == "ratio" else "-"
    form = short if axis.relation == "ratio" else form_of(axis.field)
    return AxisView(axis.field, f"{label(axis.field)} {sign} {label(axis.base)}", form)


def form_of(name: str) -> Callable[[float], str]:
    """How values of a quantity are written."""
    if is_fraction(name):
        return share
    if name.endswith("flops"):
        return lambda value: power(value, 2)
    sizes = ("hidden_size", "intermediate_size", "moe_intermediate_size", "shared_expert_intermediate_size", "vocab_size")
    return whole if name in sizes else short


@dataclass(frozen=True)
class HeatMap:
    """The best score over two axes.

    Attributes:
        down, across: the axes.
        rows, columns: their values, [n] and [m].
        score: [n, m], NaN where no candidate is feasible.
        how: what the score of a cell is the best of, in words.
    """

    down: AxisView
    across: AxisView
    rows: np.ndarray
    columns: np.ndarray
    score: np.ndarray
    how: str

    @property
    def names(self) -> str:
        """The two axes, for a list to choose from."""
        return f"{self.down.label} × {self.across.label}"


def kept_places(count: int, best: int) -> np.ndarray:
    """At most ``MOST_CELLS`` evenly spaced positions of an axis of ``count`` values, that of the best design among them."""
    step = -(-count // MOST_CELLS)
    return np.arange(best % step, count, step)


def thinned(frame: DataFrame, most: int = MOST_POINTS) -> DataFrame:
    """At most ``most`` rows of a table, spread evenly, its first and last among them."""
    if len(frame) <= most:
        return frame
    return frame.iloc[np.unique(np.linspace(0, len(frame) - 1, most).astype(int))]


def skyline(frame: DataFrame, over: str, score: Score) -> DataFrame:
    """The rows than which no other is both cheaper (or as cheap) by ``over`` and better, cheapest first."""
    signed = score.sign * frame["score"]
    ranked = frame.assign(signed=signed).sort_values([over, "signed"], ascending=[True, False], kind="stable")
    before = ranked["signed"].cummax().shift(fill_value=-np.inf)
    return ranked[ranked["signed"] > before].drop(columns="signed")


class Reading(NamedTuple):
    """What the best scores along one axis say.

    ``half`` and ``double`` are (value, score lost there) at half and at twice the best value; None where there is none near.
    ``low`` and ``high`` are the ends of the range around the best within which the score is next to the best.
    """

    value: float
    best: float  # the score there
    half: tuple[float, float] | None
    double: tuple[float, float] | None
    low: float
    high: float
    at_start: bool  # whether the best lies at the lowest value of the axis
    at_end: bool


def read_axis(values: np.ndarray, scores: np.ndarray, score: Score) -> Reading | None:
    """Read the best scores [n] along an axis with ``values`` [n]; None where none is known."""
    order = np.argsort(values, kind="stable")
    values, signed = values[order], score.sign * scores[order]
    if not np.isfinite(signed).any():
        return None
    best = int(np.nanargmax(signed))

    def lost(target: float) -> tuple[float, float] | None:
        near = int(np.abs(values - target).argmin())
        close = abs(values[near] - target) <= 0.15 * abs(target) and near != best
        return (float(values[near]), float(signed[best] - signed[near])) if close and np.isfinite(signed[near]) else None

    good = signed >= signed[best] - score.near(float(signed[best]))  # False for NaN
    first = best - int(np.argmin(np.r_[good[best::-1], False])) + 1
    last = best + int(np.argmin(np.r_[good[best:], False])) - 1
    ends = best == 0, best == len(values) - 1
    return Reading(
        float(values[best]),
        score.sign * float(signed[best]),
        lost(values[best] / 2),
        lost(values[best] * 2),
        float(values[first]),
        float(values[last]),
        *ends,
    )


def design_words(row: Mapping[str, float], score: Score | None = None) -> str:
    """One design in a line, for a label that appears on a point."""
    parts = [f"{whole(row['num_hidden_layers'])} layers", f"hidden {whole(row['hidden_size'])}"]
    if row.get("num_experts", 0) > 0:
        parts.append(f"{whole(row['num_experts'])} experts, {whole(row['num_experts_per_tok'])} chosen")
    elif row.get("intermediate_size", 0) > 0:
        parts.append(f"FFN {whole(row['intermediate_size'])}")
    for name, word in (("total_params", "parameters"), ("training_tokens", "tokens")):
        if name in row:
            parts.append(f"{short(row[name])} {word}")
    if "training_flops" in row:
        parts.append(f"{power(row['training_flops'], 2)} FLOPs")
    return (f"{score.metric} {points(row['score'])}: " if score else "") + ", ".join(parts)
