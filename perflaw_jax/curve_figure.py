"""The picture of a curve: score and shape of the best design against the budget, with the power laws through them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from perflaw_jax.curve import PowerLaw
from perflaw_jax.display import short
from perflaw_jax.figure_style import BLUE, GREY, ORANGE, STYLE, label, log_ticks
from perflaw_jax.files import write_atomic


def draw(
    out: Path,
    over: str,
    metric: str,
    columns: Mapping[str, np.ndarray],
    laws: Mapping[str, PowerLaw | None],
    free: Mapping[str, np.ndarray],
) -> None:
    """Write a PNG: one panel for the score and one per quantity of ``laws``.

    Args:
        out: the file.
        over: the quantity that the budgets limit.
        metric: what the score is.
        columns: ``budget``, ``score`` and every quantity of ``laws``, [n] each.
        laws: quantity -> its power law, or None.
        free: quantity -> mask [n] of the points that it was fitted through.
    """
    rows = -(-(1 + len(laws)) // 3)
    with plt.rc_context(STYLE):
        figure = Figure(figsize=(10, 2.7 * rows), dpi=110, layout="constrained")
        panels = list(figure.subplots(rows, 3, squeeze=False).ravel())
        budget = columns["budget"]
        _score(panels[0], budget, columns["score"], metric)
        for axes, (name, law) in zip(panels[1:], laws.items(), strict=False):
            _quantity(axes, budget, columns[name], law, free[name], label(name))
        for axes in panels[1 + len(laws) :]:
            axes.set_visible(False)
        for axes in panels[max(0, 1 + len(laws) - 3) : 1 + len(laws)]:
            axes.set_xlabel(f"budget of {label(over)}")
        write_atomic(out, lambda temporary: figure.savefig(temporary, format="png", metadata={"Software": None}))


def _score(axes: Any, budget: np.ndarray, score: np.ndarray, metric: str) -> None:
    axes.semilogx(budget, score, "o-", color=BLUE, ms=4, lw=1.2)
    axes.set_title(f"best {metric}", loc="left")


def _quantity(axes: Any, budget: np.ndarray, values: np.ndarray, law: PowerLaw | None, free: np.ndarray, title: str) -> None:
    axes.loglog(budget[free], values[free], "o", color=BLUE, ms=4)
    axes.loglog(
        budget[~free], values[~free], "o", mfc="none", mec=GREY, ms=4
    )  # something else than the budget binds: not fitted
    if law is not None:
        axes.loglog(budget, law.coefficient * budget**law.exponent, ":", color=ORANGE, lw=1.0)
        axes.loglog(budget[free], law.coefficient * budget[free] ** law.exponent, "-", color=ORANGE, lw=1.4)
        told = f"budget^{law.exponent:.3f} ± {law.error:.3f}"
        axes.text(0.03, 0.97, told, transform=axes.transAxes, va="top", color=ORANGE)
    low, high = values.min() / 1.3, values.max() * 1.3
    axes.set_ylim(low, high)
    ticks = log_ticks(low, high)
    axes.set_yticks(ticks, [short(t) for t in ticks], minor=False)
    axes.set_yticks([], minor=True)
    axes.set_title(title, loc="left")
