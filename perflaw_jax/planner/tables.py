"""The designs of a plan as the page shows them and as files: units for a reader, bytes for a download."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import pandas as pd

from perflaw_jax.design import FIELDS
from perflaw_jax.objective import Bound
from perflaw_jax.planner.grids import TRILLION
from perflaw_jax.planner.limits import BILLION
from perflaw_jax.planner.solve import Plan

FORMATS = {"Size, B": "%.2f", "Active, B": "%.2f", "Tokens, T": "%.2f", "FLOPs, 1e21": "%.1f", "Budget used": "%.4f"}
SUFFIXES = {"hf": ("config.json", "application/json"), "megatron": ("megatron.txt", "text/plain")}
SUFFIXES |= {"torchtitan": ("torchtitan.py", "text/x-python"), "maxtext": ("maxtext.yml", "text/yaml")}


def shown(plan: Plan) -> pd.DataFrame:
    """The table of the page: what a reader compares, sizes in billions and tokens in trillions."""
    table, moe = plan.table, plan.inputs.kind == "moe"
    columns: dict[str, Any] = {
        "Rank": table["rank"],
        "Layers": table["num_hidden_layers"],
        "Hidden": table["hidden_size"],
    }
    if moe:
        columns |= {
            "Experts": table["num_experts"],
            "Chosen": table["num_experts_per_tok"],
            "Expert FFN": table["moe_intermediate_size"],
        }
    else:
        columns["FFN"] = table["intermediate_size"]
    columns["Size, B"] = table["total_params"] / BILLION
    if moe:
        columns["Active, B"] = table["active_params"] / BILLION
    columns["Tokens, T"] = table["training_tokens"] / TRILLION
    columns[plan.inputs.entry.metric] = table["score"]
    columns |= {"Budget used": table["budget_used"], "FLOPs, 1e21": table["training_flops"] / 1e21}
    return pd.DataFrame(columns)


def formats(plan: Plan) -> dict[str, str]:
    """How the numbers of a column are written; scores in points with two decimals, others with four."""
    return FORMATS | {plan.inputs.entry.metric: "%.2f" if plan.inputs.entry.unit == "points" else "%.4f"}


def as_csv(plan: Plan) -> bytes:
    """All columns, in SI units."""
    return plan.table.to_csv(index=False, lineterminator="\n").encode()


def as_parquet(plan: Plan) -> bytes:
    """All columns, in SI units."""
    buffer = io.BytesIO()
    plan.table.to_parquet(buffer, index=False)
    return buffer.getvalue()


def design(plan: Plan, rank: int) -> dict[str, float]:
    """The Design fields of the row of a rank."""
    return {name: float(plan.table[name].iloc[rank - 1]) for name in FIELDS}


def limits_for_a_reader(plan: Plan) -> Mapping[str, Bound]:
    """The plan's limits, that on the score as the law has it."""
    limits = dict(plan.limits)
    if not plan.inputs.entry.higher_is_better:
        limits["score"] = Bound(max=plan.inputs.min_score)
    return limits
