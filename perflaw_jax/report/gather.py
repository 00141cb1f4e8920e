"""Everything that a report shows, as plain tables, read from a result directory; what is missing has a sentence why."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from perflaw_jax import datasets
from perflaw_jax.files import StoreError
from perflaw_jax.laws import LawEntry
from perflaw_jax.manifest import MANIFEST, read_manifest
from perflaw_jax.prediction import model_counts, score_models
from perflaw_jax.report.frames import AxisView, HeatMap, Reading, Score, axis_view, ends, read_axis
from perflaw_jax.report.iso_flops import levels_up_to
from perflaw_jax.report.recompute import Grid, load_law
from perflaw_jax.report.tables import read_parquet
from perflaw_jax.spec import SweepSpec, parse_spec
from perflaw_jax.store import method

if TYPE_CHECKING:
    from pandas import DataFrame

SHOWN = 100  # of the best designs
PERFORMANCE_LAWS = ("performance-dense", "performance-moe")
T = TypeVar("T")


@dataclass
class Gathered:
    """A result as a report shows it; a part that is None is explained in ``missing``, by its name.

    Attributes:
        kind: "a sweep", "a search by exact", "a search by optuna" or "a curve".
        top: the best designs, best first, at most ``SHOWN``; of a curve the best per budget, ascending.
        frontier: the frontier's designs.
        marginals: ``axis``, ``value``, ``score``: the best score per axis value.
        readings: what the marginals say, per axis that varies.
        heat: heat maps, the chosen pair first.
        iso: the best design per level of FLOPs and size.
        cuts: ``limit`` and ``count``, most first.
        models: real models with ``mmlu``, ``training_flops``, ``total_params``.
        errors: mean absolute errors of the law on real models per year.
        notes: what was said of a part that is there.
    """

    place: Path
    manifest: dict[str, Any]
    score: Score
    kind: str
    top: DataFrame
    spec: SweepSpec | None = None
    entry: LawEntry | None = None
    frontier: DataFrame | None = None
    marginals: DataFrame | None = None
    heat: list[HeatMap] | None = None
    iso: DataFrame | None = None
    cuts: DataFrame | None = None
    models: DataFrame | None = None
    errors: DataFrame | None = None
    missing: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)

    @property
    def best(self) -> Mapping[str, Any] | None:
        """The best design (of a curve, under the greatest budget)."""
        return None if self.top.empty else self.top.iloc[-1 if self.curve else 0].to_dict()

    @property
    def curve(self) -> Mapping[str, Any] | None:
        """What a curve was asked, if it is one: ``over`` and ``budgets``."""
        return self.manifest.get("curve")

    @property
    def axes(self) -> dict[str, AxisView]:
        """The axes of the grid, by the field that they set."""
        if self.spec is not None:
            return {axis.field: axis_view(axis) for axis in self.spec.space().axes}
        names = self.manifest["spec"].get("axes", {})
        return {name: axis_view(name) for name, axis in names.items() if axis != "spend"}

    @property
    def readings(self) -> dict[str, Reading]:
        """What the marginals say, per axis that has more than one value."""
        if self.marginals is None:
            return {}
        parts = {str(name): part for name, part in self.marginals.groupby("axis", sort=False) if len(part) > 1}
        found = {n: read_axis(p["value"].to_numpy(), p["score"].to_numpy(float), self.score) for n, p in parts.items()}
        return {name: reading for name, reading in found.items() if reading is not None}


def gather(place: Path, heat: Sequence[str] | None = None, models: Path | None = None) -> Gathered:
    """Read a result directory, and find again what it does not hold.

    Args:
        place: the directory.
        heat: the two axes of the heat map that is shown first.
        models: a table of real models in place of the shipped one.

    Raises:
        StoreError: there is no finished result, or a file of it cannot be read.
        ValueError: ``heat`` names no axes of the grid, or ``models`` is no such table.
    """
    manifest = _finished(place)
    told = manifest["law"]
    score = Score(told["metric"], told["higher_is_better"])
    kind, listed = method(manifest), {shard["path"] for shard in manifest["shards"]}
    first = "curve.parquet" if "curve" in manifest else "top.parquet"
    top = read_parquet(place / first, most=None if "curve" in manifest else SHOWN) if first in listed else _nothing()
    found = Gathered(place, manifest, score, kind, top)
    _read_kept(found, listed)
    _find_again(found, heat)
    _hold_against_models(found, models)
    return found


def _finished(place: Path) -> dict[str, Any]:
    manifest = read_manifest(place)
    if not manifest["complete"]:
        raise StoreError(f"{place} holds a run that has not finished: there is nothing to report yet")
    law = manifest.get("law")
    known = isinstance(law, Mapping) and {"name", "metric", "source", "note", "higher_is_better", "coefficients"} <= law.keys()
    if not known or not isinstance(manifest.get("spec"), Mapping):
        raise StoreError(f"{place / MANIFEST} does not say which spec and law its results are of")
    return manifest


def _nothing() -> DataFrame:
    import pandas as pd

    return pd.DataFrame({"candidate_id": np.empty(0, np.int64), "score": np.empty(0)})


def _read_kept(found: Gathered, listed: set[str]) -> None:
    """The files beside the best designs, and the counts."""
    import pandas as pd

    if "frontier.parquet" in listed:
        found.frontier = read_parquet(found.place / "frontier.parquet")
    if found.frontier is None or found.frontier.empty:
        found.frontier = None
        found.missing["frontier"] = _why(found, "the spec names no costs under output.frontier")
    if "marginals.parquet" in listed:
        found.marginals = read_parquet(found.place / "marginals.parquet", ["axis", "value", "score"])
    cut = (found.manifest.get("counts") or {}).get("cut_by_limit")
    if cut:
        ranked = sorted(cut.items(), key=lambda item: -item[1])
        shown = [(name, count) for name, count in ranked if name != "possible_shape" or count]
        found.cuts = pd.DataFrame({"limit": [name for name, _ in shown], "count": [n for _, n in shown]}) if shown else None
    if found.cuts is None:
        found.missing["cuts"] = (
            "the spec has no limits" if cut else f"{found.kind} does not look at every candidate, so nothing was counted"
        )


def _why(found: Gathered, otherwise: str) -> str:
    if found.curve:
        return "a curve keeps the best design per budget alone"
    return "no candidate satisfies the limits" if found.top.empty else otherwise


def _find_again(found: Gathered, pair: Sequence[str] | None) -> None:
    """What needs the law and the engine: marginals where there are none, heat maps, iso-FLOP curves."""
    try:
        found.spec = parse_spec(found.manifest["spec"], where=f"{found.place / MANIFEST}: spec")
        if pair is not None:
            from perflaw_jax.report.heat import choose_pair

            choose_pair(found.spec.space(), pair)
    except ValueError as error:
        if pair is not None:
            raise
        found.missing |= dict.fromkeys(("heat", "iso"), str(error))
        return
    best = None if found.best is None else int(found.best["candidate_id"])
    try:
        found.entry = load_law(found.spec, found.manifest)
        grid = Grid(found.spec, found.entry, found.manifest, best)
    except ValueError as error:
        found.missing |= dict.fromkeys(("heat", "iso"), f"the law cannot be asked again ({error})")
        if found.marginals is None:
            found.missing["marginals"] = found.missing["heat"]
        return
    if found.marginals is None and best is not None:
        found.marginals = _tried(found, "marginals", grid.marginals)
        found.notes["marginals"] = f"{found.kind[0].upper()}{found.kind[1:]} keeps none: the grid was swept once more for them."
    elif best is None:
        found.missing["marginals"] = "no candidate satisfies the limits"
    found.heat = _tried(found, "heat", lambda: grid.heat_maps(pair, found.place, found.manifest))
    if best is None:
        found.missing["iso"] = "no candidate satisfies the limits"
    else:
        found.iso = _tried(found, "iso", lambda: grid.iso_flops(_levels(found)))


def _tried(found: Gathered, part: str, find: Callable[[], T]) -> T | None:
    """A part, or the reason why it is left out."""
    try:
        return find()
    except ValueError as error:
        found.missing[part] = str(error)
        return None


def _levels(found: Gathered) -> list[float]:
    """Levels of FLOPs up to the budget, or to the most that a design takes that was kept."""
    known = found.top if found.frontier is None else found.frontier
    budget = None if found.spec is None else found.spec.budget
    if found.curve and found.curve["over"] == "training_flops":
        budget = max(found.curve["budgets"])
    exact = found.frontier is not None and "training_flops" in found.manifest["spec"].get("output", {}).get("frontier", ())
    least, most = ends(known, "training_flops")
    return levels_up_to(budget or most, least if exact else None)


def _hold_against_models(found: Gathered, models: Path | None) -> None:
    """Real models and the law's errors on them, where the law predicts what they report."""
    if found.score.metric != "MMLU":
        if models is not None:
            datasets.load_models(models)  # a mistake in it is still to be told
        found.missing["models"] = f"the table of real models reports MMLU, and this law predicts {found.score.metric}"
        return
    found.models = real_models(models)
    if found.manifest["law"]["name"] in PERFORMANCE_LAWS:
        found.errors = datasets.errors(score_models(None if models is None else str(models)))


def real_models(models: Path | None = None) -> DataFrame:
    """Real base models with ``mmlu``, ``training_flops`` and ``total_params``: the shipped table, or one in its place."""
    frame = datasets.load_models(models)
    known = frame.loc[datasets.scored_rows(frame) & ~frame["score_is_post_trained"].to_numpy()]
    return known.assign(**model_counts(known)).reset_index(drop=True)
