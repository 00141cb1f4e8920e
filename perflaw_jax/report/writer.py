"""Writes a report: ``report.html`` and the figures as files, each whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from perflaw_jax.files import told, write_atomic
from perflaw_jax.report import figures
from perflaw_jax.report.drawn import COSTS, curve_panels, frontier_costs, labelled_cuts
from perflaw_jax.report.gather import Gathered, gather
from perflaw_jax.report.page import page
from perflaw_jax.store import FIGURES, PAGE


def write_report(place: Path, out: Path, heat: Sequence[str] | None = None, models: Path | None = None) -> list[Path]:
    """Report on a result directory; returns the files written, the page first.

    Args:
        place: the result directory.
        out: where to write, made if need be.
        heat: the two axes of the heat map that is shown first.
        models: a table of real models in place of the shipped one.

    Raises:
        StoreError: there is no finished result in ``place``, or ``out`` cannot be written to.
        ValueError: ``heat`` or ``models`` make no sense; nothing was written.
    """
    found = gather(place, heat, models)
    markup = page(found)
    with told("write to", out):
        out.mkdir(parents=True, exist_ok=True)
    write_atomic(out / PAGE, lambda temporary: temporary.write_text(markup, encoding="utf-8"))
    drawn = [path for name, draw in pictures(found) for path in figures.write(draw, out / FIGURES, name)]
    return [out / PAGE, *drawn]


def pictures(found: Gathered) -> Iterator[tuple[str, Callable[[], Figure]]]:
    """The name of each figure that the results allow, and what draws it."""
    score = found.score
    if found.curve and not found.top.empty:
        laws = found.manifest.get("power_laws", {})
        yield "curve", partial(figures.curve, found.top, found.curve["over"], curve_panels(found), laws)
    if found.frontier is not None:
        exact = frontier_costs(found)
        yield "frontier", partial(figures.frontier, found.frontier, COSTS, score, exact, found.models)
    if found.marginals is not None and found.readings:
        yield "marginals", partial(figures.marginals, found.axes, found.marginals, score, found.readings)
    if found.heat:
        yield "heat-map", partial(figures.heat_map, found.heat[0], score)
    if found.iso is not None:
        yield "iso-flops", partial(figures.iso_flops, found.iso, score)
    if found.cuts is not None:
        yield "cuts", partial(figures.cuts, labelled_cuts(found))
