"""The exact search: seconds to a certified optimum from 10^6 to 10^18 candidates, and against the exhaustive sweep."""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.throughput import dense_space
from perflaw_jax.certificate import Found, Progress
from perflaw_jax.engine import Engine, Problem
from perflaw_jax.exact import Searcher
from perflaw_jax.exhaustive import sweep
from perflaw_jax.laws import LAWS
from perflaw_jax.objective import Bound
from perflaw_jax.space import Axis, Space

ROUNDS = 5
LONG = 30.0  # seconds, beside which compilation counts little: not timed again
PATIENCE = 60.0  # seconds
DENSE, MOE = LAWS["performance-dense"].law, LAWS["performance-moe"].law
GROWTH = {6: (32, 32, 32, 31), 9: (178, 178, 178, 177), 12: (1000,) * 4, 15: (5600,) * 4, 18: (31600,) * 4}
SPEC = """
name = "trillion"
[axes]
num_hidden_layers = { start = 1, stop = 256, step = 1 }
hidden_size = { start = 128, stop = 65536, step = 128 }
intermediate_size = { start = 64, stop = 131072, step = 64 }
training_tokens = { geometric = [1e11, 3e13], num = 4096 }
[limits]
training_flops = 1e24
[output]
top = 10
frontier = []
"""


def dense_grid(layers: int, hidden: int, ffn: int, tokens: int) -> Space:
    """Layers 1 to 256, widths to 65,536, FFN to 131,072 and 0.1 to 30 T tokens, in so many steps."""
    values = {
        "num_hidden_layers": np.linspace(1, 256, layers),
        "hidden_size": np.linspace(128, 65536, hidden),
        "intermediate_size": np.linspace(64, 131072, ffn),
        "training_tokens": np.geomspace(1e11, 3e13, tokens),
    }
    return Space(tuple(Axis(name, tuple(map(float, column))) for name, column in values.items()))


def moe_grid() -> Space:
    """Seven axes, 10^15 candidates: layers, width, expert width, experts, experts chosen, shared width, tokens."""
    axes = {
        "num_hidden_layers": np.arange(1, 129),
        "hidden_size": np.arange(256, 16640, 128),
        "moe_intermediate_size": np.arange(128, 16512, 128),
        "num_experts": np.arange(8, 520, 8),
        "num_experts_per_tok": np.arange(1, 33),
        "shared_expert_intermediate_size": np.arange(0, 8192, 128),
        "training_tokens": np.geomspace(1e11, 6e13, 4096),
    }
    return Space(tuple(Axis(name, tuple(map(float, values))) for name, values in axes.items()))


def run() -> dict[str, Any]:
    """Time all; print and return the figures."""
    figures = {
        "dense 256 x 512 x 2048 x 4096": _timed(_problem(dense_grid(256, 512, 2048, 4096)), (10, 1000)),
        "whole command": _command(),
        "moe, seven axes": _timed(Problem(moe_grid(), MOE, {"training_flops": Bound(max=1e25)}), (10,), rounds=1),
        "growth": {f"1e{power}": _timed(_problem(dense_grid(*shape)), (10,), rounds=1) for power, shape in GROWTH.items()},
        "against the sweep": _against_the_sweep(),
    }
    print(f"the whole command on 1.1e12 candidates: {figures['whole command']:.1f} s")
    return figures


def _problem(space: Space) -> Problem:
    return Problem(space, DENSE, {"training_flops": Bound(max=1e24)})


class _TimeIsUp(Exception):
    pass


def _timed(problem: Problem, tops: tuple[int, ...], rounds: int = ROUNDS) -> dict[str, Any]:
    """Seconds of a search with its compilation, then without, per number of designs asked for; or what is open too late."""
    searcher, figures = Searcher(problem), {"candidates": problem.space.size}
    for top in tops:
        told = f"{problem.space.size:9.1e} candidates, top {top}:"
        try:
            first, found = _seconds(searcher, top)
            steady = statistics.median(_seconds(searcher, top)[0] for _ in range(rounds)) if first < LONG else first
        except _TimeIsUp as stopped:
            (progress,) = stopped.args
            left = progress.upper - progress.best
            figures[f"top {top}"] = {"unfinished_after_seconds": PATIENCE, "boxes": progress.boxes, "gap_left": left}
            print(f"{told} open after {PATIENCE:.0f} s and {progress.boxes:,} boxes, best {progress.best:.4f}, gap {left:.2g}")
            continue
        c = found.certificate
        figures[f"top {top}"] = {
            "first_seconds": first,
            "seconds": steady,
            "boxes": c.boxes,
            "evaluated": c.evaluated,
            "best": c.best,
            "gap": c.gap,
        }
        print(
            f"{told} {steady:.3f} s ({first:.1f} the first time), {c.boxes:,} boxes, {c.evaluated:,} evaluated, "
            f"best {c.best:.4f}, gap {c.gap:g}"
        )
    return figures


def _seconds(searcher: Searcher, top: int) -> tuple[float, Found]:
    began = time.perf_counter()

    def tick(progress: Progress) -> None:
        if time.perf_counter() - began > PATIENCE:
            raise _TimeIsUp(progress)

    found = searcher.search(top=top, tick=tick)
    return time.perf_counter() - began, found


def _command() -> float:
    """Seconds of ``perflaw search`` on 1.1 x 10^12 candidates in a new process, imports, compilation and files included."""
    with tempfile.TemporaryDirectory() as folder:
        spec = Path(folder) / "trillion.toml"
        spec.write_text(SPEC)
        main = "from perflaw_jax.cli import main; main()"
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", main, "search", spec, "--out", f"{folder}/out"], check=True, capture_output=True)
        return time.perf_counter() - began


def _against_the_sweep() -> dict[str, Any]:
    """The same top-1000 of 2^30 candidates by the exact search and by sweeps: the plain one, and one that keeps everything."""
    problem = _problem(dense_space())
    searcher, engine = Searcher(problem), Engine(problem)
    contests = {
        "exact": lambda: searcher.search(top=1000).top,
        "sweep, top-1000": lambda: sweep(problem, engine=engine, marginals=False, counts=False).top,
        "sweep, marginals and counts as well": lambda: sweep(problem, engine=engine).top,
    }
    found = {name: contest().finish().candidate_id.tolist() for name, contest in contests.items()}
    times: dict[str, list[float]] = {name: [] for name in contests}
    for _ in range(ROUNDS):
        for name, contest in contests.items():
            began = time.perf_counter()
            contest()
            times[name].append(time.perf_counter() - began)
    seconds = {name: statistics.median(ts) for name, ts in times.items()}
    for name, s in seconds.items():
        print(f"{problem.space.size:9.1e} candidates, top 1000, {name}: {s:.3f} s, {s / seconds['exact']:.1f} x")
    return {"seconds": seconds, "same_top_1000": len({tuple(ids) for ids in found.values()}) == 1}
