"""What the page and the files draw alike: which costs, which cuts, which quantities of a curve."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from perflaw_jax.figure_style import label
from perflaw_jax.report.gather import Gathered
from perflaw_jax.report.words import limit_in_words

if TYPE_CHECKING:
    from pandas import DataFrame

COSTS = ("training_flops", "total_params")  # against which a frontier is drawn
CURVE = (
    "num_hidden_layers",
    "hidden_size",
    "intermediate_size",
    "moe_intermediate_size",
    "num_experts",
    "total_params",
    "training_tokens",
)


def frontier_costs(found: Gathered) -> list[str]:
    """The costs that a frontier minimises."""
    return [*found.manifest["spec"].get("output", {}).get("frontier", ())]


def labelled_cuts(found: Gathered) -> DataFrame:
    """``count`` per limit with the limit in words as ``label``."""
    assert found.cuts is not None
    limits = found.manifest["spec"].get("limits", {})
    told = [limit_in_words(name, limits[name]) if name in limits else label(name) for name in found.cuts["limit"]]
    return found.cuts.assign(label=told)


def curve_panels(found: Gathered) -> dict[str, str]:
    """The quantities of a curve that change or matter, with their titles; the score first."""
    shown = {"score": found.score.metric}
    for name in CURVE:
        values = found.top[name].to_numpy(float)
        if np.ptp(values) > 0:
            shown[name] = label(name)
    return shown
