"""A spec searched by Optuna under a budget of trials, its results written to a directory."""

from __future__ import annotations

import json
import os
import socket
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import optuna

from perflaw_jax.columns import Columns
from perflaw_jax.engine import Engine, as_batch
from perflaw_jax.frontier import Frontier
from perflaw_jax.interrupt import Stopped, stoppable
from perflaw_jax.job import check_law, entry_of, header, make_columns, make_problem
from perflaw_jax.kept import Kept
from perflaw_jax.laws import LawEntry
from perflaw_jax.optimum import distance
from perflaw_jax.progress import Tick, silent
from perflaw_jax.proposals import Choices
from perflaw_jax.reduce import TopK
from perflaw_jax.sampled import Judge, search
from perflaw_jax.samplers import Direction, batch_size, check_sampler, default_sampler, make_proposer
from perflaw_jax.searched import Searched, finish, unknown_counts
from perflaw_jax.spec import SweepSpec
from perflaw_jax.storages import shown
from perflaw_jax.store import ResultDir
from perflaw_jax.studies import Finished, InMemory, Stored, opened_study


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a search by Optuna is to go.

    Attributes:
        trials: in the whole study, those of earlier runs and other processes included.
        sampler: a name of ``samplers.SAMPLERS``; None for the default.
        seed: of the sampler; a search in memory is the same whenever it is repeated.
        cell: axes that a trial leaves open.
        multi: whether the frontier's costs are objectives beside the score.
        storage: where trials are kept; None for memory.
        study: its name there; None for the spec's.
    """

    trials: int = 1000
    sampler: str | None = None
    seed: int = 0
    cell: tuple[str, ...] = ()
    multi: bool = False
    storage: str | None = None
    study: str | None = None


def run_optuna(spec: SweepSpec, out: Path, plan: Plan, tick: Tick = silent) -> Searched:
    """Search a spec's grid with Optuna and write ``out``.

    Raises:
        ValueError: the spec, the plan or the study makes no sense; nothing was written.
        StoreError: a disk or a storage fails; what is finished stays in the study.
        Stopped: the user pressed Ctrl-C.
    """
    began = time.perf_counter()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    entry = entry_of(spec)
    problem = make_problem(spec, entry)
    check_law(entry, problem)
    choices = Choices(problem.space, plan.cell, problem.limits)
    sampler = _check(plan, choices, len(problem.costs))
    told = {"method": "optuna", "sampler": sampler, "trials": plan.trials, "cell": [*plan.cell], "multi": plan.multi}
    if plan.storage is None:
        told["seed"] = plan.seed
    try:
        with stoppable() as asked_to_stop, _finished(spec, entry, plan, choices) as finished:
            directory = ResultDir.create(out, header(spec, entry, "optuna", search=told))
            with directory.held(shared=plan.storage is not None):  # several processes may work on a stored study
                columns = make_columns(Engine(problem), spec, entry)
                judge = Judge(columns, choices, plan.multi, batch_size(sampler))
                proposer = make_proposer(sampler, choices.counts, _directions(plan, entry, problem.costs), _seed(plan))
                ids = np.array(search(judge, proposer, finished, _ticked(plan, tick, asked_to_stop)), np.int64)
                return _write(directory, columns, ids, spec, entry, sampler, began)
    except KeyboardInterrupt:
        raise Stopped(_resumable(spec, plan)) from None


def _ticked(plan: Plan, tick: Tick, asked_to_stop: Callable[[], bool]) -> Callable[[int, float], None]:
    def ticked(missing: int, best: float) -> None:
        if asked_to_stop():
            raise KeyboardInterrupt
        done = plan.trials - missing
        tick(done / plan.trials, done, best if np.isfinite(best) else np.nan)

    return ticked


def _check(plan: Plan, choices: Choices, costs: int) -> str:
    """The sampler; ValueError for a plan that makes no sense."""
    if plan.trials < 1:
        raise ValueError(f"--trials: must be >= 1, not {plan.trials}")
    if plan.seed < 0:
        raise ValueError(f"--seed: must be >= 0, not {plan.seed}")
    if plan.multi and not costs:
        raise ValueError("--multi: the spec names no costs to weigh the score against; set output.frontier")
    if plan.multi and plan.cell:
        raise ValueError("--multi: a cell has one best design by the score alone; drop --cell or --multi")
    wanted = {"objectives": 1 + costs * plan.multi, "axes": len(choices.counts)}
    sampler = plan.sampler or default_sampler(plan.trials, **wanted)
    check_sampler(sampler, **wanted)
    return sampler


def _directions(plan: Plan, entry: LawEntry, costs: tuple[str, ...]) -> list[Direction]:
    score: Direction = "maximize" if entry.higher_is_better else "minimize"
    rest: list[Direction] = ["minimize"] * len(costs)
    return [score, *rest] if plan.multi else [score]


@contextmanager
def _finished(spec: SweepSpec, entry: LawEntry, plan: Plan, choices: Choices) -> Iterator[Finished]:
    """Where the plan wants its trials kept."""
    if plan.storage is None:
        if plan.study is not None:
            raise ValueError("--study: a search in memory has no name; give it a --storage")
        yield InMemory(plan.trials)
        return
    identity = {
        "spec_sha256": spec.sha256(),
        "spec": json.loads(spec.canonical()),
        "law": {"name": entry.name, "coefficients": entry.quoted},
        "cell": sorted(plan.cell),
        "multi": plan.multi,
    }
    directions = _directions(plan, entry, spec.output.frontier)
    with opened_study(plan.storage, plan.study or spec.name, identity, directions) as study:
        yield Stored(study, plan.storage, choices.counts, choices.space.size, plan.trials)


def _seed(plan: Plan) -> list[int]:
    """In memory the plan's; processes that share a study must differ, and a resumed one from its first run."""
    if plan.storage is None:
        return [plan.seed]
    return [plan.seed, zlib.crc32(socket.gethostname().encode()), os.getpid(), time.time_ns()]


def _write(
    directory: ResultDir, columns: Columns, ids: np.ndarray, spec: SweepSpec, entry: LawEntry, sampler: str, began: float
) -> Searched:
    """Rank the trials, each evaluated once more by its id, and write the results."""
    costs = len(columns.engine.problem.costs)
    distinct = columns.of(np.unique(ids))
    batch = as_batch(distinct.decided, distinct.ids, np.ones(len(distinct.ids), bool))
    kept = Kept(TopK(spec.output.top, costs).update(batch), Frontier(costs).update(batch) if costs else None, None, None)
    rows = columns.of(ids)
    trials = {"trial": np.arange(len(ids)), "feasible": rows.decided.feasible, **columns.full(rows)}
    account = {
        "counts": unknown_counts(columns.engine.problem.space.size),
        "optimum": distance(columns, float(kept.top.best.score[0]) if len(kept.top.best.score) else None),
        "trials": {"finished": len(ids), "feasible": int(rows.decided.feasible.sum()), "distinct": len(distinct.ids)},
    }
    return finish(spec, entry, directory, columns, kept, account, sampler, began, trials)


def _resumable(spec: SweepSpec, plan: Plan) -> str:
    if plan.storage is None:
        return "stopped; the trials were in memory only: with --storage a search can be resumed"
    name = plan.study or spec.name
    return f"stopped; the same command goes on where study {name!r} in {shown(plan.storage)} was left"
