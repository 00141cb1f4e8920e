"""The commands as functions, for notebooks and programs; ``import perflaw_jax as pl`` has them."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from perflaw_jax.files import as_place
from perflaw_jax.loaded import Results
from perflaw_jax.spec import SweepSpec, load_spec, parse_spec

Spec = str | PathLike[str] | Mapping[str, Any] | SweepSpec


def load(directory: str | Path) -> Results:
    """The results in a directory, or at a URL; ``StoreError`` where there are none, or the run has not finished."""
    return Results(directory)


def sweep(
    spec: Spec,
    out: str | Path | None = None,
    *,
    settings: Iterable[str] = (),
    devices: int | None = None,
    resume: bool = False,
    force: bool = False,
) -> Results:
    """Score every candidate of a grid, as ``perflaw sweep`` does.

    Args:
        spec: a TOML file, its content as a mapping, or a ``SweepSpec``.
        out: the result directory or URL; without it the files live as long as the object that is returned.
        settings: overrides such as ``"limits.training_flops=1e23"``.
        devices: of this host, to spread the work over; all if not given.
        resume: keep what an interrupted run has finished.
        force: with ``resume``, start anew where something has changed.

    Raises:
        ValueError: the spec makes no sense; one line that names the key.
        StoreError: a disk fails, or the directory is another process's or another run's.
    """
    from perflaw_jax.runner import How, run_sweep

    checked = _checked(spec, settings)
    how = How(resume=resume, force=force, devices=devices)
    return _results(out, lambda where: run_sweep(checked, where, how=how))


def search(
    spec: Spec,
    out: str | Path | None = None,
    *,
    method: str = "exact",
    settings: Iterable[str] = (),
    gap: float = 0.0,
    **plan: Any,
) -> Results:
    """Search a grid that is too large to sweep, as ``perflaw search`` does.

    Args:
        spec: as ``sweep`` has it.
        out: as ``sweep`` has it.
        method: "exact" for the certified optimum, "optuna" for trials.
        settings: as ``sweep`` has it.
        gap: of an exact search: stop when nothing left out can be better by more.
        **plan: of Optuna: trials, sampler, seed, cell, multi, storage, study, as ``optuna_runner.Plan`` has them.
    """
    from perflaw_jax.design import nearest

    checked = _checked(spec, settings)
    if method == "exact":
        if plan:
            raise ValueError(f"{next(iter(plan))}: only method='optuna' takes it")
        from perflaw_jax.exact_runner import run_exact

        return _results(out, lambda where: run_exact(checked, where, gap))
    if method != "optuna":
        raise ValueError(f"method: no method named {method!r}; {nearest(method, ('exact', 'optuna'))}")
    from dataclasses import fields

    from perflaw_jax.optuna_runner import Plan, run_optuna

    known = [field.name for field in fields(Plan)]
    for name in plan:
        if name not in known:
            raise ValueError(f"{name}: unknown; {nearest(name, known)}")
    return _results(out, lambda where: run_optuna(checked, where, Plan(**plan)))


def predict(
    law: str | None = None,
    *,
    limits: Mapping[str, Any] | None = None,
    hf_config: str | Path | None = None,
    law_settings: Mapping[str, float] | None = None,
    **fields: Any,
) -> dict[str, Any]:
    """Score one design and say why, as ``perflaw predict --json`` does.

    >>> llama = predict(num_hidden_layers=32, hidden_size=4096, intermediate_size=14336, training_tokens="15T")
    >>> round(llama["score"], 2), llama["limited_by"]
    (65.57, 'size: more tokens than it counts')

    Args:
        law: a name as ``perflaw laws`` lists them; a Performance Law if not given.
        limits: hard limits to hold the design against, as a spec has them.
        hf_config: a Hugging Face config.json to take the design from.
        law_settings: coefficients to replace.
        **fields: Design fields; numbers may be written "15T".
    """
    from perflaw_jax.prediction import predict_one

    imported: Mapping[str, Any] = {}
    if hf_config is not None:
        from perflaw_jax.configs import read_config

        imported = read_config(hf_config).fields
    return predict_one({**imported, **fields}, law, law_settings or {}, limits or {})


def _checked(spec: Spec, settings: Iterable[str]) -> SweepSpec:
    if isinstance(spec, (str, PathLike)):
        return load_spec(spec, settings)
    if isinstance(spec, SweepSpec):
        if not (settings := [*settings]):
            return spec
        import json

        spec = json.loads(spec.canonical())
    from copy import deepcopy

    from perflaw_jax.spec_toml import override

    document = deepcopy(dict(spec))
    for text in settings:
        override(document, text)
    return parse_spec(document)


def _results(out: str | Path | None, run: Any) -> Results:
    if out is not None:
        run(where := as_place(str(out)))
        return Results(where)
    kept = Path(tempfile.mkdtemp(prefix="perflaw-"))
    try:
        run(kept / "results")
        results = Results(kept / "results")
    except BaseException:
        shutil.rmtree(kept, ignore_errors=True)
        raise
    weakref.finalize(results, shutil.rmtree, kept, ignore_errors=True)
    return results
