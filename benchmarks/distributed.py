"""What dividing a sweep costs and brings: into 100 shards, over 8 virtual devices, on 2 Ray workers against 1.

Each comparison is interleaved in one run; the results of all variants are checked to be the same.
"""

import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROUNDS = 5
SHARDS = 100
COMPILING = 5  # of them are swept before, untimed: batches of either size occur, and are compiled
HUGE_GRID = 400, 65536  # layers and tokens: 4.3 x 10^11 candidates
RAY_GRID = 800, 65536  # twice as many: two workers compile at the same time, which takes ten seconds
NAMES = ("num_hidden_layers", "hidden_size", "intermediate_size", "training_tokens")


def spec(layers: int, tokens: int = 1024) -> dict[str, Any]:
    """A grid of layers x 64 x 256 x tokens candidates under a budget, everything kept but rows."""
    return {
        "name": "distributed",
        "axes": {
            "num_hidden_layers": {"start": 16, "stop": 16 + (layers - 1), "step": 1},
            "hidden_size": {"start": 1024, "stop": 17152, "step": 256},
            "intermediate_size": {"start": 1024, "stop": 66304, "step": 256},
            "training_tokens": {"geometric": [1e11, 3e13], "num": tokens},
        },
        "limits": {"training_flops": 1e24},
        "output": {"top": 1000, "frontier": ["training_flops"]},
    }


def run() -> dict[str, Any]:
    """Measure all three; print and return the figures."""
    rows = {"output": {"top": 1000, "frontier": ["training_flops"], "rows": "feasible"}}
    figures = {
        "sharding_rows": _sharding({**spec(200, 128), **rows}),
        "sharding_rows_large": _sharding({**spec(1000, 128), **rows}, rounds=1),
        "sharding": _sharding(spec(150, 2048)),
        "sharding_large": _sharding(spec(600, 4096)),
        "sharding_huge": _sharding(spec(*HUGE_GRID), rounds=1),
        "devices": _devices(75),
        "devices_large": _devices(300),
        "ray": _ray(),
    }
    r = figures["ray"]
    for name in (name for name in figures if name.startswith("sharding")):
        s = figures[name]
        print(f"{SHARDS} shards in one process: {s['overhead']:+.1%} against one sweep of {s['candidates']:.3g} candidates")
        print(f"  {1000 * s['seconds_per_shard']:.0f} ms a shard ({name})")
    for d in (figures["devices"], figures["devices_large"]):
        print(f"8 virtual devices: {d['overhead']:+.1%} against one, {d['candidates']:.3g} candidates")
    print(f"Ray, 2 workers against 1, JAX held to one thread each: {r['speedup']:.2f} x, {r['candidates']:.3g} candidates")
    return figures


def _digest(out: Path) -> str:
    """What the results are, whatever directory they are in."""
    digest = hashlib.sha256()
    for file in sorted(file for file in out.rglob("*") if file.is_file()):
        digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()


def _sharding(whole: dict[str, Any], rounds: int = 2) -> dict[str, Any]:
    """One process that computes 100 shards of a grid, against one that sweeps it; both have compiled before."""
    from perflaw_jax.portion import Portion
    from perflaw_jax.progress import silent
    from perflaw_jax.runner import How, sweep_shard
    from perflaw_jax.spec import parse_spec
    from perflaw_jax.work import Work

    checked = parse_spec(whole)
    seconds: dict[int, list[float]] = {1: [], SHARDS: []}
    digests = set()
    with tempfile.TemporaryDirectory() as folder:
        work, middle = Work(checked), SHARDS // 2
        for index in range(middle, middle + COMPILING):
            sweep_shard(work, Path(folder) / "compiled", silent, How(portion=Portion(index, SHARDS)))
        for i in range(rounds):
            for count in seconds:
                work, out = Work(checked), Path(folder) / f"{i}-{count}"
                began = time.perf_counter()
                for index in range(count):
                    portion = Portion(index, count) if count > 1 else None
                    sweep_shard(work, out, silent, How(portion=portion))
                seconds[count].append(time.perf_counter() - began)
                digests.add(_digest(out))
                shutil.rmtree(out)
    assert len(digests) == 1
    one, many = (statistics.mean(seconds[count]) for count in seconds)
    return {
        "candidates": checked.space().size,
        "shards": SHARDS,
        "seconds_whole": seconds[1],
        "seconds_in_shards": seconds[SHARDS],
        "overhead": many / one - 1,
        "seconds_per_shard": (many - one) / SHARDS,
    }


