"""Optuna's samplers against each other and against plain ``study.optimize``, and what our own loop costs per trial."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from perflaw_jax.catalogue import find_law
from perflaw_jax.columns import Columns
from perflaw_jax.engine import Engine
from perflaw_jax.exhaustive import sweep
from perflaw_jax.job import make_problem
from perflaw_jax.proposals import Choices
from perflaw_jax.sampled import Judge, search
from perflaw_jax.samplers import SAMPLERS, Asked, Verdict, batch_size, check_sampler, make_proposer
from perflaw_jax.spec import load_spec
from perflaw_jax.studies import InMemory

SPEC = Path(__file__).parent.parent / "sweeps" / "dense-1e24.toml"
TRIALS, NEAR = 1000, 0.1  # MMLU
RUNS = {"gp": (32, 1), "rustuna": (TRIALS, 10), "rustuna, 20 x": (20 * TRIALS, 5)}  # trials, seeds; else 10


class Timed:
    """A proposer, and the seconds that asking and telling it took."""

    def __init__(self, proposer: Any):
        self._proposer, self.seconds = proposer, 0.0

    def ask(self) -> Asked:
        """The next proposal."""
        return self._timed(self._proposer.ask)

    def tell(self, asked: Asked, verdict: Verdict) -> dict[str, Any]:
        """Learn."""
        return self._timed(self._proposer.tell, asked, verdict)

    def learn(self, trials: Any) -> None:
        """Nothing comes from elsewhere."""

    def _timed(self, call: Any, *arguments: Any) -> Any:
        began = time.perf_counter()
        result = call(*arguments)
        self.seconds += time.perf_counter() - began
        return result


def run() -> dict[str, Any]:
    """Search the dense 1e24 grid with every sampler and several seeds; print and return how far from the optimum they stay."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    spec = load_spec(SPEC)
    problem = make_problem(spec, find_law(spec.law))
    columns, choices = Columns(Engine(problem), spec.budget), Choices(problem.space, (), problem.limits)
    optimum = float(sweep(problem, top=1, marginals=False, counts=False, engine=columns.engine).top.finish().score[0])
    figures: dict[str, Any] = {"optimum": optimum, "samplers": {}}
    for name in [*SAMPLERS, "rustuna, 20 x"]:
        sampler = name.partition(",")[0]
        try:
            check_sampler(sampler, objectives=1, axes=len(choices.counts))
        except ValueError as error:
            print(f"{name:14s} left out: {error}")
            continue
        trials, seeds = RUNS.get(name, (TRIALS, 10))
        judge = Judge(columns, choices, batch=batch_size(sampler))
        figures["samplers"][name] = _show(name, [_one(judge, sampler, trials, seed, optimum) for seed in range(seeds)], trials)
    judge = Judge(columns, choices, batch=1)
    plain = [_plain(judge, seed, optimum) for seed in range(2)]
    figures["plain study.optimize, TPE, one evaluation a trial"] = _show("plain tpe", plain, TRIALS)
    return figures


def _one(judge: Judge, sampler: str, trials: int, seed: int, optimum: float) -> dict[str, float]:
    proposer, best = Timed(make_proposer(sampler, judge.choices.counts, ["maximize"], [seed])), []
    judge.judge(np.zeros((1, len(judge.choices.counts)), np.int64))  # compiled before the clock starts
    began = time.perf_counter()
    search(judge, proposer, InMemory(trials), lambda missing, so_far: best.append(so_far))
    seconds = time.perf_counter() - began
    return {"off": optimum - best[-1], "seconds": seconds, "own_ms": 1e3 * (seconds - proposer.seconds) / trials}


def _plain(judge: Judge, seed: int, optimum: float) -> dict[str, float]:
    """As one would write it without this project: ``study.optimize``, the grid's indices, a penalty, no repair of tokens."""
    best, choices = [-np.inf], Choices(judge.problem.space)

    def objective(trial: optuna.Trial) -> float:
        row = [trial.suggest_int(name, 0, n - 1) for name, n in choices.counts.items()]
        rows = judge.columns.of(judge.problem.space.ids(choices.digits(np.array([row]))), size=1)
        feasible = bool(rows.decided.feasible[0])
        best[0] = max(best[0], float(rows.decided.score[0])) if feasible else best[0]
        return float(rows.decided.score[0]) if feasible else 0.0

    began = time.perf_counter()
    optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed)).optimize(objective, TRIALS)
    return {"off": optimum - best[0], "seconds": time.perf_counter() - began, "own_ms": float("nan")}


def _show(name: str, runs: list[dict[str, float]], trials: int) -> dict[str, Any]:
    off = sorted(run["off"] for run in runs)
    figures = {
        "trials": trials,
        "seeds": len(runs),
        f"within_{NEAR}": sum(o <= NEAR for o in off),
        "off_median": float(np.median(off)),
        "off_worst": off[-1],
        "seconds_median": float(np.median([run["seconds"] for run in runs])),
    }
    own = float(np.median([run["own_ms"] for run in runs]))
    figures |= {"own_ms_per_trial": own} if own == own else {}
    print(
        f"{name:14s} {trials:6,} trials: {figures[f'within_{NEAR}']} of {len(runs)} seeds within {NEAR}, "
        f"median {figures['off_median']:.3f} off, worst {off[-1]:.3f}, {figures['seconds_median']:.1f} s, {own:.3f} ms own",
        flush=True,
    )
    return figures
