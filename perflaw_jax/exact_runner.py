"""A spec searched exactly, its results written to a directory with their certificate."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from perflaw_jax.engine import Engine
from perflaw_jax.exact import exact_search
from perflaw_jax.interrupt import Stopped
from perflaw_jax.job import check_law, entry_of, header, make_columns, make_problem
from perflaw_jax.progress import Tick, silent
from perflaw_jax.searched import Searched, finish, unknown_counts
from perflaw_jax.spec import SweepSpec
from perflaw_jax.store import ResultDir


def run_exact(spec: SweepSpec, out: Path, gap: float = 0.0, tick: Tick = silent) -> Searched:
    """Search a spec's grid for its certified best and frontier, and write ``out``; raises as ``run_optuna`` does.

    With ``gap`` what is left out may score better than the worst that is reported, by no more than that.
    """
    began = time.perf_counter()
    if not 0 <= gap < np.inf:
        raise ValueError(f"--gap: must be a finite number >= 0, not {gap:g}")
    entry = entry_of(spec)
    problem = make_problem(spec, entry)
    check_law(entry, problem)
    directory = ResultDir.create(out, header(spec, entry, search={"method": "exact", "gap": gap}))
    try:
        with directory.held():
            columns = make_columns(Engine(problem), spec, entry)

            def ticked(now: Any) -> None:
                best = columns.sign * now.best if np.isfinite(now.best) else np.nan
                tick(now.settled, round(now.settled * problem.space.size), best)

            found = exact_search(problem, top=spec.output.top, gap=gap, engine=columns.engine, tick=ticked)
            certificate = {**vars(found.certificate), "gap": found.certificate.gap}
            signed = {name: columns.sign * certificate[name] for name in ("best", "upper")}
            finite = {name: value if np.isfinite(value) else None for name, value in signed.items()}
            account = {"counts": unknown_counts(problem.space.size), "certificate": {**certificate, **finite}}
            return finish(spec, entry, directory, columns, found, account, "exact", began)
    except KeyboardInterrupt:
        raise Stopped("stopped; an exact search begins anew") from None
