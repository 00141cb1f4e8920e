"""What was asked as a sweep spec: the same grid, cut to the ranges, under the same limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from perflaw_jax.planner.inputs import RANKING_WORDS, Inputs
from perflaw_jax.planner.limits import BILLION, FFN_STEP, grid_of, holds, limits_of
from perflaw_jax.space import Axis
from perflaw_jax.spec import SweepSpec, parse_spec
from perflaw_jax.spec_toml import write_toml

NAME = "planner"


def spec_of(inputs: Inputs) -> SweepSpec:
    """The spec; a `SpecError` where a range holds no value of the grid."""
    return parse_spec(_tables(inputs), where=NAME)


def spec_text(inputs: Inputs) -> str:
    """The spec as TOML, the question in words above it."""
    notes = [
        "Written by perflaw planner. The same candidates and limits; run it with: perflaw search FILE, or perflaw sweep FILE",
        *(
            []
            if inputs.ranking == "performance"
            else [f"The page ranks by {RANKING_WORDS[inputs.ranking]}; this file by score."]
        ),
        *([f"{inputs.law_name}: {inputs.entry.note}"] if inputs.entry.note else []),
    ]
    comments = "".join(f"# {' '.join(note.split())}\n" for note in notes)
    return f"{comments}{write_toml(_tables(inputs))}\n"


def _tables(inputs: Inputs) -> dict[str, Any]:
    space, limits = grid_of(inputs), limits_of(inputs)
    least, most = (BILLION * end for end in inputs.range("size"))
    score = {"min" if inputs.entry.higher_is_better else "max": inputs.min_score}
    return {
        "name": NAME,
        "law": inputs.law_name,
        "axes": {axis.field: _axis(axis, limits) for axis in space.axes},
        "fixed": dict(space.fixed),
        **({"law_settings": {"gamma": inputs.gamma}} if inputs.gamma != 1 else {}),
        "limits": {
            "training_flops": inputs.hardware,
            "total_params": {"min": least, "max": most},
            **({"intermediate_size": {"multiple_of": FFN_STEP}} if inputs.grid == "authors" else {}),
            "score": score,
        },
        "output": {"top": 1000, "frontier": ["training_flops"]},
    }


def _axis(axis: Axis, limits: Mapping[str, Any]) -> Any:
    """An axis cut to what the limits admit, as a spec writes it."""
    name = "expert_ratio" if axis.field == "moe_intermediate_size" else axis.field
    values = np.array(axis.values)
    if name in limits and (axis.base is None or name == "expert_ratio"):
        values = values[holds(limits[name], values)]
    numbers = [_number(value) for value in values]
    relation: dict[str, Any] = {f"{axis.relation}_to": axis.base} if axis.base else {}
    if axis.multiple_of:
        relation["multiple_of"] = axis.multiple_of
    gaps = np.diff(values)
    if len(values) > 2 and np.all(gaps == gaps[0]):
        return {"start": numbers[0], "stop": numbers[-1], "step": _number(gaps[0]), **relation}
    return {"values": numbers, **relation} if relation else numbers


def _number(value: float) -> int | float:
    return int(value) if value == int(value) else float(value)
