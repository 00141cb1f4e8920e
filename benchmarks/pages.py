"""What people wait for: the planner's answer when an input changes, and the report of a directory of 10^7 rows."""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from perflaw_jax.planner.inputs import check
from perflaw_jax.planner.solve import Plan, by_layers, frontier, sensitivity, solve
from perflaw_jax.planner.warm_up import warm_up

ROOT = Path(__file__).parent.parent
RANKINGS = ("performance", "balance", "shallow")
WHOLE: dict[str, Any] = {
    "grid": "fine",
    "min_layers": 1,
    "max_layers": 200,
    "min_size": 0,
    "max_size": 1e5,
    "min_tokens": 0,
    "max_tokens": 40,
}
WHOLE |= {"hidden_step": 256}
CHANGES: tuple[dict[str, Any], ...] = (  # of the whole grid, as a user moves one input after the other
    {},
    {"days": 60},
    {"days": 90},
    {"count": 512},
    {"mfu": 0.55},
    {"max_layers": 64},
    {"max_size": 70},
    {"min_tokens": 2},
    {"gamma": 1.2},
    {"min_score": 60},
    {"hidden_step": 1024},
)
SWEPT = 'name = "rows"\n' + (ROOT / "sweeps" / "dense-1e24.toml").read_text().replace(
    'rows     = "none"', 'rows     = "feasible"'
)
REPORT = """
import json, resource, sys, time
from pathlib import Path
from perflaw_jax.report.writer import write_report
began = time.perf_counter()
write_report(Path(sys.argv[1]), Path(sys.argv[1]))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"seconds": time.perf_counter() - began, "peak_bytes": peak}))
"""


def planner() -> dict[str, Any]:
    """Seconds from inputs to the table, programs compiled: every change under every ranking, dense and MoE."""
    figures = {}
    for kind in ("dense", "moe"):
        for ranking in RANKINGS:
            asked = [{**WHOLE, "kind": kind, "ranking": ranking, **change} for change in CHANGES]
            first = [solve(check(values)) for values in asked]  # what compiles does so here
            plans = [solve(check(values)) for values in asked]
            times = [plan.seconds for plan in plans]
            figures[f"{kind} {ranking}"] = {
                "candidates": plans[0].candidates,
                "first_pass_seconds": [plan.seconds for plan in first],
                "seconds": times,
                "median_seconds": statistics.median(times),
                "worst_seconds": max(times),
                "worst_change": CHANGES[times.index(max(times))],
                "coarser": sum(bool(plan.note) for plan in plans),
            }
            told = figures[f"{kind} {ranking}"]
            median, worst, coarser = (told[name] for name in ("median_seconds", "worst_seconds", "coarser"))
            print(
                f"{kind:5} {ranking:11} {told['candidates']:13,}: median {median:.2f} s, worst {worst:.2f} s, {coarser} coarser"
            )
    return figures


DRAWN: dict[str, Callable[[Plan], Any]] = {
    "frontier over FLOPs": lambda plan: frontier(plan, "training_flops"),
    "frontier over parameters": lambda plan: frontier(plan, "total_params"),
    "sensitivity": sensitivity,
    "best by layers": by_layers,
}


def drawn() -> dict[str, Any]:
    """Seconds for what each of the figures below the table shows, after the warm-up: every change, dense and MoE."""
    warm_up().join()
    figures: dict[str, Any] = {}
    for kind in ("dense", "moe"):
        plans = [solve(check({**WHOLE, "kind": kind, **change})) for change in CHANGES]
        for name, answer in DRAWN.items():
            times = [_seconds(answer, plan) for plan in plans]
            worst = CHANGES[times.index(max(times))]
            told = {
                "seconds": times,
                "median_seconds": statistics.median(times),
                "worst_seconds": max(times),
                "worst_change": worst,
            }
            figures[f"{kind} {name}"] = told
            print(f"{kind:5} {name:24}: median {told['median_seconds']:.2f} s, worst {max(times):.2f} s with {worst}")
    return figures


def _seconds(answer: Callable[[Plan], Any], plan: Plan) -> float:
    began = time.perf_counter()
    answer(plan)
    return time.perf_counter() - began


def report() -> dict[str, Any]:
    """Seconds and memory of the report of all feasible rows of the ready sweep."""
    with tempfile.TemporaryDirectory() as folder:
        spec, out = Path(folder) / "rows.toml", Path(folder) / "out"
        spec.write_text(SWEPT)
        command = [
            sys.executable,
            "-c",
            "from perflaw_jax.cli import main; main()",
            "sweep",
            str(spec),
            "--out",
            str(out),
            "--json",
        ]
        swept = subprocess.run(command, check=True, capture_output=True, text=True)
        done = subprocess.run([sys.executable, "-c", REPORT, str(out)], check=True, capture_output=True, text=True)
        size = (out / "report.html").stat().st_size
    figures = {"rows": json.loads(swept.stdout)["counts"]["feasible"], **json.loads(done.stdout), "page_bytes": size}
    seconds, peak = figures["seconds"], figures["peak_bytes"] / 2**30
    print(f"report of {figures['rows']:,} rows: {seconds:.1f} s, {peak:.2f} GiB, page of {size / 1e6:.1f} MB")
    return figures


def run() -> dict[str, Any]:
    """All three; the figures first, so that what they compile counts."""
    return {"figures": drawn(), "planner": planner(), "report": report()}
