"""The engine against the planner's loop, NumPy, Numba and C on grids of 2^30 and 2^33 candidates: all find the same design."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import rivals
from perflaw_jax.engine import Engine, Problem
from perflaw_jax.exhaustive import sweep
from perflaw_jax.laws import LAWS
from perflaw_jax.objective import Bound
from perflaw_jax.space import Axis, Space

Grid = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
BUDGET = 1e24
TOP = 1000
ROUNDS, LARGE_ROUNDS = 9, 5
SHORT, SLOW = 1.0, 10.0  # seconds; a rival that takes longer is timed less often
ENGINES = {  # name -> (frontier costs, marginals, counts)
    "engine, top-1000": ((), False, False),
    "engine, top-1000 and one frontier": (("training_flops",), False, False),
    "engine, all that `perflaw sweep` keeps": (("training_flops",), True, True),
}

LOOPS = {
    "plain Python loop over floats (2^19)": rivals.python_loop,
    "plain Python loop, planner's way (2^19)": rivals.planner_loop,
}


def dense_space(grid: Grid | None = None) -> Space:
    """The grid of the rivals as a Space."""
    names, axes = ("num_hidden_layers", "hidden_size", "intermediate_size", "training_tokens"), grid or rivals.grid()
    return Space(tuple(Axis(name, tuple(map(float, values))) for name, values in zip(names, axes, strict=True)))


def run() -> dict[str, Any]:
    """Time all, interleaved, on either grid; print and return the figures."""
    return {**_measured(rivals.grid(), ROUNDS), "large": _measured(rivals.large_grid(), LARGE_ROUNDS)}


def _measured(axes: Grid, rounds: int) -> dict[str, Any]:
    space = dense_space(axes)
    contestants: dict[str, Callable[[], tuple[float, int]]] = {}
    compile_seconds = {}
    for name, (costs, marginals, counts) in ENGINES.items():
        problem = Problem(space, LAWS["performance-dense"].law, {"training_flops": Bound(max=BUDGET)}, costs)
        engine = Engine(problem)

        def contest(problem=problem, engine=engine, marginals=marginals, counts=counts) -> tuple[float, int]:
            best = sweep(problem, top=TOP, marginals=marginals, counts=counts, engine=engine).top.finish()
            return float(best.score[0]), int(best.candidate_id[0])

        contestants[name] = contest
    by_hand = {
        "C tuned by hand, all cores": rivals.c_kernel,
        "C factored by hand, all cores": rivals.c_plain,
        "Numba tuned by hand, all cores": rivals.numba_kernel,
        "Numba factored by hand, all cores": rivals.numba_plain,
        "NumPy factored by hand": rivals.numpy_broadcast,
        "NumPy, chunked broadcasting": rivals.numpy_plain,
    }
    for name, rival in by_hand.items():
        contestants[name] = lambda rival=rival: _found(space, rival(*axes, BUDGET))
    times: dict[str, list[float]] = {name: [] for name in contestants}
    found = {}
    for name, contest in contestants.items():
        began = time.perf_counter()
        found[name] = contest()
        compile_seconds[name] = time.perf_counter() - began
        if compile_seconds[name] > SLOW:
            times[name].append(compile_seconds[name])
    for _ in range(rounds):
        for name, contest in contestants.items():
            if sum(times[name]) > SLOW and name not in ENGINES:
                continue
            if times[name] and times[name][-1] < SHORT:
                contest()  # not timed: after seconds of another's work on one core, the other takes a while to be there
            began = time.perf_counter()
            contest()
            times[name].append(time.perf_counter() - began)
    rates = {name: [space.size / t for t in sorted(ts)] for name, ts in times.items()}
    for name, loop in LOOPS.items():
        rates[name] = sorted((_loop_rate(loop) for _ in range(3)), reverse=True)
    ids = {identity for _, identity in found.values()}
    figures = {
        "candidates": space.size,
        "same_best_design": len(ids) == 1,
        "best_score": found["engine, top-1000"][0],
        "candidates_per_second": {n: {"best": r[0], "median": statistics.median(r)} for n, r in rates.items()},
        "first_call_seconds": compile_seconds,
    }
    figures["ratios_of_medians"] = _ratios(figures["candidates_per_second"])
    _show(figures)
    return figures


def _found(space: Space, result: tuple) -> tuple[float, int]:
    score, digits = result[:2]
    return score, int(space.ids([np.asarray(d) for d in digits]))


def _loop_rate(loop: Callable) -> float:
    began = time.perf_counter()
    *_, count = loop(*rivals.python_grid(), BUDGET)
    return count / (time.perf_counter() - began)


def _ratios(rates: dict[str, dict[str, float]]) -> dict[str, float]:
    engine = rates["engine, top-1000"]["median"]
    ratios = {f"engine / {name}": engine / rate["median"] for name, rate in rates.items() if not name.startswith("engine")}
    for name in list(ENGINES)[1:]:
        ratios[f"time of {name} / top-1000 alone"] = engine / rates[name]["median"]
    return ratios


def _show(figures: dict[str, Any]) -> None:
    print(f"{figures['candidates']:,} candidates; same best design from all: {figures['same_best_design']}")
    for name, rate in figures["candidates_per_second"].items():
        first = figures["first_call_seconds"].get(name)
        told = "" if first is None else f"   first call, with compilation {first:.2f} s"
        print(f"{name:40s} {rate['median'] / 1e9:10.4f} G/s median {rate['best'] / 1e9:10.4f} best{told}")
    for name, ratio in figures["ratios_of_medians"].items():
        print(f"{name:70s} {ratio:,.2f}")
