"""Draw a sweep's result directory: the frontier of score against training FLOPs, and the best score per depth and width.

``python -m benchmarks.figure DIR OUT.png``
"""

import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from perflaw_jax.display import short
from perflaw_jax.figure_style import BLUE, ORANGE, STYLE
from perflaw_jax.manifest import read_manifest

SHOWN = {"num_hidden_layers": "layers", "hidden_size": "hidden size"}


def draw(directory: Path, out: Path) -> None:
    """Write the figure of a result directory as PNG, 900 pixels wide."""
    frontier, top, marginals = (pd.read_parquet(directory / f"{name}.parquet") for name in ("frontier", "top", "marginals"))
    manifest = read_manifest(directory)
    metric, best = manifest["law"]["metric"], top.iloc[0]
    with plt.rc_context({**STYLE, "font.size": 10}):
        figure = plt.figure(figsize=(9, 4.2), dpi=100, layout="constrained")
        left, right = figure.subfigures(1, 2, width_ratios=(5, 4))
        frontier_by_flops(left.subplots(), frontier, best, metric)
        per_value = right.subplots(2, 1)
        for axes, (field, label) in zip(per_value, SHOWN.items(), strict=True):
            best_per_value(axes, marginals[marginals["axis"] == field], best[field], label, metric)
        figure.savefig(out, metadata={"Software": None})


def frontier_by_flops(axes: Any, frontier: pd.DataFrame, best: pd.Series, metric: str) -> None:
    """Score against training FLOPs: the best score that each budget buys, and the designs that are cheaper in parameters."""
    ordered = frontier.sort_values(["training_flops", "score"], ascending=[True, False])
    record = ordered[ordered["score"] > ordered["score"].cummax().shift(fill_value=float("-inf"))]
    others = ordered.drop(record.index)
    if len(others):
        axes.scatter(others["training_flops"], others["score"], s=3, color="#999999", lw=0, label="frontier: fewer parameters")
    axes.step(record["training_flops"], record["score"], where="post", color=BLUE, lw=1.8, label="best score for the FLOPs")
    axes.plot(best["training_flops"], best["score"], "o", color=ORANGE, ms=7)
    text = f"{best['num_hidden_layers']:.0f} layers, hidden {best['hidden_size']:,.0f}, FFN {best['intermediate_size']:,.0f}\n"
    text += f"{short(best['total_params'])} parameters, {short(best['training_tokens'])} tokens, {metric} {best['score']:.1f}"
    axes.annotate(text, (best["training_flops"], best["score"]), (0, 14), textcoords="offset points", ha="right", color=ORANGE)
    axes.set_xscale("log")
    axes.margins(y=0.12)
    axes.set_xlabel("training FLOPs")
    axes.set_ylabel(f"predicted {metric} (points)")
    axes.legend(loc="lower right", frameon=False, markerscale=3)


def best_per_value(axes: Any, marginal: pd.DataFrame, best: float, label: str, metric: str) -> None:
    """The best score at each value of one axis, whatever the other axes are; ``best`` is the best design's value."""
    known = marginal.dropna(subset=["score"])
    axes.plot(known["value"], known["score"], color=BLUE, lw=1.8)
    place = (best, known["score"].max())
    axes.plot(*place, "o", color=ORANGE, ms=7)
    axes.annotate(f"{best:,.0f}", place, (0, 7), textcoords="offset points", ha="center", color=ORANGE)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.margins(y=0.22)
    axes.set_xlabel(label)
    axes.set_ylabel(f"best {metric}")


def main() -> None:
    """Draw what the command line names."""
    if len(sys.argv) != 3:
        sys.exit("usage: python -m benchmarks.figure DIR OUT.png")
    draw(Path(sys.argv[1]), Path(sys.argv[2]))


if __name__ == "__main__":
    main()
