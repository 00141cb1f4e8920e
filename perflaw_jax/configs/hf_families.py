"""One table per model_type of Hugging Face: which key is which Design field, and which keys change no count.

Source: the config classes and models of transformers 5.23, and configs of the 4.x era that are published with the models.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from perflaw_jax.configs import hf_rules as rules
from perflaw_jax.configs.hf_rules import Rule

SHAPE = {
    "num_hidden_layers": "num_hidden_layers",
    "hidden_size": "hidden_size",
    "intermediate_size": "intermediate_size",
    "num_attention_heads": "num_attention_heads",
    "vocab_size": "vocab_size",
    "tie_word_embeddings": "tie_word_embeddings",
    "max_position_embeddings": "context_length",
}
GROUPED = {"num_key_value_heads": "num_key_value_heads", "head_dim": "head_dim"}
BIAS = {"attention_bias": "attention_bias"}
EXPERTS = {"num_experts": "num_experts", "num_experts_per_tok": "num_experts_per_tok"}
EXPERT_WIDTH = {"moe_intermediate_size": "moe_intermediate_size"}
LEADING = {"first_k_dense_replace": "first_k_dense_replace"}

SPELLINGS = {  # every version and family has its own word
    "num_local_experts": "num_experts",
    "n_routed_experts": "num_experts",
    "moe_num_experts": "num_experts",
    "num_mtp_layers": "num_nextn_predict_layers",
}

ROPE = {"rope_theta", "rope_scaling", "rope_parameters", "partial_rotary_factor"}
NUMERICS = {"hidden_act", "initializer_range", "rms_norm_eps", "attention_dropout", "pretraining_tp"}
WINDOWS = {"sliding_window", "use_sliding_window", "max_window_layers", "layer_types"}
LLAMA_LIKE = ROPE | NUMERICS | WINDOWS
ROUTING = {"norm_topk_prob", "output_router_logits", "router_aux_loss_coef", "router_jitter_noise", "router_z_loss_coef"}
GROUP_ROUTING = {
    *("n_group", "topk_group", "topk_method", "routed_scaling_factor", "scoring_func"),
    *("aux_loss_alpha", "seq_aux", "ep_size", "moe_router_dtype"),
}
LATENT = {"q_lora_rank": 1536, "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128}
SOFTCAPS = {"hidden_activation", "query_pre_attn_scalar", "attn_logit_softcapping", "final_logit_softcapping"}
GEMMA = LLAMA_LIKE | SOFTCAPS | {"use_bidirectional_attention", "cache_implementation", "sliding_window_size"}


class Family(NamedTuple):
    """How the config of one model_type says a Design."""

    keys: Mapping[str, str]  # config key -> Design field
    defaults: Mapping[str, Any]  # of keys that may be absent: what transformers then has
    ignored: frozenset[str] | set[str]  # keys that change no count
    always: Mapping[str, int] = {}  # Design fields of the architecture that no key says
    must: Mapping[str, tuple] = {}  # keys that the Design has no place for -> the values that need none
    rules: tuple[Rule, ...] = ()


def _grouped(context: int, groups: int | None = None, head_dim: int | None = None, tied: bool = False, **others) -> dict:
    """Defaults of a decoder; key/value heads of None: as many as query heads, and head_dim of None: hidden_size / heads."""
    shape = {"num_key_value_heads": groups, "head_dim": head_dim, "tie_word_embeddings": tied}
    return shape | {"max_position_embeddings": context} | others


_LATENT = Family(
    keys=SHAPE | EXPERTS | EXPERT_WIDTH | LEADING,
    defaults={},
    ignored=LLAMA_LIKE | ROUTING | GROUP_ROUTING | {"num_key_value_heads", "head_dim", "qk_head_dim", "rope_interleave"},
    must={"attention_bias": (False,), "mlp_bias": (False,), "moe_layer_freq": (1,)},
    rules=(rules.latent_attention, rules.shared_in_experts, rules.further_prediction),
)
_GEMMA3 = Family(
    keys=SHAPE | GROUPED | BIAS,
    defaults=_grouped(131072, 4, 256, True, attention_bias=False, num_attention_heads=8, vocab_size=262208)
    | {"hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26},  # published configs leave out what is default
    ignored=GEMMA | {"sliding_window_pattern", "_sliding_window_pattern", "rope_local_base_freq"},
    always={"qk_norm": 1},
    rules=(rules.norms_after,),
)

FAMILIES: dict[str, Family] = {
    "llama": Family(
        keys=SHAPE | GROUPED | BIAS | {"mlp_bias": "mlp_bias"},
        defaults=_grouped(2048, attention_bias=False, mlp_bias=False),
        ignored=LLAMA_LIKE | {"max_sequence_length", "rope_interleaved", "is_llama_config"},
    ),
    "mistral": Family(SHAPE | GROUPED, _grouped(131072, 8), LLAMA_LIKE),
    "qwen2": Family(SHAPE | GROUPED, _grouped(32768, 32), LLAMA_LIKE, always={"qkv_bias": 1}, must={"use_mrope": (False,)}),
    "qwen3": Family(
        keys=SHAPE | GROUPED | BIAS,
        defaults=_grouped(32768, 32, 128, attention_bias=False),
        ignored=LLAMA_LIKE,
        always={"qk_norm": 1},
    ),
    "gemma": Family(SHAPE | GROUPED | BIAS, _grouped(8192, 16, 256, True, attention_bias=False), GEMMA),
    "gemma2": Family(
        keys=SHAPE | GROUPED | BIAS,
        defaults=_grouped(8192, 4, 256, True, attention_bias=False),
        ignored=GEMMA,
        rules=(rules.norms_after,),
    ),
    "gemma3_text": _GEMMA3,
    "mixtral": Family(
        keys=SHAPE | GROUPED | EXPERTS,
        defaults=_grouped(131072, 8, num_experts=8, num_experts_per_tok=2),
        ignored=LLAMA_LIKE | ROUTING,
        rules=(rules.experts_have_ffn_width,),
    ),
    "qwen2_moe": Family(
        keys=SHAPE
        | GROUPED
        | EXPERTS
        | EXPERT_WIDTH
        | {"qkv_bias": "qkv_bias", "shared_expert_intermediate_size": "shared_expert_intermediate_size"},
        defaults=_grouped(32768, 16, qkv_bias=True, mlp_only_layers=None, decoder_sparse_step=1),
        ignored=LLAMA_LIKE | ROUTING,
        must={"decoder_sparse_step": (1,)},
        rules=(rules.dense_layers_by_list, rules.shared_gate),
    ),
    "qwen3_moe": Family(
        keys=SHAPE | GROUPED | EXPERTS | EXPERT_WIDTH | BIAS,
        defaults=_grouped(32768, 4, attention_bias=False, mlp_only_layers=None, decoder_sparse_step=1),
        ignored=LLAMA_LIKE | ROUTING,
        always={"qk_norm": 1},
        must={"decoder_sparse_step": (1,)},
        rules=(rules.dense_layers_by_list,),
    ),
    "deepseek_v2": _LATENT._replace(
        defaults={"tie_word_embeddings": False, "max_position_embeddings": 2048, "first_k_dense_replace": 0}
        | LATENT
        | {"n_shared_experts": 2, "num_nextn_predict_layers": 0}
    ),
    "deepseek_v3": _LATENT._replace(
        defaults={"tie_word_embeddings": False, "max_position_embeddings": 4096, "first_k_dense_replace": 3}
        | LATENT
        | {"n_shared_experts": 1, "num_nextn_predict_layers": 1}
    ),
    "glm4_moe": Family(
        keys=SHAPE
        | GROUPED
        | EXPERTS
        | EXPERT_WIDTH
        | LEADING
        | {"attention_bias": "qkv_bias", "use_qk_norm": "qk_norm"},  # its output projection never has a bias
        defaults=_grouped(131072, 8, attention_bias=False, use_qk_norm=False, first_k_dense_replace=1)
        | {"n_shared_experts": 1, "num_nextn_predict_layers": 1},
        ignored=LLAMA_LIKE | ROUTING | GROUP_ROUTING,
        rules=(rules.shared_in_experts, rules.further_prediction),
    ),
    "olmoe": Family(
        keys=SHAPE | GROUPED | EXPERTS | BIAS,
        defaults=_grouped(4096, attention_bias=False, num_experts=64, num_experts_per_tok=8),
        ignored=LLAMA_LIKE | ROUTING | {"clip_qkv"},
        rules=(rules.experts_have_ffn_width, rules.norms_over_width),
    ),
    "olmo2": Family(
        keys=SHAPE | GROUPED | BIAS,
        defaults=_grouped(2048, attention_bias=False),
        ignored=LLAMA_LIKE,
        rules=(rules.norms_over_width,),
    ),
    "gpt_neox": Family(
        keys=SHAPE | BIAS,
        defaults=_grouped(2048, attention_bias=True),
        ignored=LLAMA_LIKE
        | {"hidden_dropout", "classifier_dropout", "layer_norm_eps", "use_parallel_residual"}
        | {"rotary_pct", "rotary_emb_base"},
        always={"gated_ffn": 0, "mlp_bias": 1},
        rules=(rules.norm_biases,),
    ),
}

MODEL_TYPES = (*FAMILIES, "gemma3")  # gemma3 is a vision tower around gemma3_text

VISION = {  # of gemma3 beside text_config
    *("vision_config", "mm_tokens_per_image", "boi_token_index", "eoi_token_index", "image_token_index", "initializer_range"),
    *("boi_token_id", "eoi_token_id", "image_token_id"),
}

METADATA = frozenset(
    {
        *("architectures", "auto_map", "bos_token_id", "dtype", "eos_token_id", "model_type", "name_or_path", "_name_or_path"),
        *("pad_token_id", "quantization_config", "sep_token_id", "torch_dtype", "transformers_version", "use_cache"),
        *("_attn_implementation", "_attn_implementation_autoset", "attn_implementation", "_attn_implementation_internal"),
        *("_commit_hash", "chunk_size_feed_forward", "decoder_start_token_id", "finetuning_task", "id2label", "label2id"),
        *("is_decoder", "output_attentions", "output_hidden_states", "prefix", "problem_type", "return_dict", "tf_legacy_loss"),
        *("task_specific_params", "tie_encoder_decoder", "tokenizer_class", "torchscript", "use_bfloat16"),
        *("unsloth_version", "unsloth_fixed", "transformers.js_config", "quantization"),
        # of generation, which configs of transformers 4 repeat
        *("bad_words_ids", "begin_suppress_tokens", "diversity_penalty", "do_sample", "early_stopping", "temperature"),
        *("encoder_no_repeat_ngram_size", "exponential_decay_length_penalty", "forced_bos_token_id", "forced_eos_token_id"),
        *("length_penalty", "max_length", "min_length", "no_repeat_ngram_size", "num_beam_groups", "num_beams", "top_k"),
        *("num_return_sequences", "output_scores", "remove_invalid_values", "repetition_penalty", "return_dict_in_generate"),
        *("suppress_tokens", "top_p", "typical_p"),
    }
)
MUST = {  # of every config
    "is_encoder_decoder": (False,),
    "add_cross_attention": (False,),
    "cross_attention_hidden_size": (None,),
    "pruned_heads": ({},),
}
