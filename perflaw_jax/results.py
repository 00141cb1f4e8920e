"""What was kept of a sweep or search, as the files of a result directory."""

from __future__ import annotations

from typing import Any

import numpy as np

from perflaw_jax.columns import Column, Columns
from perflaw_jax.engine import Rows
from perflaw_jax.kept import Kept
from perflaw_jax.manifest import Shard
from perflaw_jax.store import ResultDir


def best_columns(columns: Columns, ids: np.ndarray) -> dict[str, Column]:
    """The columns of the best candidates, with the probability that each is the best of them where the law has an ensemble."""
    rows, confidence = columns.of(ids), columns.confidence
    best = columns.full(rows)
    if confidence is not None and confidence.has_ensemble:
        best["prob_best"] = confidence.probability_best(columns.design(rows))
    return best


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


def plain(columns: dict[str, Any]) -> dict[str, np.ndarray]:
    """Columns as plain arrays, for display."""
    rows = len(columns["candidate_id"])
    plain = {}
    for name, column in columns.items():
        if isinstance(column, tuple):
            column = column[1][column[0]]
        plain[name] = np.broadcast_to(np.nan if column is None else column, rows)
    return plain
