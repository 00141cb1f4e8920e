"""A spec carried out: the engine run over its grid, its results written to a directory."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from perflaw_jax import __version__
from perflaw_jax.catalogue import find_law
from perflaw_jax.columns import Column, Columns
from perflaw_jax.confidence import QUANTILES, Confidence
from perflaw_jax.design import is_fraction
from perflaw_jax.engine import Engine, Problem, Rows
from perflaw_jax.laws import LawEntry, Negated, Quantile
from perflaw_jax.manifest import Shard, git_state, sha256
from perflaw_jax.objective import Bound, as_limits, evaluate, make_design
from perflaw_jax.reduce import Counts
from perflaw_jax.space import Axis
from perflaw_jax.spec import SweepSpec
from perflaw_jax.store import ResultDir
from perflaw_jax.sweep import Kept, feasible_rows, sweep

TILE, LEAST_TILE = 2**24, 2**12  # candidates per tile
ROW_TILE = 2**21  # candidates per tile where rows are streamed
PART_ROWS = 2**19  # rows gathered before a part is written


@dataclass(frozen=True)
class Outcome:
    """What a sweep came to, for display: the same is in the result directory."""

    name: str
    directory: Path
    entry: LawEntry
    counts: Counts
    top: dict[str, np.ndarray]
    frontier_points: int
    seconds: float


Tick = Callable[[float, int, float], None]
"""Progress: share done, candidates done, best score so far (NaN if none)."""


def run_sweep(spec: SweepSpec, out: Path, tick: Tick = lambda share, candidates, best: None) -> Outcome:
    """Sweep a spec's grid and write ``out``; ValueError for a spec that makes no sense, StoreError for a disk that fails.

    Nothing is deleted or written before the law was traced on the grid.
    """
    began = time.perf_counter()
    entry = find_law(spec.law).with_settings(spec.law_settings)
    problem = make_problem(spec, entry)
    check_law(entry, problem)
    directory = ResultDir.create(out, header(spec, entry))
    try:
        directory.begin()
        rows = spec.output.rows
        tile, in_order = (TILE, False) if rows == "none" else (ROW_TILE, True)
        engine = Engine(problem, in_order=in_order, target=max(LEAST_TILE, tile // _believed(problem.law)))
        columns = make_columns(engine, spec, entry)
        progress = _Progress(tick, problem.space.size, columns.sign)
        if rows == "none":
            kept, shards = sweep(problem, top=spec.output.top, engine=engine, tick=progress.tile), []
        else:
            kept, shards = _stream(rows, spec.output.top, columns, directory, progress)
        top = best_columns(columns, kept.top.finish().candidate_id)
        shards += write_kept(directory, columns, kept, top)
        directory.write_manifest(_account(kept), shards)
    except BaseException:
        directory.discard_if_empty()
        raise
    points = 0 if kept.frontier is None else len(kept.frontier.finish().score)
    counts = kept.counts or Counts()
    return Outcome(spec.name, out, entry, counts, plain(top), points, time.perf_counter() - began)


def make_problem(spec: SweepSpec, entry: LawEntry) -> Problem:
    """The engine's view of a spec: more is better, and at least one axis."""
    space = spec.space()
    space = replace(space, rest=entry.open_share({axis.field for axis in space.axes} | space.fixed.keys()))
    if not space.axes:
        layers = Axis("num_hidden_layers", (space.fixed["num_hidden_layers"],))
        space = replace(space, axes=(layers,), fixed={k: v for k, v in space.fixed.items() if k != layers.field})
    for name in filter(is_fraction, (*spec.limits, *spec.output.frontier)):
        if name not in space.tables:
            raise ValueError(f"{name}: no such data domain here; give it under [axes] or [fixed]")
    limits = as_limits(spec.limits)
    law = _ranking(spec.output.rank_by, entry)
    if not entry.higher_is_better:
        law = Negated(law)
        if "score" in limits:
            low, high = limits["score"].min, limits["score"].max
            limits["score"] = Bound(None if high is None else -high, None if low is None else -low)
    return Problem(space, law, limits, spec.output.frontier)


def _ranking(rank_by: str, entry: LawEntry) -> Any:
    """The law whose score ranks: the quoted one, or a quantile of what its ensemble believes."""
    if rank_by == "score":
        return getattr(entry.law, "point", entry.law)
    if not hasattr(entry.law, "quantile"):
        raise ValueError(
            f"output.rank_by: {entry.name} has no ensemble or interval; rank by score, or fit the law yourself with --bootstrap"
        )
    return Quantile(entry.law, QUANTILES[rank_by])


def _believed(law: Any) -> int:
    """Scores of a design that ranking looks at: every member's, where a quantile ranks."""
    ranked = law.law if isinstance(law, Negated) else law
    members = getattr(ranked.law, "members", None) if isinstance(ranked, Quantile) else None
    return 1 if members is None else len(jax.tree.leaves(members)[0])


def make_columns(engine: Engine, spec: SweepSpec, entry: LawEntry) -> Columns:
    """The result columns of a spec's candidates."""
    return Columns(engine, spec.budget, 1 if entry.higher_is_better else -1, Confidence(entry))


def best_columns(columns: Columns, ids: np.ndarray) -> dict[str, Column]:
    """The columns of the best candidates, with the probability that each is the best of them where the law has an ensemble."""
    rows, confidence = columns.of(ids), columns.confidence
    best = columns.full(rows)
    if confidence is not None and confidence.has_ensemble:
        best["prob_best"] = confidence.probability_best(columns.design(rows))
    return best


