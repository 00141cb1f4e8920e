"""Writing the keys of MaxText's base.yml that say a design."""

from collections.abc import Mapping

from perflaw_jax.configs.held import refuse

NONE = (
    *("attention_bias", "qkv_bias", "mlp_bias"),  # attention_bias of base.yml is not the same in all decoder blocks
    *("first_k_dense_replace", "shared_expert_intermediate_size"),  # only beside multi-head latent attention
)


def write_maxtext(shape: Mapping[str, int], family: str | None = None) -> str:
    """YAML of overrides; the decoder block is Llama's, or Qwen 3's where queries and keys have norms, or their MoE."""
    moe = bool(shape["num_experts"])
    refuse(shape, "maxtext", {"gated_ffn": (1,)} | dict.fromkeys(NONE, (0,)))
    block = ("mixtral", "qwen3_moe") if moe else ("llama2", "qwen3")
    values = {
        "decoder_block": f'"{block[shape["qk_norm"]]}"',
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
