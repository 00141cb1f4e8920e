"""The planner's own figure: how the best score moves with each limit. The others are the report's."""

from __future__ import annotations

import plotly.graph_objects as go

from perflaw_jax.display import points
from perflaw_jax.figure_style import LEVELS
from perflaw_jax.planner.limits import WORDS
from perflaw_jax.planner.solve import Shift
from perflaw_jax.report.charts import FONT

FACTOR_WORDS = {0.5: "half", 0.75: "25 % less", 1.25: "25 % more", 2.0: "twice"}


def sensitivity(shifts: list[Shift], metric: str) -> go.Figure:
    """Marks per limit: the best score when it is so many times what it is; limits that change nothing are left out."""
    moving = [shift for shift in shifts if len({s for s in shift.scores.values() if s == s}) > 1][::-1]
    figure = go.Figure()
    for (factor, words), mark in zip(FACTOR_WORDS.items(), LEVELS, strict=False):
        names = [WORDS[shift.end] for shift in moving if shift.scores[factor] == shift.scores[factor]]
        scores = [shift.scores[factor] for shift in moving if shift.scores[factor] == shift.scores[factor]]
        told = [f"{words} of {name}: {metric} {points(score)}" for name, score in zip(names, scores, strict=True)]
        marker = {"symbol": mark.plotly, "size": 11, "color": mark.colour}
        figure.add_trace(
            go.Scatter(x=scores, y=names, mode="markers", marker=marker, name=words, hovertext=told, hoverinfo="text")
        )
    figure.update_xaxes(title_text=f"best {metric}", zeroline=False, automargin=True)
    figure.update_yaxes(automargin=True, categoryorder="array", categoryarray=[WORDS[shift.end] for shift in moving])
    return figure.update_layout(
        template="plotly_white",
        font=FONT,
        height=150 + 34 * max(len(moving), 1),
        margin={"l": 8, "r": 16, "t": 24, "b": 48},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0},
    )
