"""Writing the keys of MaxText's base.yml that say a design."""

from collections.abc import Mapping

from perflaw_jax.configs.held import refuse


def write_maxtext(shape: Mapping[str, int], family: str | None = None) -> str:
    """YAML of overrides; the decoder block is Llama's, Qwen 2's (q, k, v biases), Qwen 3's (query/key norms), or their MoE."""
    moe = bool(shape["num_experts"])
    block = {(0, 0): "llama2", (0, 1): "qwen2", (1, 0): "qwen3"} if not moe else {(0, 0): "mixtral", (1, 0): "qwen3_moe"}
    none = dict.fromkeys(("attention_bias", "mlp_bias", "first_k_dense_replace", "shared_expert_intermediate_size"), (0,))
    biases = (0,) if moe or shape["qk_norm"] else (0, 1)
    refuse(shape, "maxtext without latent attention", {"gated_ffn": (1,), **none, "qkv_bias": biases})
    values = {
        "decoder_block": f'"{block[shape["qk_norm"], shape["qkv_bias"]]}"',
        "base_num_decoder_layers": shape["num_hidden_layers"],
        "base_emb_dim": shape["hidden_size"],
        "base_mlp_dim": shape["intermediate_size"] or shape["moe_intermediate_size"],
        "base_num_query_heads": shape["num_attention_heads"],
        "base_num_kv_heads": shape["num_key_value_heads"],
        "head_dim": shape["head_dim"],
        "vocab_size": shape["vocab_size"],
        "mlp_activations": '["silu", "linear"]',
        "logits_via_embedding": _flag(shape["tie_word_embeddings"]),
        "normalize_embedding_logits": "false",
        "use_qk_norm": _flag(shape["qk_norm"]),
        "attention_bias": _flag(shape["qkv_bias"]),
        "max_target_length": shape["context_length"],
    }
    if moe:
        values |= {
            "num_experts": shape["num_experts"],
            "num_experts_per_tok": shape["num_experts_per_tok"],
            "base_moe_mlp_dim": shape["moe_intermediate_size"],
        }
    return "".join(f"{key}: {value}\n" for key, value in values.items())


def _flag(value: int) -> str:
    return "true" if value else "false"
