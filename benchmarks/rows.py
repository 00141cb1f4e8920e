"""Rows per second end to end (sweep, columns, Parquet, manifest), against writing the same ready-made table with pyarrow."""

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import pyarrow as pa
import pyarrow.parquet as pq

from perflaw_jax.runner import run_sweep
from perflaw_jax.schemas import encodings
from perflaw_jax.spec import parse_spec

ROUNDS = 3
SPEC = {
    "name": "rows",
    "axes": {
        "num_hidden_layers": {"start": 16, "stop": 78, "step": 2},
        "hidden_size": {"start": 1024, "stop": 9216, "step": 256},
        "intermediate_size": {"ratio_to": "hidden_size", "start": 1.0, "stop": 8.75, "step": 0.25, "multiple_of": 256},
        "training_tokens": {"geometric": [1e11, 3e13], "num": 1024},
    },
    "limits": {"training_flops": 1e24},
}


def run() -> dict[str, Any]:
    """Write all feasible rows, full and compact; print and return rows/s and bytes per row."""
    with tempfile.TemporaryDirectory() as folder:
        full = _timed("feasible", Path(folder))
        bare = _bare(Path(folder) / "feasible")
        compact = _timed("compact", Path(folder))
    figures = {
        "feasible": full,
        "compact": compact,
        "bare_pyarrow_rows_per_second": bare,
        "feasible_over_bare": full["rows_per_second"] / bare,
    }
    for kind in ("feasible", "compact"):
        part = figures[kind]
        rate, whole = part["rows_per_second"] / 1e6, part["rows_per_second_with_compilation"] / 1e6
        print(f"{kind:10s} {part['rows']:,} rows, {part['bytes_per_row']:.2f} bytes each")
        print(f"{kind:10s} {rate:.1f} M rows/s, {whole:.1f} in the first sweep of the process, which compiles")
    print(f"bare pyarrow, the same table ready made: {bare / 1e6:.1f} M rows/s; ratio {figures['feasible_over_bare']:.2f}")
    return figures


def _timed(kind: str, folder: Path) -> dict[str, Any]:
    spec = parse_spec({**SPEC, "output": {"rows": kind, "top": 1000, "frontier": []}})
    jax.clear_caches()
    times = []
    for _ in range(1 + ROUNDS):
        began = time.perf_counter()
        outcome = run_sweep(spec, folder / kind)
        times.append(time.perf_counter() - began)
    first, *steady = times
    rows = outcome.counts.feasible
    size = sum(file.stat().st_size for file in (folder / kind / "rows").iterdir())
    return {
        "rows": rows,
        "first_seconds": first,
        "steady_seconds": steady,
        "rows_per_second": rows / statistics.median(steady),
        "rows_per_second_with_compilation": rows / first,
        "bytes_per_row": size / rows,
    }


def _bare(directory: Path) -> float:
    """Rows per second of ``pq.write_table`` on the same parts, read back first, with the same options."""
    parts = [pq.read_table(file) for file in sorted((directory / "rows").iterdir())]
    rates = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for i, part in enumerate(parts):
            pq.write_table(part, directory / f"bare-{i}.parquet", **_options(part))
        rates.append(sum(part.num_rows for part in parts) / (time.perf_counter() - began))
    return statistics.median(rates)


def _options(part: pa.Table) -> dict[str, Any]:
    axes = dict.fromkeys((*SPEC["axes"], "num_attention_heads"), ())  # stand for (codes, values), as the sweep writes them
    return {**encodings(part.schema, axes), "sorting_columns": [pq.SortingColumn(0)]}
