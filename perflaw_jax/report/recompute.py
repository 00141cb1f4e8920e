"""What a result directory does not hold, found again from the spec in its manifest: marginals, heat maps, iso-FLOP curves."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from perflaw_jax.asked import Asked
from perflaw_jax.columns import Columns
from perflaw_jax.curve import within
from perflaw_jax.engine import Engine
from perflaw_jax.exhaustive import sweep
from perflaw_jax.job import believed, check_law, entry_of, header, make_columns, make_problem
from perflaw_jax.laws import LawEntry
from perflaw_jax.manifest import difference
from perflaw_jax.reduce import Screen
from perflaw_jax.report import heat, iso_flops
from perflaw_jax.report.frames import HeatMap
from perflaw_jax.report.tables import Feasible, batches, row_files
from perflaw_jax.spec import SweepSpec

if TYPE_CHECKING:
    from pandas import DataFrame

TILE = 2**20  # candidates in memory at a time, while all are looked at
STREAMED = 2**26  # candidates: up to here every one is looked at; beyond, sweeps and searches take less time


def load_law(spec: SweepSpec, manifest: Mapping[str, Any]) -> LawEntry:
    """The law that the results were made with; ValueError where it is no longer to be had, or another by now."""
    entry = entry_of(spec)
    now = json.loads(header(spec, entry, device=False))["law"]
    if changed := difference(manifest["law"], now):
        raise ValueError(f"law: {spec.law} is another one by now: {changed}")
    return entry


class Grid:
    """The grid of a result and its law, ready to be asked again.

    Args:
        spec, entry: of the result.
        manifest: its own; of a curve the greatest budget is the limit here.
        best: candidate id of its best design, or None.
    """

    def __init__(self, spec: SweepSpec, entry: LawEntry, manifest: Mapping[str, Any], best: int | None):
        problem = make_problem(spec, entry)
        check_law(entry, problem)
        if told := manifest.get("curve"):
            problem = within(problem, told["over"], max(told["budgets"]))
        self.problem = replace(problem, costs=())
        self.spec, self.entry, self.best = spec, entry, best
        self.cost = self.problem.space.size * believed(self.problem.law)  # of a sweep, in candidates

    @cached_property
    def columns(self) -> Columns:
        """Evaluates candidates by their ids."""
        return make_columns(Engine(self.problem), self.spec, self.entry)

    def feasible(self) -> Iterator[Feasible]:
        """All feasible candidates in the order of their ids."""
        engine = self._in_order
        everything = Asked(engine.tiling, Screen(np.float32(engine.margin), np.float32(-np.inf)), [])
        for number in range(engine.tiling.count):
            start = engine.tiling.start(number)
            surveyed = engine.survey([start], everything)
            place = np.flatnonzero(surveyed.feasible)
            columns = (surveyed.score, surveyed.training_flops, surveyed.total_params)
            score, flops, sizes = (np.broadcast_to(np.asarray(c), engine.tiling.tile).ravel()[place] for c in columns)
            yield Feasible(engine.tiling.span(start)[0] + place, self.columns.sign * score.astype(np.float64), flops, sizes)

    @cached_property
    def _in_order(self) -> Engine:
        return Engine(self.problem, target=TILE, in_order=True)

    def _plan(self, pair: Sequence[str] | None) -> heat.Plan:
        space = self.problem.space
        first, second = heat.choose_pair(space, pair)
        if self.best is None:
            raise ValueError("no candidate is feasible")
        digits = [int(d[0]) for d in space.digits(np.array([self.best]))]
        return heat.Plan(space, first, second, digits, self.columns.sign)

    def heat_maps(self, pair: Sequence[str] | None, place: Path, manifest: Mapping[str, Any]) -> list[HeatMap]:
        """Heat maps, that of ``pair`` first: from the rows of the result, by sweeps, or slices through the best design."""
        plan = self._plan(pair)
        if files := row_files(place, manifest):
            return heat.from_rows(plan, _ids(files))
        if self.cost <= STREAMED:
            return heat.from_rows(plan, ((batch.ids, batch.score) for batch in self.feasible()))
        if self.cost <= heat.MOST_SWEPT:
            return heat.from_sweeps(plan, self.problem, self.cost)
        return heat.slices(plan, self.columns)

    def marginals(self) -> DataFrame:
        """The best score per value of every axis; ValueError where the grid is too large."""
        import pandas as pd

        if self.cost > heat.MOST_SWEPT:
            raise ValueError("the grid is too large to be swept for them")
        kept = sweep(self.problem, top=1, counts=False, engine=self.columns.engine).marginals
        parts = [
            pd.DataFrame({"axis": axis.field, "value": axis.values, "score": self.columns.sign * best.score})
            for axis, best in zip(self.problem.space.axes, kept.finish() if kept else (), strict=True)
        ]
        found = pd.concat(parts, ignore_index=True)
        return found.assign(score=found["score"].where(np.isfinite(found["score"])))

    def iso_flops(self, levels: list[float]) -> DataFrame:
        """The best design per level of FLOPs and bin of sizes; ValueError where there is no sense in it."""
        if self.cost <= STREAMED and self.problem.space.spend is None:
            return iso_flops.from_rows(self.columns, levels, self.feasible)
        return iso_flops.from_searches(self.columns, levels)


def _ids(files: Sequence[Path]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for batch in batches(files, ["candidate_id", "score"]):
        yield batch["candidate_id"].to_numpy(), batch["score"].to_numpy().astype(np.float64)
