"""What of a Hugging Face config does not stand there as one key for one Design field.

A rule sees the config, with what transformers has for absent keys, and the fields read so far. It returns the fields that it
changes, and notes of what the Design does not hold.
"""

from collections.abc import Callable, Mapping
from typing import Any

from perflaw_jax.configs.imported import differs, whole

Config = Mapping[str, Any]
Fields = Mapping[str, int]
Change = tuple[dict[str, int], list[str]]
Rule = Callable[[Config, Fields], Change]


def experts_have_ffn_width(config: Config, fields: Fields) -> Change:
    """Every layer is MoE, and intermediate_size is the width of one expert."""
    return {"moe_intermediate_size": fields["intermediate_size"], "intermediate_size": 0}, []


def dense_layers_by_list(config: Config, fields: Fields) -> Change:
    """``mlp_only_layers`` may only be the leading layers: a Design interleaves no MoE layers."""
    layers = config["mlp_only_layers"] or []
    if not isinstance(layers, list) or layers != list(range(len(layers))):
        raise ValueError(f"mlp_only_layers: must be the leading layers, [0, 1, ...]; interleaved MoE is not read, got {layers}")
    return {"first_k_dense_replace": len(layers)}, []


def shared_in_experts(config: Config, fields: Fields) -> Change:
    """``n_shared_experts`` experts of the routed ones' width."""
    shared = config["n_shared_experts"]
    try:
        count = 0 if shared is None else whole(shared, 0)
    except ValueError as error:
        raise ValueError(f"n_shared_experts: {error}") from None
    return {"shared_expert_intermediate_size": count * fields["moe_intermediate_size"]}, []


def shared_gate(config: Config, fields: Fields) -> Change:
    """Qwen2-MoE weighs its shared expert by a gate of one column."""
    if not fields["shared_expert_intermediate_size"]:
        return {}, []
    moe = fields["num_hidden_layers"] - fields.get("first_k_dense_replace", 0)
    return {}, [differs(moe * fields["hidden_size"], "the shared expert's gate")]


def norms_over_width(config: Config, fields: Fields) -> Change:
    """OLMo 2 and OLMoE norm queries and keys over all heads at once."""
    heads = fields["num_attention_heads"] + fields["num_key_value_heads"]
    extra = fields["num_hidden_layers"] * heads * fields["head_dim"]
    return {}, [differs(extra, "norms of queries and keys over the whole width")]


def norms_after(config: Config, fields: Fields) -> Change:
    """Gemma 2 and 3 norm after attention and FFN, too."""
    return {}, [differs(2 * fields["num_hidden_layers"] * fields["hidden_size"], "norms after attention and FFN")]


def norm_biases(config: Config, fields: Fields) -> Change:
    """LayerNorm has a bias; Design's norms are RMSNorm."""
    layers, width = fields["num_hidden_layers"], fields["hidden_size"]
    extra = (2 * layers + 1) * width + 2 * layers * fields.get("qk_norm", 0) * fields["head_dim"]
    return {}, [differs(extra, "biases of LayerNorm")]


def latent_attention(config: Config, fields: Fields) -> Change:
    """Multi-head latent attention is read as heads of ``v_head_dim``, each with keys and values of its own."""
    keys = ("kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
    keys = keys if config["q_lora_rank"] is None else (*keys, "q_lora_rank")
    ranks = {}
    for key in keys:
        try:
            ranks[key] = whole(config[key], 1)
        except ValueError as error:
            raise ValueError(f"{key}: {error}") from None
    layers, width, heads = (fields[name] for name in ("num_hidden_layers", "hidden_size", "num_attention_heads"))
    read_as = 4 * width * heads * ranks["v_head_dim"]
    extra = layers * (_latent(width, heads, ranks) - read_as)
    note = f"multi-head latent attention read as {heads} heads of {ranks['v_head_dim']}"
    return {"num_key_value_heads": heads, "head_dim": ranks["v_head_dim"]}, [differs(extra, note)]


def _latent(width: int, heads: int, ranks: Mapping[str, int]) -> int:
    """Parameters of one layer's multi-head latent attention with its norms (DeepSeek-V2, arXiv 2405.04434, section 2.1)."""
    query_key = heads * (ranks["qk_nope_head_dim"] + ranks["qk_rope_head_dim"])
    low, query = ranks["kv_lora_rank"], ranks.get("q_lora_rank")
    queries = width * query_key if query is None else query * (width + 1 + query_key)
    down = width * (low + ranks["qk_rope_head_dim"]) + low
    up = low * heads * (ranks["qk_nope_head_dim"] + ranks["v_head_dim"])
    return queries + down + up + heads * ranks["v_head_dim"] * width


def further_prediction(config: Config, fields: Fields) -> Change:
    """Layers that predict tokens after the next one are no part of the model that transformers builds."""
    layers = config["num_nextn_predict_layers"]
    return {}, [f"the {layers} layers that predict further tokens are not counted"] if layers else []
