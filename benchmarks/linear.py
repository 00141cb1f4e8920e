"""Time against candidates, 10^8 to 10^11 of them: how far from a straight line, which is a fixed cost and a price of each."""

import statistics
import time
from typing import Any

import numpy as np

from benchmarks.throughput import BUDGET, ENGINES, TOP, dense_space
from perflaw_jax.engine import Engine, Problem
from perflaw_jax.exhaustive import sweep
from perflaw_jax.laws import LAWS
from perflaw_jax.objective import Bound

LAYERS = 6, 19, 60, 190, 600, 1900, 6000  # values of the one axis that becomes finer
ROUNDS = 3
SHORT = 1.0  # seconds; a shorter sweep is timed after one that is not


def run() -> dict[str, Any]:
    """Sweep all sizes in turns, with little and with everything kept; print and return times and deviations."""
    figures = {}
    for name, kept in ENGINES.items():
        print(name)
        figures[name] = _measured(*kept)
    return figures


def _measured(costs: tuple[str, ...], marginals: bool, counts: bool) -> dict[str, Any]:
    sizes = 1024.0 + 256.0 * np.arange(256)
    spaces = [dense_space((np.linspace(16, 140, n), sizes[:64], sizes, np.geomspace(1e11, 3e13, 1024))) for n in LAYERS]
    limits = {"training_flops": Bound(max=BUDGET)}
    engines = [Engine(Problem(space, LAWS["performance-dense"].law, limits, costs)) for space in spaces]

    def timed(engine: Engine) -> float:
        began = time.perf_counter()
        sweep(engine.problem, top=TOP, marginals=marginals, counts=counts, engine=engine)
        return time.perf_counter() - began

    last = [timed(engine) for engine in engines]  # compiles
    seconds: list[list[float]] = [[] for _ in engines]
    for _ in range(ROUNDS):
        for i, engine in enumerate(engines):
            if last[i] < SHORT:
                timed(engine)
            last[i] = timed(engine)
            seconds[i].append(last[i])
    candidates, took = np.array([float(space.size) for space in spaces]), np.array([*map(statistics.median, seconds)])
    price, fixed = np.polyfit(candidates, took, 1, w=1 / took)
    deviation = took / (fixed + price * candidates) - 1
    for n, t, off in zip(candidates, took, deviation, strict=True):
        print(f"{n:16,.0f} candidates: {t:8.3f} s, {off:+.1%} off {1e3 * fixed:.0f} ms and {1e9 * price:.3f} ns a candidate")
    return {
        "candidates": [space.size for space in spaces],
        "seconds": seconds,
        "fixed_seconds": fixed,
        "seconds_per_candidate": price,
        "deviation": deviation.tolist(),
        "largest_deviation": float(abs(deviation).max()),
    }
