"""What a search came to, whatever its method, and how it is written to a directory."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from perflaw_jax.columns import Columns
from perflaw_jax.laws import LawEntry
from perflaw_jax.lock import locked
from perflaw_jax.results import best_columns, plain, write_kept
from perflaw_jax.spec import SweepSpec
from perflaw_jax.store import ResultDir


@dataclass(frozen=True)
class Searched:
    """What a search came to, for display: the same is in the result directory."""

    name: str
    directory: Path
    entry: LawEntry
    by: str  # the sampler, or "exact"
    account: dict[str, Any]  # what the run adds to the manifest
    top: dict[str, np.ndarray]
    frontier_points: int
    seconds: float


def finish(
    spec: SweepSpec,
    entry: LawEntry,
    directory: ResultDir,
    columns: Columns,
    kept: Any,
    account: dict[str, Any],
    by: str,
    began: float,
    trials: dict[str, Any] | None = None,
) -> Searched:
    """Write the results of a search that began at ``began`` (of ``time.perf_counter``), once no other process writes there."""
    top = best_columns(columns, kept.top.finish().candidate_id)
    with locked(directory.path, "join", wait=True):
        directory.begin()
        shards = write_kept(directory, columns, kept, top)
        if trials is not None:
            shards.append(directory.write_trials(trials))
        directory.write_manifest(account, shards)
    points = 0 if kept.frontier is None else len(kept.frontier.finish().score)
    return Searched(spec.name, directory.path, entry, by, account, plain(top), points, time.perf_counter() - began)


def unknown_counts(candidates: int) -> dict[str, int | None]:
    """The counts of a search: it does not see every candidate."""
    return {"candidates": candidates, "feasible": None, "cut_by_limit": None}
