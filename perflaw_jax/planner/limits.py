"""What a user asks for as limits on a grid that never changes, and how many designs of it are in reach."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from perflaw_jax.laws import Negated
from perflaw_jax.objective import Bound
from perflaw_jax.planner import grids
from perflaw_jax.planner.grids import TRILLION
from perflaw_jax.planner.inputs import Inputs
from perflaw_jax.space import Space

BILLION = 10**9
OPEN = Bound(-np.inf, np.inf)
FFN_STEP = 4096  # of the authors' rules
WORDS = {
    "training_flops max": "the training budget",
    "total_params min": "the least size",
    "total_params max": "the greatest size",
    "num_hidden_layers min": "the fewest layers",
    "num_hidden_layers max": "the most layers",
    "training_tokens min": "the fewest tokens",
    "training_tokens max": "the most tokens",
    "num_experts min": "the fewest experts",
    "num_experts max": "the most experts",
    "num_experts_per_tok min": "the fewest experts per token",
    "num_experts_per_tok max": "the most experts per token",
    "expert_ratio min": "the least expert width",
    "expert_ratio max": "the greatest expert width",
    "score min": "the least score",
}

Limits = dict[str, Bound]


def grid_of(inputs: Inputs) -> Space:
    """The grid that the inputs choose from; their ranges are limits on it."""
    if inputs.kind == "moe":
        return grids.moe(inputs.shared, inputs.leading)
    return grids.authors() if inputs.grid == "authors" else grids.dense()


def limits_of(inputs: Inputs) -> Limits:
    """The limits, both ends of each a number, on the raw score as the engine sees it (more is better)."""
    layers, tokens = inputs.range("layers"), tuple(TRILLION * end for end in inputs.range("tokens"))
    if inputs.grid == "authors":  # their ranges leave out the upper end
        layers, tokens = (layers[0], layers[1] - 1), (tokens[0], float(np.nextafter(tokens[1], 0)))
    limits = {
        "training_flops": _between(-np.inf, inputs.budget),
        "total_params": _between(*(BILLION * end for end in inputs.range("size"))),
        "num_hidden_layers": _between(*layers),
        "training_tokens": _between(*tokens),
        "score": _between(least_score(inputs), np.inf),
    }
    if inputs.kind == "moe":
        limits["num_experts"] = _between(*inputs.range("experts"))
        limits["num_experts_per_tok"] = _between(*inputs.range("chosen"))
        limits["expert_ratio"] = _between(*inputs.range("expert_ratio"))
    if inputs.grid == "authors":
        limits["intermediate_size"] = Bound(multiple_of=float(FFN_STEP))
    else:
        limits["hidden_size"] = Bound(multiple_of=float(inputs.hidden_step))
    return limits


def least_score(inputs: Inputs) -> float:
    """The least raw score in the engine's sign."""
    return inputs.min_score if inputs.entry.higher_is_better else -inputs.min_score


def _between(low: float, high: float) -> Bound:
    return Bound(float(low), float(high))


def law_of(inputs: Inputs) -> Any:
    """The law as the engine sees it: more is better."""
    law = getattr(inputs.entry.law, "point", inputs.entry.law)
    return law if inputs.entry.higher_is_better else Negated(law)


def ends(limits: Limits) -> list[str]:
    """The ends that limit anything, as "training_flops max"."""
    return [end for end in WORDS if _value(limits, end) is not None]


def _value(limits: Limits, end: str) -> float | None:
    name, side = end.split()
    value = getattr(limits[name], side) if name in limits else None
    return value if value is not None and np.isfinite(value) else None


def value_at(limits: Limits, end: str) -> float:
    """Where an end lies."""
    value = _value(limits, end)
    assert value is not None
    return value


def moved(limits: Limits, end: str, to: float) -> Limits:
    """The limits with one end elsewhere."""
    name, side = end.split()
    return {**limits, name: limits[name]._replace(**{side: float(to)})}


def meets(columns: Mapping[str, np.ndarray], end: str, to: float) -> bool:
    """Whether the first of some designs still meets an end that is moved."""
    name, side = end.split()
    value = _quantity(columns, name)[:1]
    return bool(holds(Bound(**{side: to}), value, score=name == "score")[0])


def _quantity(columns: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """What a limit is about, of designs with their counts and scores."""
    if name == "expert_ratio":
        return columns["moe_intermediate_size"] / columns["hidden_size"]
    return columns["raw" if name == "score" else name]


def allowed(columns: Mapping[str, np.ndarray], limits: Limits) -> np.ndarray:
    """Mask of the designs that all limits admit."""
    mask = np.isfinite(columns["raw"])
    for name, bound in limits.items():
        mask &= holds(bound, _quantity(columns, name), score=name == "score")
    return mask


def without(limits: Limits, end: str) -> Limits:
    """The limits with one end open."""
    return moved(limits, end, -np.inf if end.endswith(" min") else np.inf)


def holds(bound: Bound, values: np.ndarray, *, score: bool = False) -> np.ndarray:
    """Whether a limit holds for each of some values, as ``objective.checks`` has it."""
    low, high, multiple_of, _ = bound.on_score() if score else bound
    mask = np.ones(np.shape(values), bool)
    if low is not None:
        mask &= values >= low
    if high is not None:
        mask &= values <= high
    return mask if multiple_of is None else mask & (values % multiple_of == 0)


def moved_within(space: Space, ids: np.ndarray, limits: Limits) -> np.ndarray:
    """Some candidates of a grid, moved along its axes to the next places that limits on the fields themselves let in."""
    digits = space.digits(ids)
    for i, axis in enumerate(space.axes):
        if axis.field in limits and axis.relation is None:
            places = np.flatnonzero(holds(limits[axis.field], np.array(axis.values)))
            if len(places):
                digits[i] = places[abs(places - digits[i][:, None]).argmin(axis=1)]
    return space.ids(digits)


def in_reach(space: Space, limits: Limits) -> int:
    """How many designs of a grid the limits on its own fields leave."""
    own = [name for name in limits if name in space.tables]
    axes = {axis.field: axis for axis in space.axes}
    count = space.size
    for name in own:
        table = space.tables[name]
        left = np.count_nonzero(holds(limits[name], table.values))
        if len(table.dims) == 1:
            count = count // table.values.size * left
    ratio = axes.get("moe_intermediate_size")
    if ratio is not None:
        count = count // len(ratio.values) * np.count_nonzero(holds(limits["expert_ratio"], np.array(ratio.values)))
    ffn = space.tables["intermediate_size"]
    if "intermediate_size" in limits:  # over FFN steps and hidden sizes: the share of the pairs that is left
        count = count * np.count_nonzero(holds(limits["intermediate_size"], ffn.values)) // ffn.values.size
    return int(count)
