"""Candidates, rows and trials per second: ``python -m benchmarks [PART]...``, all parts if none is named.

Everything that is compared is timed in one process run, interleaved, after a warm-up; compile time is shown apart. The figures
go to stdout and, with device and versions, to ``benchmarks/results/<part>.json``.
"""

import json
import os
import platform
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import distributed, exact, fits, linear, memory, moe, pages, rows, search, throughput

RESULTS = Path(__file__).parent / "results"
PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    "throughput": throughput.run,
    "memory": memory.run,
    "linear": linear.run,
    "rows": rows.run,
    "moe": moe.run,
    "exact": exact.run,
    "search": search.run,
    "fits": fits.run,
    "distributed": distributed.run,
    "pages": pages.run,
}


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    import jax

    cpu = next((line.split(":")[1].strip() for line in _cpuinfo() if line.startswith("model name")), platform.processor())
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "device": jax.devices()[0].device_kind,
        "python": platform.python_version(),
        **{name: version(name) for name in ("jax", "jaxlib", "numpy", "pyarrow")},
        "load_before": os.getloadavg()[0],
        "when": time.strftime("%Y-%m-%d"),
    }


def _cpuinfo() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []


def main() -> None:
    """Run the parts named on the command line, or all."""
    names = sys.argv[1:] or list(PARTS)
    for name in names:
        if name not in PARTS:
            sys.exit(f"benchmarks: no part named {name!r}; allowed: {', '.join(PARTS)}")
    RESULTS.mkdir(exist_ok=True)
    for name in names:
        print(f"\n== {name}", flush=True)
        where = machine()
        figures = PARTS[name]()
        (RESULTS / f"{name}.json").write_text(json.dumps({"machine": where, **figures}, indent=2) + "\n")


if __name__ == "__main__":
    main()