DEVICES = """
import json, sys, time
from pathlib import Path
from perflaw_jax.progress import silent
from perflaw_jax.runner import How, sweep_shard
from perflaw_jax.spec import parse_spec
from perflaw_jax.work import Work
spec, out = parse_spec(json.loads(sys.argv[1])), Path(sys.argv[2])
for line in sys.stdin:  # one sweep per line, so that the two processes take turns
    work = Work(spec)
    began = time.perf_counter()
    sweep_shard(work, out, silent, How())
    print(work.engine.devices.count, time.perf_counter() - began, flush=True)
"""


def _devices(layers: int) -> dict[str, Any]:
    flags = {1: "", 8: "--xla_force_host_platform_device_count=8"}
    with tempfile.TemporaryDirectory() as folder:
        processes = {}
        for count, flag in flags.items():
            command = [sys.executable, "-c", DEVICES, json.dumps(spec(layers, 4096)), f"{folder}/{count}"]
            environment = {**os.environ, "XLA_FLAGS": flag, "JAX_PLATFORMS": "cpu"}
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            processes[count] = subprocess.Popen(command, env=environment, **pipes)
        seconds: dict[int, list[float]] = {1: [], 8: []}
        for _ in range(ROUNDS + 1):
            for count, process in processes.items():
                print("go", file=process.stdin, flush=True)
                used, took = process.stdout.readline().split()
                assert int(used) == count
                seconds[count].append(float(took))
        for process in processes.values():
            process.communicate()
        assert _digest(Path(folder) / "1") == _digest(Path(folder) / "8")
    rounds = [b / a - 1 for a, b in zip(seconds[1][1:], seconds[8][1:], strict=True)]
    return {
        "candidates": layers * 64 * 256 * 4096,
        "devices": 8,
        "seconds_on_one": statistics.median(seconds[1][1:]),
        "seconds_on_eight": statistics.median(seconds[8][1:]),
        "overhead": statistics.median(rounds),
        "overhead_by_round": rounds,
    }


RAY = """
import json, sys, time
from pathlib import Path
import ray
from perflaw_jax.cluster import run_on
from perflaw_jax.cluster_ray import RayCluster
from perflaw_jax.runner import How
from perflaw_jax.spec import parse_spec
workers = int(sys.argv[2])
ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
cluster = RayCluster({})
began = time.perf_counter()
run_on(cluster, parse_spec(json.loads(sys.argv[1])), Path(sys.argv[3]), 16, How(), lambda *_: None)
print(json.dumps(time.perf_counter() - began))
"""


def _ray() -> dict[str, Any]:
    layers, tokens = RAY_GRID
    seconds: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as folder:
        digests = set()
        for workers in seconds:
            out = Path(folder) / str(workers)
            command = [sys.executable, "-c", RAY, json.dumps(spec(layers, tokens)), str(workers), str(out)]
            environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": os.pathsep.join(sys.path)}
            done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
            seconds[workers].append(json.loads(done.stdout.splitlines()[-1]))
            digests.add(_digest(out))
        assert len(digests) == 1
    return {
        "candidates": layers * 64 * 256 * tokens,
        "shards": 16,
        "seconds_on_one": seconds[1],
        "seconds_on_two": seconds[2],
        "speedup": sum(seconds[1]) / sum(seconds[2]),
    }
