"""What the page says in sentences."""

from __future__ import annotations

import re

from perflaw_jax.display import points, power, short, whole
from perflaw_jax.hardware import ACCELERATORS
from perflaw_jax.planner.inputs import OWN, Inputs
from perflaw_jax.planner.limits import WORDS
from perflaw_jax.planner.solve import Plan, Shift


def budget(inputs: Inputs) -> str:
    """The training budget and what it is made of."""
    hardware = inputs.hardware
    chips = "accelerators" if inputs.accelerator == OWN else inputs.accelerator
    return (
        f"{power(inputs.budget, 2)} training FLOPs: {inputs.count:,} {chips} of {hardware['peak_flops'] / 1e12:,g} TFLOP/s "
        f"at {inputs.mfu:.3g} MFU for {inputs.days:,g} days"
    )


def peak_source(inputs: Inputs) -> str:
    """Where the peak of the accelerator is from."""
    return "your own number" if inputs.accelerator == OWN else ACCELERATORS[inputs.accelerator].source


def found(plan: Plan) -> str:
    """How many designs were looked through, and how."""
    how = "all of them evaluated" if plan.note or plan.inputs.grid == "authors" else "found by an exact search"
    return f"The {len(plan.table):,} best of {plan.candidates:,} designs in range, {how}, in {plan.seconds:.2f} s"


def nothing(plan: Plan) -> str:
    """Why no design is left."""
    if plan.excludes:
        named = " or ".join(WORDS[end] for end in plan.excludes)
        return f"No design satisfies the limits. Some would without {named}; any other limit alone makes no difference."
    return "No design satisfies the limits, and dropping any single one would not help: loosen several."


def best(plan: Plan) -> dict[str, str]:
    """The best design in a few numbers: what is measured -> how it reads."""
    row, entry = plan.table.iloc[0], plan.inputs.entry
    return {
        entry.metric: f"{row['score']:.2f}" if entry.unit == "points" else points(row["score"]),
        "Parameters": short(row["total_params"]),
        **({"Active": short(row["active_params"])} if plan.inputs.kind == "moe" else {}),
        "Training tokens": short(row["training_tokens"]),
        "Layers × hidden": f"{whole(row['num_hidden_layers'])} × {whole(row['hidden_size'])}",
    }


def binding(shifts: list[Shift]) -> str:
    """Which limits hold the score back."""
    binds = [shift for shift in shifts if shift.binds]
    if not binds:
        return "No limit binds: without any one of them the best score is the same."
    parts = [f"{WORDS[shift.end]} (without it {points(shift.free)})" for shift in binds]
    return f"What holds the score back: {', '.join(parts)}."


def sentence(phrase: str) -> str:
    """A phrase with a capital letter and a full stop.

    >>> sentence("must be greater than 0, not -1")
    'Must be greater than 0, not -1.'
    """
    return plain(f"{phrase[:1].upper()}{phrase[1:]}{'' if phrase.endswith('.') else '.'}")


def plain(text: str) -> str:
    r"""Text that Markdown shows as it is.

    >>> plain("num_hidden_layers * 2")
    'num\\_hidden\\_layers \\* 2'
    """
    return re.sub(r"([\\`*_\[\]<>$#|~:])", r"\\\1", text)
