"""The figures of a report with plotly, each a pure function of tables: for the page, a notebook or the planner."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go

from perflaw_jax.display import points, power, short
from perflaw_jax.figure_style import (
    BEST,
    BETTER_IS_BRIGHT,
    FRONT,
    GREY,
    LEVELS,
    ORANGE,
    OTHERS,
    REAL,
    is_wide,
    label,
    places,
    ticks,
)
from perflaw_jax.report.frames import (
    AxisView,
    HeatMap,
    Reading,
    Score,
    design_words,
    ends,
    form_of,
    ranked_by,
    skyline,
    thinned,
    tick_words,
)

if TYPE_CHECKING:
    from pandas import DataFrame

FONT = {"family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif", "size": 13}
FEW = 150  # points on a line that are marked one by one
REACH = 10.0  # how many times further than the designs an axis reaches, for real models


def frontier(designs: DataFrame, over: str, score: Score, *, exact: bool = True, models: DataFrame | None = None) -> go.Figure:
    """Score against one cost.

    Args:
        designs: of the frontier, with ``score``, ``over`` and the fields of the design.
        over: a column that is minimised, or one that is only looked at.
        score: what the score is.
        exact: whether ``over`` is a cost of the frontier, so that its envelope is one too and is drawn as a line.
        models: real models with ``over``, ``mmlu``, ``name`` and ``kind``.
    """
    front = thinned(skyline(designs, over, score))
    figure = go.Figure()
    others = thinned(ranked_by(designs, over))
    figure.add_trace(_points(others, over, score, "on the frontier", OTHERS, size=4, opacity=0.45))
    if exact:
        line = _points(front, over, score, "best within the cost", FRONT, size=4)
        figure.add_trace(line.update(mode="lines+markers", line={"shape": "hv", "width": 2, "color": FRONT.colour}))
    best = designs.iloc[[int((score.sign * designs["score"].to_numpy(float)).argmax())]]
    figure.add_trace(_points(best, over, score, "best design", BEST, size=15))
    low, high = ends(designs, over)
    if models is not None:
        low, high = low / REACH, high * REACH
        near = models.loc[models[over].between(low, high)]
        for kind, mark in REAL.items():
            name = f"{'MoE' if kind == 'moe' else kind} models (reported)"
            figure.add_trace(_real(near.loc[near["kind"] == kind], over, name, mark))
    _scale(_layout(figure).xaxis, low / 1.05, high * 1.05, name=over, wide=is_wide([low, high]))
    return _finished(figure, label(over), score.metric)


def marginal(axis: AxisView, frame: DataFrame, score: Score, reading: Reading | None = None) -> go.Figure:
    """The best score per value of one axis: ``frame`` has ``value`` and ``score`` (NaN where none is feasible)."""
    frame = thinned(ranked_by(frame, "value"))
    values = frame["value"].to_numpy(float)
    told = [
        f"{axis.label} {axis.form(v)}: " + ("none is feasible" if s != s else f"{score.metric} {points(s)}")
        for v, s in zip(values, frame["score"].to_numpy(float), strict=True)
    ]
    look = {"mode": "lines+markers" if len(frame) <= FEW else "lines", "line": {"color": FRONT.colour, "width": 2}}
    figure = go.Figure()
    if reading is not None:
        figure.add_vrect(x0=reading.low, x1=reading.high, fillcolor=GREY, opacity=0.15, line_width=0)
    figure.add_trace(
        go.Scatter(x=values, y=frame["score"], marker={"size": 6}, hovertext=told, hoverinfo="text", showlegend=False, **look)
    )
    if reading is not None:
        at = frame.iloc[[int(np.abs(values - reading.value).argmin())]]
        mark = {"symbol": BEST.plotly, "size": 13, "color": BEST.colour}
        figure.add_trace(
            go.Scatter(x=at["value"], y=at["score"], mode="markers", marker=mark, hoverinfo="skip", showlegend=False)
        )
    _scale(_layout(figure).xaxis, values.min(), values.max(), form=axis.form, wide=is_wide(values), pad=0.03)
    return _finished(figure, axis.label, score.metric, height=260)


def marginals(
    axes: Mapping[str, AxisView], frame: DataFrame, score: Score, readings: Mapping[str, Reading]
) -> dict[str, go.Figure]:
    """A figure per axis that varies: ``frame`` has ``axis``, ``value`` and ``score``."""
    parts = {str(name): part for name, part in frame.groupby("axis", sort=False) if len(part) > 1}
    return {name: marginal(axes[name], part, score, readings.get(name)) for name, part in parts.items()}


def heat_map(heat: HeatMap, score: Score) -> go.Figure:
    """The best score over two axes; where nothing is feasible there is no colour."""
    down, across = heat.down, heat.across
    told = [
        [
            f"{down.label} {down.form(r)}, {across.label} {across.form(c)}<br>"
            + ("none is feasible" if s != s else f"{score.metric} {points(s)}")
            for c, s in zip(heat.columns, line, strict=True)
        ]
        for r, line in zip(heat.rows, heat.score, strict=True)
    ]
    bar = {"title": {"text": score.metric, "side": "right"}, "thickness": 14, "outlinewidth": 0}
    figure = go.Figure(
        go.Heatmap(
            z=np.round(heat.score, 6),
            text=told,
            hoverinfo="text",
            colorscale=BETTER_IS_BRIGHT,
            reversescale=not score.higher_is_better,
            colorbar=bar,
        )
    )
    if np.isfinite(heat.score).any():
        row, column = np.unravel_index(np.nanargmax(score.sign * heat.score), heat.score.shape)
        mark = {"symbol": BEST.plotly, "size": 14, "color": BEST.colour, "line": {"color": "white", "width": 1}}
        figure.add_trace(go.Scatter(x=[column], y=[row], mode="markers", marker=mark, hoverinfo="skip", showlegend=False))
    for scale, axis, values in ((_layout(figure).xaxis, across, heat.columns), (_layout(figure).yaxis, down, heat.rows)):
        at = places(values, 6)
        scale.update(tickvals=at, ticktext=[axis.form(values[i]) for i in at], range=[-0.5, len(values) - 0.5], showgrid=False)
    return _finished(figure, across.label, down.label, height=480)


def iso_flops(frame: DataFrame, score: Score) -> go.Figure:
    """The best score against parameters, a line per level of FLOPs: ``level``, ``total_params``, ``score``, the design."""
    figure = go.Figure()
    levels = sorted(frame["level"].unique(), reverse=True)
    for mark, level in zip(LEVELS, levels, strict=False):
        part = frame.loc[frame["level"] == level]
        trace = _points(part, "total_params", score, f"{power(level)} FLOPs", mark, size=8)
        figure.add_trace(trace.update(mode="lines+markers", line={"color": mark.colour, "width": 1.5}))
    low, high = ends(frame, "total_params")
    _scale(_layout(figure).xaxis, low / 1.05, high * 1.05, form=short, wide=True)
    return _finished(figure, "parameters", score.metric)


def cuts_height(frame: DataFrame) -> int:
    """Pixels that ``cuts`` takes."""
    return 100 + 46 * len(frame)


def cuts(frame: DataFrame) -> go.Figure:
    """How many candidates each limit cuts: ``label`` and ``count``, most first."""
    count = frame["count"].to_numpy(float)
    names = ["<br>".join(wrap(_plain(name), 18)) for name in frame["label"]]
    look = {"text": [f"{c:,.0f}" for c in count], "textposition": "outside", "cliponaxis": False, "hoverinfo": "skip"}
    figure = go.Figure(go.Bar(x=count, y=names, orientation="h", marker={"color": FRONT.colour}, **look))
    high = max(float(count.max()), 1.0)
    figure.update_xaxes(range=[0, high], showticklabels=False, showgrid=False)
    figure.update_yaxes(autorange="reversed", automargin=True, ticksuffix=" ", showgrid=False)
    return _finished(figure, "candidates cut", "", height=cuts_height(frame)).update_layout(margin={"r": 100})


def curve(frame: DataFrame, over: str, name: str, title: str, law: Mapping[str, Any] | None = None) -> go.Figure:
    """A quantity of the best design against the budget, with the power law through it if there is one."""
    budget, values = frame["budget"].to_numpy(float), frame[name].to_numpy(float)
    form = points if name == "score" else form_of(name)
    told = [f"budget {form_of(over)(b)}: {title} {form(v)}" for b, v in zip(budget, values, strict=True)]
    figure = go.Figure(
        go.Scatter(
            x=budget,
            y=values,
            mode="lines+markers",
            line={"color": FRONT.colour, "width": 1.5},
            marker={"size": 7},
            hovertext=told,
            hoverinfo="text",
            showlegend=False,
        )
    )
    if law is not None:
        line = law["coefficient"] * budget ** law["exponent"]
        told_law = f"budget^{law['exponent']:.3f}"
        dash = {"color": ORANGE, "width": 1.5, "dash": "dash"}
        figure.add_trace(go.Scatter(x=budget, y=line, mode="lines", line=dash, name=told_law, hoverinfo="skip"))
    _scale(_layout(figure).xaxis, budget.min(), budget.max(), name=over, wide=True, pad=0.03)
    if name != "score":
        _scale(_layout(figure).yaxis, values.min(), values.max(), form=form, wide=values.min() > 0, pad=0.05)
    return _finished(figure, f"budget of {label(over)}", title, height=280)


def _points(frame: DataFrame, over: str, score: Score, name: str, mark: Any, size: float, opacity: float = 1.0) -> go.Scatter:
    told = [design_words(row, score) for row in frame.to_dict("records")]
    marker = {"symbol": mark.plotly, "size": size, "color": mark.colour, "opacity": opacity}
    return go.Scatter(
        x=frame[over], y=frame["score"], mode="markers", marker=marker, name=name, hovertext=told, hoverinfo="text"
    )


def _real(frame: DataFrame, over: str, name: str, mark: Any) -> go.Scatter:
    told = [
        f"{_plain(row['name'])}: MMLU {row['mmlu']:.1f} reported, {short(row['total_params'])} parameters, "
        f"{short(1e12 * row['tokens_t'])} tokens, {power(row['training_flops'], 2)} FLOPs"
        for row in frame.to_dict("records")
    ]
    marker = {"symbol": mark.plotly, "size": 7, "color": mark.colour, "opacity": 0.75}
    return go.Scatter(
        x=frame[over], y=frame["mmlu"], mode="markers", marker=marker, name=name, hovertext=told, hoverinfo="text"
    )


def _plain(text: Any) -> str:
    """Text that plotly shows as it is: it reads a few tags of HTML."""
    return str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _scale(axis: Any, low: float, high: float, *, form: Any = None, name: str = "", wide: bool, pad: float = 0.0) -> None:
    """Limits and round ticks in our own words: plotly would say G where a model has B."""
    at = ticks(low, high, wide=wide)
    ends = (np.log10(low), np.log10(high)) if wide else (low, high)
    room = pad * (ends[1] - ends[0]) or (abs(ends[0]) * 0.05 or 1.0) * (ends[1] == ends[0])
    told = tick_words(name, at) if form is None else [form(t) for t in at]
    axis.update(type="log" if wide else "linear", range=[ends[0] - room, ends[1] + room], tickvals=at, ticktext=told)


def _layout(figure: go.Figure) -> Any:
    return figure.layout  # plotly makes its attributes as it runs


def _finished(figure: go.Figure, across: str, up: str, height: int = 440) -> go.Figure:
    figure.update_xaxes(title_text=_plain(across), zeroline=False, ticks="outside", autotickangles=[0, 45])
    figure.update_yaxes(title_text="<br>".join(wrap(_plain(up), 26)), zeroline=False, automargin=True)
    legend = {"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0}
    return figure.update_layout(
        template="plotly_white",
        font=FONT,
        height=height,
        margin={"l": 64, "r": 16, "t": 24, "b": 52},
        legend=legend,
        hovermode="closest",
    )
