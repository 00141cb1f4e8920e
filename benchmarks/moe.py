"""A mixture-of-experts grid of seven axes against the dense grid: candidates per second of the same engine."""

import statistics
import time
from typing import Any

import numpy as np

from benchmarks.throughput import dense_space
from perflaw_jax.engine import Engine, Problem
from perflaw_jax.exhaustive import sweep
from perflaw_jax.laws import LAWS
from perflaw_jax.objective import Bound
from perflaw_jax.space import Axis, Space

ROUNDS = 5


def moe_space() -> Space:
    """Layers, width, expert width, experts, experts chosen, shared width, tokens: 5.4 x 10^8 candidates."""
    axes = {
        "num_hidden_layers": np.arange(16, 80, 4),
        "hidden_size": np.arange(1024, 9216, 512),
        "moe_intermediate_size": np.arange(512, 4608, 512),
        "num_experts": 2.0 ** np.arange(3, 11),
        "num_experts_per_tok": np.arange(1, 9),
        "shared_expert_intermediate_size": np.arange(0, 4096, 1024),
        "training_tokens": np.geomspace(1e11, 3e13, 1024),
    }
    return Space(tuple(Axis(name, tuple(map(float, values))) for name, values in axes.items()))


def run() -> dict[str, Any]:
    """Time both grids, interleaved; print and return candidates/s and their ratio."""
    engines = {}
    for name, law, space in (("dense", "performance-dense", dense_space()), ("moe", "performance-moe", moe_space())):
        problem = Problem(space, LAWS[law].law, {"training_flops": Bound(max=1e24)})
        engines[name] = Engine(problem)
    times: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(ROUNDS + 1):
        for name, engine in engines.items():
            began = time.perf_counter()
            sweep(engine.problem, engine=engine, marginals=False, counts=False)
            times[name].append(time.perf_counter() - began)
    rates = {name: engines[name].problem.space.size / statistics.median(ts[1:]) for name, ts in times.items()}
    figures = {
        "moe_candidates": engines["moe"].problem.space.size,
        "candidates_per_second": rates,
        "first_call_seconds": {name: ts[0] for name, ts in times.items()},
        "moe_over_dense": rates["moe"] / rates["dense"],
    }
    print(f"dense {rates['dense'] / 1e9:.2f} G/s, MoE {rates['moe'] / 1e9:.2f} G/s on {figures['moe_candidates']:,} candidates")
    print(f"MoE / dense {figures['moe_over_dense']:.2f}")
    return figures
