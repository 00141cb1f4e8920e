"""The figures of a report with matplotlib, as files: as ``charts`` draws them, and the same bytes for the same results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from perflaw_jax.display import power, short
from perflaw_jax.figure_style import (
    BEST,
    BETTER_IS_BRIGHT,
    FRONT,
    GREY,
    LEVELS,
    ORANGE,
    OTHERS,
    REAL,
    STYLE,
    is_wide,
    label,
    places,
    ticks,
)
from perflaw_jax.files import told, write_atomic
from perflaw_jax.report.charts import REACH
from perflaw_jax.report.frames import AxisView, HeatMap, Reading, Score, ends, ranked_by, skyline, thinned, tick_words

if TYPE_CHECKING:
    from pandas import DataFrame

FORMATS: Mapping[str, Mapping[str, Any]] = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}


def write(draw: Callable[[], Figure], folder: Path, name: str) -> Iterator[Path]:
    """Draw a figure and write it as PNG and SVG, each whole or not at all; yields the files."""
    with told("write to", folder):
        folder.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context({**STYLE, "svg.hashsalt": "perflaw", "svg.fonttype": "path", "path.simplify": True}):
        figure = draw()
        for form, metadata in FORMATS.items():
            path = folder / f"{name}.{form}"

            def save(temporary: Path, form: str = form, metadata: Mapping[str, Any] = metadata) -> None:
                figure.savefig(temporary, format=form, metadata=dict(metadata), dpi=150)

            write_atomic(path, save)
            figure.set_layout_engine("none")  # what the first one has laid out
            yield path


def frontier(designs: DataFrame, costs: Sequence[str], score: Score, exact: Sequence[str], models: DataFrame | None) -> Figure:
    """Score against each of ``costs``, a panel each; those of ``exact`` are costs of the frontier."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    for axes, over in zip(figure.subplots(1, len(costs), squeeze=False, sharey=True)[0], costs, strict=True):
        _frontier(axes, designs, over, score, over in exact, models)
        axes.set_ylabel(_plain(score.metric))
        axes.label_outer()
    handles = {name: handle for axes in figure.axes for handle, name in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside upper left", ncols=3, frameon=False, fontsize=8)
    return figure


def _frontier(axes: Any, designs: DataFrame, over: str, score: Score, exact: bool, models: DataFrame | None) -> None:
    low, high = ends(designs, over)
    others = thinned(ranked_by(designs, over))
    axes.plot(
        others[over],
        others["score"],
        OTHERS.matplotlib,
        mfc="none",
        mec=OTHERS.colour,
        ms=2.5,
        alpha=0.45,
        mew=0.6,
        label="on the frontier",
    )
    if exact:
        front = thinned(skyline(designs, over, score))
        axes.step(front[over], front["score"], where="post", color=FRONT.colour, lw=1.8, label="best within the cost")
    if models is not None:
        low, high = low / REACH, high * REACH
        for kind, mark in REAL.items():
            shown = models[(models[over] >= low) & (models[over] <= high) & (models["kind"] == kind)]
            name = f"{'MoE' if kind == 'moe' else kind} models (reported)"
            axes.plot(shown[over], shown["mmlu"], mark.matplotlib, color=mark.colour, ms=4, alpha=0.75, mew=0, label=name)
    best = designs.iloc[int((score.sign * designs["score"].to_numpy(float)).argmax())]
    axes.plot([best[over]], [best["score"]], BEST.matplotlib, color=BEST.colour, ms=12, label="best design", zorder=5)
    _scale(axes.xaxis, low / 1.05, high * 1.05, name=over, wide=is_wide([low, high]))
    axes.set_xlabel(label(over))


def marginals(axes: Mapping[str, AxisView], frame: DataFrame, score: Score, readings: Mapping[str, Reading]) -> Figure:
    """The best score per value of every axis that varies, a panel each."""
    parts = {str(name): part for name, part in frame.groupby("axis", sort=False) if len(part) > 1}
    rows = -(-len(parts) // 3) or 1
    figure = Figure(figsize=(10, 2.7 * rows), layout="constrained")
    panels = figure.subplots(rows, 3, squeeze=False, sharey=True).ravel()
    for panel, (name, part) in zip(panels, parts.items(), strict=False):
        part = thinned(ranked_by(part, "value"))
        values = part["value"].to_numpy(float)
        if reading := readings.get(name):
            panel.axvspan(reading.low, reading.high, color=GREY, alpha=0.15, lw=0)
            panel.plot([reading.value], [reading.best], BEST.matplotlib, color=BEST.colour, ms=10, zorder=5)
        panel.plot(values, part["score"], "-o", color=FRONT.colour, ms=3, lw=1.4)
        _scale(panel.xaxis, values.min(), values.max(), form=axes[name].form, wide=is_wide(values), pad=0.03)
        panel.set_xlabel(_plain(axes[name].label))
    for panel in panels[::3]:
        panel.set_ylabel(_plain(score.metric))
    for panel in panels[len(parts) :]:
        panel.set_visible(False)
    return figure


def heat_map(heat: HeatMap, score: Score) -> Figure:
    """The best score over two axes."""
    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.subplots()
    axes.grid(False)
    colours = BETTER_IS_BRIGHT + ("" if score.higher_is_better else "_r")
    drawn = axes.imshow(heat.score, origin="lower", aspect="auto", cmap=colours, interpolation="nearest")
    if np.isfinite(heat.score).any():
        row, column = np.unravel_index(np.nanargmax(score.sign * heat.score), heat.score.shape)
        axes.plot([column], [row], BEST.matplotlib, color=BEST.colour, ms=13, mec="white", mew=0.8)
    for scale, view, values in ((axes.xaxis, heat.across, heat.columns), (axes.yaxis, heat.down, heat.rows)):
        at = places(values)
        scale.set_ticks(at, [view.form(values[i]) for i in at])
    axes.set_xlabel(_plain(heat.across.label))
    axes.set_ylabel(_plain(heat.down.label))
    figure.colorbar(drawn, ax=axes, label=_plain(score.metric))
    return figure


def iso_flops(frame: DataFrame, score: Score) -> Figure:
    """The best score against parameters, a line per level of FLOPs."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for mark, level in zip(LEVELS, sorted(frame["level"].unique(), reverse=True), strict=False):
        part = frame.loc[frame["level"] == level]
        axes.plot(
            part["total_params"],
            part["score"],
            marker=mark.matplotlib,
            color=mark.colour,
            ms=5,
            lw=1.2,
            label=f"{power(level)} FLOPs",
        )
    low, high = ends(frame, "total_params")
    _scale(axes.xaxis, low / 1.05, high * 1.05, name="total_params", wide=True)
    axes.set_xlabel("parameters")
    axes.set_ylabel(_plain(score.metric))
    figure.legend(loc="outside upper left", ncols=3, frameon=False, fontsize=8)
    return figure


def cuts(frame: DataFrame) -> Figure:
    """How many candidates each limit cuts: ``label`` and ``count``, most first."""
    figure = Figure(figsize=(7, 0.9 + 0.4 * len(frame)), layout="constrained")
    axes = figure.subplots()
    count = frame["count"].to_numpy(float)
    bars = axes.barh(np.arange(len(frame)), count, color=FRONT.colour, height=0.6)
    axes.bar_label(bars, [f"{c:,.0f}" for c in count], padding=4)
    axes.set_yticks(np.arange(len(frame)), [_plain(text) for text in frame["label"]])
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    high = max(float(count.max()), 1.0)
    _scale(axes.xaxis, 0.0, high, form=short, wide=False)
    axes.set_xlim(0, 1.25 * high)
    axes.set_xlabel("candidates cut")
    return figure


def curve(frame: DataFrame, over: str, shown: Mapping[str, str], laws: Mapping[str, Any]) -> Figure:
    """Quantities of the best design against the budget, a panel each: ``shown`` has their titles."""
    rows = -(-len(shown) // 3)
    figure = Figure(figsize=(10, 2.7 * rows), layout="constrained")
    panels = figure.subplots(rows, 3, squeeze=False).ravel()
    budget = frame["budget"].to_numpy(float)
    for axes, (name, title) in zip(panels, shown.items(), strict=False):
        values = frame[name].to_numpy(float)
        axes.plot(budget, values, "-o", color=FRONT.colour, ms=4, lw=1.2)
        if law := laws.get(name):
            axes.plot(budget, law["coefficient"] * budget ** law["exponent"], "--", color=ORANGE, lw=1.2)
            axes.text(0.03, 0.97, f"budget^{law['exponent']:.3f}", transform=axes.transAxes, va="top", color=ORANGE)
        _scale(axes.xaxis, budget.min(), budget.max(), name=over, wide=True, pad=0.03)
        if name != "score":
            _scale(axes.yaxis, values.min(), values.max(), name=name, wide=values.min() > 0, pad=0.05)
        axes.set_title(_plain(title), loc="left")
        axes.set_xlabel(f"budget of {label(over)}")
    for axes in panels[len(shown) :]:
        axes.set_visible(False)
    return figure


def _scale(axis: Any, low: float, high: float, *, form: Any = None, name: str = "", wide: bool, pad: float = 0.0) -> None:
    """Limits and round ticks, as ``charts`` has them."""
    if wide:
        (axis.axes.set_xscale if axis.axis_name == "x" else axis.axes.set_yscale)("log")
        room = (high / low) ** pad
        ends = low / room, high * room
    else:
        room = pad * (high - low) or (abs(low) * 0.05 or 1.0) * (low == high)
        ends = low - room, high + room
    at = ticks(low, high, wide=wide)
    axis.set_ticks(at, tick_words(name, at) if form is None else [form(t) for t in at])
    axis.set_ticks([], minor=True)
    set_ends = axis.axes.set_xlim if axis.axis_name == "x" else axis.axes.set_ylim
    set_ends(*ends)


def _plain(text: str) -> str:
    """Text that matplotlib shows as it is: between two dollar signs it reads formulas."""
    return "\n".join(wrap(text.replace("$", r"\$"), 30))
