"""Results as an object: the tables of a result directory as pandas frames, with what one does next with them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perflaw_jax import display
from perflaw_jax.design import FIELDS, is_fraction, nearest
from perflaw_jax.files import StoreError, arrow_file, as_place, told
from perflaw_jax.manifest import read_manifest
from perflaw_jax.spec import SweepSpec, parse_spec
from perflaw_jax.verify import verify

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow.dataset as ds
    from plotly.graph_objects import Figure
    from rich.table import Table

    from perflaw_jax.explain import Explanation
    from perflaw_jax.report.frames import Score

SHOWN = 10  # designs of a repr
TABLES = ("top", "frontier", "marginals", "trials", "curve")


class Results:
    """The results of a sweep, search or curve.

    The tables that they have (``tables``, of top, frontier, marginals, trials and curve) are attributes, each a pandas frame
    that is read when it is first asked for. ``rows`` is the data set of all feasible rows, which may be larger than memory.
    """

    def __init__(self, directory: str | Path):
        """Open a result directory, or the URL of one; ``StoreError`` where there are no complete results."""
        self.directory = as_place(str(directory))
        self.manifest: Mapping[str, Any] = read_manifest(self.directory)
        if not self.manifest["complete"]:
            raise StoreError(f"{self.directory}: the run has not finished; perflaw sweep --resume goes on with it")

    @property
    def name(self) -> str:
        """The spec's name."""
        return self.manifest["name"]

    @cached_property
    def spec(self) -> SweepSpec:
        """What was asked."""
        return parse_spec(self.manifest["spec"], where=str(self.directory))

    @property
    def law(self) -> Mapping[str, Any]:
        """The law's name, metric, source, note, coefficients, and whether more is better."""
        return self.manifest["law"]

    @property
    def counts(self) -> Mapping[str, Any]:
        """Candidates, feasible ones (None for a search) and how many each limit cut."""
        return self.manifest["counts"]

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables that these results have."""
        files = {shard["path"] for shard in self.manifest["shards"]}
        return tuple(name for name in TABLES if f"{name}.parquet" in files)

    @cached_property
    def top(self) -> pd.DataFrame:
        """The best designs, best first."""
        return self._table("top")

    @cached_property
    def frontier(self) -> pd.DataFrame:
        """The designs that no other beats in score at less cost."""
        return self._table("frontier")

    @cached_property
    def marginals(self) -> pd.DataFrame:
        """The best score for every value of every axis."""
        return self._table("marginals")

    @cached_property
    def trials(self) -> pd.DataFrame:
        """The trials of a search by Optuna."""
        return self._table("trials")

    @cached_property
    def curve(self) -> pd.DataFrame:
        """The best design under each budget."""
        return self._table("curve")

    @property
    def rows(self) -> ds.Dataset:
        """All feasible rows: ``rows.to_table(columns=[...]).to_pandas()`` reads some of them."""
        import pyarrow.dataset as ds

        files = [str(self.directory / s["path"]) for s in self.manifest["shards"] if s["path"].startswith("rows/")]
        if not files:
            raise ValueError(f"{self.directory} has no rows: ask for them with output.rows = feasible or compact")
        return ds.dataset(files, format="parquet")

    def design(self, rank: int = 1, table: str = "top") -> dict[str, float]:
        """The Design fields of the design at ``rank``, counted from 1."""
        frame = getattr(self, table)
        if not 1 <= rank <= len(frame):
            raise ValueError(f"rank: must be 1 to {len(frame)}, not {rank}")
        row = frame.iloc[rank - 1]
        return {str(name): float(row[name]) for name in frame.columns if name in FIELDS or is_fraction(str(name))}

    def explain(self, rank: int = 1, table: str = "top") -> Explanation:
        """Why the design at ``rank`` scores as it does, held against the limits of the spec."""
        from perflaw_jax.catalogue import find_law
        from perflaw_jax.explain import explain
        from perflaw_jax.objective import as_limits

        entry = find_law(self.spec.law).with_settings(self.spec.law_settings)
        return explain(self.design(rank, table), entry, as_limits(self.spec.limits))

    def config(self, rank: int = 1, format: str = "hf", family: str | None = None, table: str = "top") -> str:
        """The design at ``rank`` as a config of another tool, as ``perflaw export`` writes it."""
        from perflaw_jax.configs import write_config

        return write_config(self.design(rank, table), format, family)

    def plot_frontier(self, cost: str = "training_flops") -> Figure:
        """The frontier's scores against one of its columns, with real models where they report the law's metric."""
        from perflaw_jax.report import charts
        from perflaw_jax.report.gather import real_models

        if cost not in (costs := [str(name) for name in self.frontier.columns if name not in ("candidate_id", "score")]):
            raise ValueError(f"cost: no column {cost!r}; {nearest(cost, costs)}")
        models = real_models() if self.law["metric"] == "MMLU" and cost in ("training_flops", "total_params") else None
        return charts.frontier(self.frontier, cost, self._score, exact=cost in self.spec.output.frontier, models=models)

    def plot_best(self, axis: str = "num_hidden_layers") -> Figure:
        """The best score for every value of one axis."""
        from perflaw_jax.report import charts
        from perflaw_jax.report.frames import axis_view, read_axis

        part = self.marginals.loc[self.marginals["axis"] == axis]
        if part.empty:
            raise ValueError(f"axis: no axis {axis!r}; {nearest(axis, sorted({*self.marginals['axis']}))}")
        reading = read_axis(part["value"].to_numpy(float), part["score"].to_numpy(float), self._score)
        views = {one.field: axis_view(one) for one in self.spec.space().axes}
        return charts.marginal(views[axis], part, self._score, reading)

    def plot_heat_map(self, down: str = "num_hidden_layers", across: str = "hidden_size") -> Figure:
        """The best score over two axes, from the rows or found again with the engine."""
        from perflaw_jax.report import charts
        from perflaw_jax.report.recompute import Grid, load_law

        grid = Grid(self.spec, load_law(self.spec, self.manifest), self.manifest, int(self.top["candidate_id"].iloc[0]))
        heat = grid.heat_maps((down, across), self.directory, self.manifest)[0]
        return charts.heat_map(heat, self._score)

    def report(self, out: str | Path | None = None) -> Path:
        """Write ``report.html`` and figures to a directory, that of the results if none is given; returns the page."""
        from perflaw_jax.report.writer import write_report

        return write_report(self.directory, self.directory if out is None else Path(out))[0]

    def verify(self) -> list[str]:
        """What is wrong with the files; nothing if they are sound."""
        return verify(self.directory)

    @property
    def _score(self) -> Score:
        from perflaw_jax.report.frames import Score

        return Score(self.law["metric"], self.law["higher_is_better"])

    def _table(self, name: str) -> pd.DataFrame:
        import pyarrow.parquet as pq

        if name not in self.tables:
            raise ValueError(f"{self.directory} has no table {name}; it has {', '.join(self.tables)}")
        file = self.directory / f"{name}.parquet"
        with told("read", file), arrow_file(file) as opened:
            return pq.read_table(opened).to_pandas()

    def _summary(self) -> str:
        counts, note = self.counts, f" ({self.law['note']})" if self.law["note"] else ""
        feasible = "" if counts["feasible"] is None else f"{counts['feasible']:,} feasible of "
        return f"{self.name}: {feasible}{counts['candidates']:,} candidates by {self.law['name']}{note}"

    def _best(self) -> dict[str, list[str]]:
        if "top" not in self.tables:
            return {}
        return display.designs({str(name): self.top[name].to_numpy() for name in self.top}, SHOWN, self.law["metric"])

    def __repr__(self) -> str:
        return f"Results({str(self.directory)!r}): {self._summary()}; tables: {', '.join(self.tables)}"

    def __rich__(self) -> Table:
        from rich.table import Table

        table = Table(title=self._summary(), title_justify="left")
        best = self._best()
        for name in best:
            table.add_column(name, justify="right")
        for row in zip(*best.values(), strict=True):
            table.add_row(*row)
        return table

    def _repr_html_(self) -> str:
        from html import escape

        import pandas as pd

        best = pd.DataFrame(self._best(), index=range(1, 1 + len(next(iter(self._best().values()), []))))
        return f"<p>{escape(self._summary())}</p>{best.to_html()}<p>tables: {', '.join(self.tables)}</p>"
