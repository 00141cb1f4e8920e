"""Writing a config.json of Hugging Face that transformers builds with exactly the design's parameters."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from perflaw_jax.configs.held import CannotHold
from perflaw_jax.design import nearest

ROPE_THETA = 500_000.0  # Llama 3's; it changes no count


class Target(NamedTuple):
    """What the architecture of one model_type can hold, beyond the sizes of a gated decoder; each a set of 0 and 1."""

    architecture: str
    moe: bool = False
    attention_bias: tuple[int, ...] = (0,)
    qkv_bias: tuple[int, ...] = (0,)
    mlp_bias: tuple[int, ...] = (0,)
    qk_norm: tuple[int, ...] = (0,)
    dense_layers: bool = False  # leading ones, in an MoE model
    shared_experts: bool = False  # of the routed experts' width
    even_heads: bool = False  # transformers 5 refuses another hidden_size, whatever head_dim is


# The first that holds a design is its family. glm4_moe stands for DeepSeek-V3 without its latent attention: of what
# transformers has with shared experts and leading dense layers, dots1 always norms queries and keys, and qwen2_moe adds a gate.
TARGETS = {
    "llama": Target("LlamaForCausalLM", attention_bias=(0, 1), mlp_bias=(0, 1), even_heads=True),
    "mistral": Target("MistralForCausalLM"),
    "qwen2": Target("Qwen2ForCausalLM", qkv_bias=(1,)),
    "qwen3": Target("Qwen3ForCausalLM", attention_bias=(0, 1), qk_norm=(1,)),
    "mixtral": Target("MixtralForCausalLM", moe=True),
    "qwen3_moe": Target("Qwen3MoeForCausalLM", moe=True, attention_bias=(0, 1), qk_norm=(1,), dense_layers=True),
    "glm4_moe": Target("Glm4MoeForCausalLM", moe=True, qkv_bias=(0, 1), qk_norm=(0, 1), dense_layers=True, shared_experts=True),
}


def write_hf(shape: Mapping[str, int], family: str | None) -> str:
    """The config.json; ``family`` is a key of ``TARGETS``, or chosen."""
    if family is not None and family not in TARGETS:
        raise ValueError(f"--family: no family named {family!r}; {nearest(family, TARGETS)}")
    if family is None:
        family = _chosen(shape)
    elif problem := _problem(shape, family):
        raise problem
    return json.dumps(_config(shape, family), indent=2) + "\n"


def _chosen(shape: Mapping[str, int]) -> str:
    """The first family that holds the design; `CannotHold` says why each of its kind does not."""
    problems = {family: _problem(shape, family) for family in TARGETS if TARGETS[family].moe == bool(shape["num_experts"])}
    for family, problem in problems.items():
        if problem is None:
            return family
    reasons = {str(problem): problem for problem in problems.values() if problem is not None}
    if len(reasons) == 1:
        raise next(iter(reasons.values()))
    first = next(problem for problem in problems.values() if problem is not None)
    raise _Unheld(first.field, "; ".join(reasons))


class _Unheld(CannotHold):
    def __init__(self, field: str, message: str):
        ValueError.__init__(self, f"no family of hf holds this design: {message}")
        self.field = field


def _problem(shape: Mapping[str, int], family: str) -> CannotHold | None:
    """Why an architecture does not hold the design; None if it does."""
    target = TARGETS[family]
    experts, width, heads = (shape[name] for name in ("num_experts", "hidden_size", "num_attention_heads"))
    if not shape["gated_ffn"]:
        return CannotHold("gated_ffn", 0, "hf has families with a gated FFN alone; must be 1")
    if target.moe != bool(experts):
        return CannotHold("num_experts", experts, f"{family} is {'an MoE' if target.moe else 'a dense'} model")
    for field in ("attention_bias", "qkv_bias", "mlp_bias", "qk_norm"):
        allowed = getattr(target, field)
        if shape[field] not in allowed:
            return CannotHold(field, shape[field], f"{family} has no switch for it; must be {allowed[0]}")
    if target.even_heads and width % heads:
        return CannotHold("num_attention_heads", heads, f"{family} needs a divisor of hidden_size = {width}")
    if shape["first_k_dense_replace"] and not target.dense_layers:
        return CannotHold("first_k_dense_replace", shape["first_k_dense_replace"], f"{family} has MoE layers alone; must be 0")
    return _shared_problem(shape, family)


def _shared_problem(shape: Mapping[str, int], family: str) -> CannotHold | None:
    shared, routed = shape["shared_expert_intermediate_size"], shape["moe_intermediate_size"]
    if shared and not TARGETS[family].shared_experts:
        return CannotHold("shared_expert_intermediate_size", shared, f"{family} has no shared experts; must be 0")
    if shared and shared % routed:
        allowed = f"{family} has whole shared experts; must be a multiple of moe_intermediate_size = {routed}"
        return CannotHold("shared_expert_intermediate_size", shared, allowed)
    return None


def _config(shape: Mapping[str, int], family: str) -> dict[str, Any]:
    """Keys of transformers 5, and beside them those that readers of the 4.x era expect."""
    sizes = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim")
    return {
        "architectures": [TARGETS[family].architecture],
        "model_type": family,
        **{name: shape[name] for name in sizes},
        "intermediate_size": shape["intermediate_size"] or shape["moe_intermediate_size"],
        **_experts(shape, family),
        "hidden_act": "silu",
        **_switches(shape, family),
        "tie_word_embeddings": bool(shape["tie_word_embeddings"]),
        "max_position_embeddings": shape["context_length"],
        "rope_parameters": {"rope_theta": ROPE_THETA, "rope_type": "default"},
        "rope_theta": ROPE_THETA,
        "initializer_range": 0.02,
        "rms_norm_eps": 1e-6,
        "attention_dropout": 0.0,
        "bos_token_id": None,  # the tokenizer's
        "eos_token_id": None,
        "dtype": "bfloat16",
        "torch_dtype": "bfloat16",
    }


def _experts(shape: Mapping[str, int], family: str) -> dict[str, Any]:
    if not shape["num_experts"]:
        return {}
    experts, width, dense = (shape[name] for name in ("num_experts", "moe_intermediate_size", "first_k_dense_replace"))
    chosen = {"num_experts_per_tok": shape["num_experts_per_tok"], "output_router_logits": False}
    if family == "mixtral":
        return {"num_local_experts": experts, **chosen}
    chosen |= {"moe_intermediate_size": width, "norm_topk_prob": True}
    if family == "qwen3_moe":
        layers = {"decoder_sparse_step": 1, "mlp_only_layers": list(range(dense))}
        return {"num_experts": experts, "num_local_experts": experts, **chosen, **layers}
    shared = {"n_shared_experts": shape["shared_expert_intermediate_size"] // width, "first_k_dense_replace": dense}
    routing = {"n_group": 1, "topk_group": 1, "routed_scaling_factor": 1.0, "num_nextn_predict_layers": 0}
    return {"n_routed_experts": experts, **chosen, **shared, **routing}


def _switches(shape: Mapping[str, int], family: str) -> dict[str, Any]:
    """What the family says with keys of its own."""
    if family == "llama":
        return {name: bool(shape[name]) for name in ("attention_bias", "mlp_bias")}
    if family == "glm4_moe":
        partial = {"partial_rotary_factor": 1.0}
        return {"attention_bias": bool(shape["qkv_bias"]), "use_qk_norm": bool(shape["qk_norm"]), **partial}
    windows = {"sliding_window": None}
    if family in ("mistral", "mixtral"):
        return windows
    if family == "qwen2":
        return {"use_sliding_window": False, **windows}
    return {"attention_bias": bool(shape["attention_bias"]), "use_sliding_window": False, **windows}
