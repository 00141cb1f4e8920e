"""A spec made ready to be carried out: its law, the problem, the engine, the columns, and the header of its files."""

from __future__ import annotations

import inspect
import json
import platform
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np

from perflaw_jax import __version__
from perflaw_jax.catalogue import find_law
from perflaw_jax.columns import Columns
from perflaw_jax.confidence import QUANTILES, Confidence
from perflaw_jax.design import is_fraction
from perflaw_jax.engine import Engine, Problem
from perflaw_jax.files import sha256
from perflaw_jax.laws import LawEntry, Negated, Quantile
from perflaw_jax.manifest import source_sha256
from perflaw_jax.objective import Bound, as_limits, evaluate, make_design
from perflaw_jax.space import Axis
from perflaw_jax.spec import SweepSpec


def entry_of(spec: SweepSpec) -> LawEntry:
    """A spec's law; where a quantile of what it believes ranks, its metric says so."""
    entry = find_law(spec.law).with_settings(spec.law_settings)
    share = QUANTILES.get(spec.output.rank_by)
    return entry if share is None else replace(entry, metric=f"{entry.metric} ({100 * share:.0f} % quantile)")


def make_problem(spec: SweepSpec, entry: LawEntry) -> Problem:
    """The engine's view of a spec: more is better, and at least one axis."""
    space = spec.space()
    space = replace(space, rest=entry.open_share({axis.field for axis in space.axes} | space.fixed.keys()))
    if not space.axes:
        layers = Axis("num_hidden_layers", (space.fixed["num_hidden_layers"],))
        space = replace(space, axes=(layers,), fixed={k: v for k, v in space.fixed.items() if k != layers.field})
    for name in filter(is_fraction, (*spec.limits, *spec.output.frontier)):
        if name not in space.tables:
            raise ValueError(f"{name}: no such data domain here; give it under [axes] or [fixed]")
    limits = as_limits(spec.limits)
    law = _ranking(spec.output.rank_by, entry)
    if not entry.higher_is_better:
        law = Negated(law)
        if "score" in limits:
            low, high = limits["score"].min, limits["score"].max
            limits["score"] = Bound(None if high is None else -high, None if low is None else -low)
    return Problem(space, law, limits, spec.output.frontier)


def _ranking(rank_by: str, entry: LawEntry) -> Any:
    """The law whose score ranks: the quoted one, or a quantile of what its ensemble believes."""
    if rank_by == "score":
        return getattr(entry.law, "point", entry.law)
    if not hasattr(entry.law, "quantile"):
        raise ValueError(
            f"output.rank_by: {entry.name} has no ensemble or interval; rank by score, or fit the law yourself with --bootstrap"
        )
    return Quantile(entry.law, QUANTILES[rank_by])


def believed(law: Any) -> int:
    """Scores of a design that ranking looks at: every member's, where a quantile ranks."""
    ranked = law.law if isinstance(law, Negated) else law
    members = getattr(ranked.law, "members", None) if isinstance(ranked, Quantile) else None
    return 1 if members is None else len(jax.tree.leaves(members)[0])


def make_columns(engine: Engine, spec: SweepSpec, entry: LawEntry) -> Columns:
    """The result columns of a spec's candidates."""
    return Columns(engine, spec.budget, 1 if entry.higher_is_better else -1, Confidence(entry))


def check_law(entry: LawEntry, problem: Problem) -> None:
    """ValueError where the law cannot score the designs of the grid."""
    tables, spend = problem.space.tables, problem.space.spend
    fields = {name: jax.ShapeDtypeStruct((), np.float32) for name in tables}

    def score(values: dict[str, Any]) -> Any:
        return evaluate(make_design(values, spend), problem.law, {}).raw

    entry.check(score, fields, experts="num_experts" in tables and bool((tables["num_experts"].values > 0).any()))


def header(spec: SweepSpec, entry: LawEntry, *packages: str, device: bool = True, **more: Any) -> str:
    """The part of the manifest that rides in every Parquet file: what was asked, by which law, with which software.

    ``packages`` are named with their versions beside the usual ones; ``more`` is added as it is. Without ``device`` nothing is
    said of it, and no device is touched.
    """
    packages = ("jax", "jaxlib", "numpy", "pyarrow", *packages)
    return json.dumps(
        {
            "name": spec.name,
            "spec": json.loads(spec.canonical()),
            "spec_sha256": spec.sha256(),
            "law": {
                "name": entry.name,
                "metric": entry.metric,
                "source": entry.source,
                "note": entry.note,
                "higher_is_better": entry.higher_is_better,
                "coefficients": entry.quoted,
                **_law_file(spec.law),
            },
            "versions": {
                "perflaw_jax": __version__,
                "python": platform.python_version(),
                **{name: version(name) for name in packages},
            },
            "source_sha256": source_sha256(Path(__file__).parent),
            **({"device": f"{jax.devices()[0].platform} ({jax.devices()[0].device_kind})"} if device else {}),
            **more,
        }
    )


def _law_file(law: str) -> dict[str, str]:
    """The hash of the file that a law of the user's own comes from: what tells that it was changed."""
    sources = []
    for part in map(str.strip, law.split(" + ")):
        module = sys.modules.get(part.partition(":")[0]) if ":" in part else None
        sources.append(part if part.endswith(".json") else inspect.getsourcefile(module) if module else None)
    hashes = [sha256(Path(source)) for source in sources if source]
    return {"file_sha256": " ".join(hashes)} if hashes else {}
