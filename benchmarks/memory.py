"""Peak memory of sweeps of about 10^8 and 10^10 candidates, each in a process of its own."""

import json
import subprocess
import sys
from typing import Any

SCRIPT = """
import json, resource, sys, time
import numpy as np
from perflaw_jax.engine import Engine, Problem
from perflaw_jax.laws import LAWS
from perflaw_jax.objective import Bound
from perflaw_jax.space import Axis, Space
from perflaw_jax.exhaustive import Kept, run, sweep

layers = int(sys.argv[1])
names = ("num_hidden_layers", "hidden_size", "intermediate_size", "training_tokens")
sizes = 1024.0 + 256.0 * np.arange(256)
axes = (np.linspace(16, 140, layers), sizes[:64], sizes, np.geomspace(1e11, 3e13, 1024))
space = Space(tuple(Axis(n, tuple(map(float, a))) for n, a in zip(names, axes)))
problem = Problem(space, LAWS["performance-dense"].law, {"training_flops": Bound(max=1e24)}, ("training_flops",))
engine = Engine(problem)
first = run(engine, Kept.empty(problem, top=1000, marginals=True, counts=True))
next(first), next(first)  # compiles
began = time.perf_counter()
kept = sweep(problem, engine=engine)
seconds = time.perf_counter() - began
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"candidates": space.size, "seconds": seconds, "peak_bytes": peak, "feasible": kept.counts.feasible}))
"""


def run() -> dict[str, Any]:
    """Sweep 10^8 and 10^10 candidates with everything kept; print and return peak memory."""
    runs = []
    for layers in (6, 60, 600):
        done = subprocess.run([sys.executable, "-c", SCRIPT, str(layers)], check=True, capture_output=True, text=True)
        runs.append(json.loads(done.stdout))
        last = runs[-1]
        rate, peak = last["candidates"] / last["seconds"] / 1e9, last["peak_bytes"] / 2**20
        print(f"{last['candidates']:15,} candidates: {peak:8.0f} MiB, {last['seconds']:7.2f} s, {rate:.2f} G/s")
    figures = {
        "runs": runs,
        "memory_1e10_over_1e8": runs[-1]["peak_bytes"] / runs[0]["peak_bytes"],
    }
    print({name: round(value, 3) for name, value in figures.items() if name != "runs"})
    return figures
