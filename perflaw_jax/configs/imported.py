"""What is read from another tool's configuration."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from perflaw_jax.design import FIELDS, FLAGS
from perflaw_jax.spec_values import show

SHAPE = tuple(name for name in FIELDS if name != "training_tokens")  # no configuration says how long the model is trained


@dataclass(frozen=True)
class Imported:
    """A design as another tool's configuration has it."""

    family: str  # model_type of Hugging Face, or "megatron"
    fields: dict[str, float]  # every Design field that is one number, but training_tokens
    notes: tuple[str, ...] = ()  # what the Design does not hold exactly, and by how many parameters


def imported(family: str, fields: Mapping[str, float], notes: list[str], say: Callable[[str, str], ValueError]) -> Imported:
    """The fields with Design's zeros for those that are not named; ``say(field, what is wrong)`` makes the error."""
    zeros = dict.fromkeys(SHAPE, 0) | {"gated_ffn": 1}
    complete = {name: int(value) for name, value in (zeros | {**fields}).items()}
    heads, groups = complete["num_attention_heads"], complete["num_key_value_heads"]
    if heads % groups:
        raise say("num_key_value_heads", f"must divide num_attention_heads = {heads}, not {groups}")
    if complete["num_experts"]:
        _check_experts(complete, say)
        moe = complete["num_hidden_layers"] - complete["first_k_dense_replace"]
        if complete["num_experts"] == 1:
            notes = [*notes, differs(moe * complete["hidden_size"], "the router of a single expert")]
        if not complete["first_k_dense_replace"]:
            complete["intermediate_size"] = 0  # no layer has it
    return Imported(family, complete, tuple(notes))


def _check_experts(fields: Mapping[str, int], say: Callable[[str, str], ValueError]) -> None:
    if not 1 <= fields["num_experts_per_tok"] <= fields["num_experts"]:
        raise say("num_experts_per_tok", f"must be 1 to num_experts = {fields['num_experts']}")
    if fields["first_k_dense_replace"] > fields["num_hidden_layers"]:
        raise say("first_k_dense_replace", f"must be at most num_hidden_layers = {fields['num_hidden_layers']}")


def differs(parameters: int, what: str) -> str:
    """A note: the configuration's own model has so many parameters more, or fewer, than exact_params of the design.

    >>> differs(-2048, "the projection")
    'the projection: 2,048 parameters fewer in the config than exact_params counts'
    """
    return (
        f"{what}: {abs(parameters):,} parameters {'fewer' if parameters < 0 else 'more'} in the config than exact_params counts"
    )


def whole(value: Any, least: int) -> int:
    """A whole number as JSON and command lines have it; ValueError with what is allowed."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 2**53:
        raise ValueError(f"must be a whole number >= {least}, not {show(value)}")
    return value


def field_value(field: str, value: Any) -> int:
    """The value of a Design field from JSON: true or false for a flag, else a whole number > 0."""
    if field not in FLAGS:
        return whole(value, 0 if field in ("first_k_dense_replace", "shared_expert_intermediate_size") else 1)
    if not isinstance(value, bool):
        raise ValueError(f"must be true or false, not {show(value)}")
    return int(value)
