"""Writing the arguments of Megatron-LM that say a design, one a line."""

from collections.abc import Mapping

from perflaw_jax.configs.held import CannotHold


def write_megatron(shape: Mapping[str, int], family: str | None = None) -> str:
    """The lines; what is not written is Megatron's default. Biases are on all matrices, on query, key and value, or nowhere."""
    if shape["attention_bias"] != shape["mlp_bias"]:
        field = "attention_bias" if shape["attention_bias"] else "mlp_bias"
        raise CannotHold(
            field, 1, "megatron has biases on attention and FFN together; must be 0, or attention_bias = mlp_bias = 1"
        )
    if shape["mlp_bias"] and shape["shared_expert_intermediate_size"]:
        raise CannotHold("mlp_bias", 1, "megatron has no biases in shared experts; must be 0")
    switches = {
        "swiglu": shape["gated_ffn"],
        "group-query-attention": True,
        "untie-embeddings-and-output-weights": not shape["tie_word_embeddings"],
        "disable-bias-linear": not shape["mlp_bias"],
        "add-qkv-bias": shape["qkv_bias"],
        "qk-layernorm": shape["qk_norm"],
    }
    values = {
        "num-layers": shape["num_hidden_layers"],
        "hidden-size": shape["hidden_size"],
        "ffn-hidden-size": shape["intermediate_size"] or shape["moe_intermediate_size"],
        "num-attention-heads": shape["num_attention_heads"],
        "num-query-groups": shape["num_key_value_heads"],
        "kv-channels": shape["head_dim"],
        "vocab-size": shape["vocab_size"],
        "make-vocab-size-divisible-by": 1,  # any multiple could pad the embedding, and change the count
        "max-position-embeddings": shape["context_length"],
        "seq-length": shape["context_length"],
        "position-embedding-type": "rope",
        "normalization": "RMSNorm",
        **_experts(shape),
    }
    lines = [f"--{flag} {value}" for flag, value in values.items()] + [f"--{flag}" for flag, on in switches.items() if on]
    return "\n".join(lines) + "\n"


def _experts(shape: Mapping[str, int]) -> dict[str, int | str]:
    if not shape["num_experts"]:
        return {}
    dense, shared = shape["first_k_dense_replace"], shape["shared_expert_intermediate_size"]
    return {
        "num-experts": shape["num_experts"],
        "moe-router-topk": shape["num_experts_per_tok"],
        "moe-ffn-hidden-size": shape["moe_intermediate_size"],
        **({"moe-shared-expert-intermediate-size": shared} if shared else {}),
        **({"moe-layer-freq": f"[0]*{dense}+[1]*{shape['num_hidden_layers'] - dense}"} if dense else {}),
    }