def check_law(entry: LawEntry, problem: Problem) -> None:
    """ValueError where the law cannot score the designs of the grid."""
    tables, spend = problem.space.tables, problem.space.spend
    fields = {name: jax.ShapeDtypeStruct((), np.float32) for name in tables}

    def score(values: dict[str, Any]) -> Any:
        return evaluate(make_design(values, spend), problem.law, {}).raw

    entry.check(score, fields, experts="num_experts" in tables and bool((tables["num_experts"].values > 0).any()))


def header(spec: SweepSpec, entry: LawEntry, *packages: str, **more: Any) -> str:
    """The part of the manifest that rides in every Parquet file: what was asked, by which law, with which software.

    ``packages`` are named with their versions beside the usual ones; ``more`` is added as it is.
    """
    packages = ("jax", "jaxlib", "numpy", "pyarrow", *packages)
    return json.dumps(
        {
            "name": spec.name,
            "spec": json.loads(spec.canonical()),
            "spec_sha256": spec.sha256(),
            "law": {
                "name": entry.name,
                "metric": entry.metric,
                "source": entry.source,
                "note": entry.note,
                "higher_is_better": entry.higher_is_better,
                "coefficients": entry.quoted,
                **({"file_sha256": sha256(Path(spec.law))} if spec.law.endswith(".json") else {}),
            },
            "versions": {
                "perflaw_jax": __version__,
                "python": platform.python_version(),
                **{name: version(name) for name in packages},
            },
            "device": f"{jax.devices()[0].platform} ({jax.devices()[0].device_kind})",
            "git": git_state(Path(__file__).parent),
            **more,
        }
    )


def _stream(
    kind: Literal["feasible", "compact"], top: int, columns: Columns, directory: ResultDir, progress: _Progress
) -> tuple[Kept, list[Shard]]:
    """Write every feasible row while the device works on the next tile."""
    engine = columns.engine
    size = engine.problem.space.size
    kept = Kept.empty(engine.problem, top=top, marginals=True, counts=True)
    make = columns.full_slab if kind == "feasible" else columns.compact_slab
    with directory.rows(kind, size, columns.shares) as writer:
        begin, gathered, rows = 0, [], 0
        for done, (_, end, slab) in enumerate(feasible_rows(engine, kept), start=1):
            gathered.append(make(slab))
            rows += len(slab.ids)
            if rows >= PART_ROWS or end == size:
                writer.write(begin, end, _join(gathered))
                begin, gathered, rows = end, [], 0
            progress.tile(done, kept, share=end / size)
    return kept, writer.shards


def _join(parts: list[dict[str, Column]]) -> dict[str, Column]:
    """The rows of several tiles as one: coded columns share their values, and constants stay as they are."""
    if len(parts) == 1:
        return parts[0]
    joined = {}
    for name, column in parts[0].items():
        if isinstance(column, tuple):
            joined[name] = np.concatenate([part[name][0] for part in parts]), column[1]
        elif isinstance(column, np.ndarray):
            joined[name] = np.concatenate([part[name] for part in parts])
        else:
            joined[name] = column
    return joined


def write_kept(directory: ResultDir, columns: Columns, kept: Kept, top: dict[str, Any]) -> list[Shard]:
    """Write what was kept; ``top`` are the columns of the best."""
    shards = [directory.write_top(top)]
    if kept.frontier is not None:
        rows = columns.of(kept.frontier.finish().candidate_id)
        shards.append(directory.write_frontier({**columns.full(rows), **_extra_costs(columns, rows)}))
    if kept.marginals is not None:
        space, best = columns.engine.problem.space, kept.marginals.finish()
        names = [axis.field for axis in space.axes for _ in axis.values]
        values = np.concatenate([np.asarray(axis.values, float) for axis in space.axes])
        score = np.concatenate([np.where(b.candidate_id >= 0, columns.sign * b.score, np.nan) for b in best])
        ids = np.concatenate([b.candidate_id for b in best])
        shards.append(directory.write_marginals(names, values, score, ids))
    return shards


def _extra_costs(columns: Columns, rows: Rows) -> dict[str, Any]:
    usual = columns.full(rows)
    return {name: cost for name, cost in columns.costs(rows).items() if name not in usual}


def _account(kept: Kept) -> dict[str, Any]:
    counts = kept.counts or Counts()
    return {
        "counts": {
            "candidates": counts.candidates,
            "feasible": counts.feasible,
            "cut_by_limit": dict(sorted(counts.cut.items())),
        }
    }


def plain(columns: dict[str, Any]) -> dict[str, np.ndarray]:
    """Columns as plain arrays, for display."""
    rows = len(columns["candidate_id"])
    plain = {}
    for name, column in columns.items():
        if isinstance(column, tuple):
            column = column[1][column[0]]
        plain[name] = np.broadcast_to(np.nan if column is None else column, rows)
    return plain


class _Progress:
    """Turns the engine's ticks into shares, candidates and best score."""

    def __init__(self, tick: Tick, size: int, sign: int):
        self._tick, self._size, self._sign = tick, size, sign

    def tile(self, done: int, kept: Kept, share: float | None = None) -> None:
        counted = kept.counts.candidates if kept.counts is not None else 0
        best = kept.top.best.score[:1]
        score = self._sign * float(best[0]) if len(best) else float("nan")
        self._tick(counted / self._size if share is None else share, counted, score)
