"""What any configuration needs of a design before it can be written, and the refusal of what it cannot hold."""

from collections.abc import Mapping

from perflaw_jax.configs.imported import SHAPE
from perflaw_jax.design import Design, is_fraction, nearest
from perflaw_jax.spec_values import Mistake, field_value, show

EXPERT_FIELDS = (
    "num_experts_per_tok",
    "moe_intermediate_size",
    "shared_expert_intermediate_size",
    "first_k_dense_replace",
)


class CannotHold(ValueError):
    """A configuration cannot say what the design has: one line that names the field, its value and what is allowed."""

    def __init__(self, field: str, value: object, allowed: str):
        """``allowed`` is a phrase without the field."""
        super().__init__(f"{field} = {show(value)}: {allowed}")
        self.field = field


def shape_of(fields: Mapping[str, float]) -> dict[str, int]:
    """Every field of a configuration, whole and consistent; Design's defaults for those that are not named.

    ``num_attention_heads`` may be missing or NaN: hidden_size / head_dim. What changes no count is 0: the fields of experts in
    a dense model, the FFN width where no layer is dense, and ``qkv_bias`` beside ``attention_bias``, which has it.
    """
    given = {name: value for name, value in fields.items() if name != "training_tokens" and not is_fraction(name)}
    for name in given:
        if name not in SHAPE:
            raise ValueError(f"{name}: unknown field; {nearest(name, SHAPE)}")
    every = {name: given.get(name, Design._field_defaults.get(name)) for name in SHAPE}
    heads = every["num_attention_heads"]
    shape = {name: _whole(name, value) for name, value in every.items() if name != "num_attention_heads"}
    if heads is None or heads != heads:
        heads = shape["hidden_size"] / shape["head_dim"]
    return _with_heads(_with_experts(shape), heads)


def _whole(name: str, value: float | None) -> int:
    if value is None:
        raise ValueError(f"{name}: missing")
    try:
        return int(field_value(name, float(value)))
    except Mistake as mistake:
        raise CannotHold(name, value, str(mistake)) from None


def _with_heads(shape: dict[str, int], heads: float) -> dict[str, int]:
    groups = shape["num_key_value_heads"]
    if not (heads > 0 and heads % groups == 0):
        raise CannotHold("num_attention_heads", heads, f"must be a multiple of num_key_value_heads = {groups}")
    return {**shape, "num_attention_heads": int(heads)}


def _with_experts(shape: dict[str, int]) -> dict[str, int]:
    experts, layers, dense = (shape[name] for name in ("num_experts", "num_hidden_layers", "first_k_dense_replace"))
    shape = {**shape, "qkv_bias": shape["qkv_bias"] * (1 - shape["attention_bias"])}
    if not experts:
        shape |= dict.fromkeys(EXPERT_FIELDS, 0)
    elif experts == 1:
        raise CannotHold("num_experts", 1, "a design has no router for it, every configuration has; must be 0 or >= 2")
    elif not 1 <= shape["num_experts_per_tok"] <= experts:
        raise CannotHold("num_experts_per_tok", shape["num_experts_per_tok"], f"must be 1 to num_experts = {experts}")
    elif dense >= layers:
        raise CannotHold("first_k_dense_replace", dense, f"must be less than num_hidden_layers = {layers}")
    elif not shape["moe_intermediate_size"]:
        raise CannotHold("moe_intermediate_size", 0, "must be > 0 in an MoE model")
    elif not dense:
        return {**shape, "intermediate_size": 0}
    if not shape["intermediate_size"]:
        raise CannotHold("intermediate_size", 0, "must be > 0 where a layer is dense")
    return shape


def refuse(shape: Mapping[str, int], where: str, allowed: Mapping[str, tuple[int, ...]]) -> None:
    """`CannotHold` for the first field that has none of the values that ``where`` has a place for."""
    for field, values in allowed.items():
        if shape[field] not in values:
            one = f"{values[0]}" if len(values) == 1 else f"one of {', '.join(map(str, values))}"
            raise CannotHold(field, shape[field], f"{where} holds only {one}")
