"""Random designs that a configuration can hold, as hypothesis strategies."""

from hypothesis import strategies as st

FLAGS = ("tie_word_embeddings", "gated_ffn", "attention_bias", "qkv_bias", "mlp_bias", "qk_norm")

_PLAIN = {name: (0,) for name in FLAGS[2:]} | {"gated_ffn": (1,)}
_DENSE = _PLAIN | {"moe": (0,)}
_MOE = _PLAIN | {"moe": (1,)}
HF = {  # family -> what the designs of it may have
    "llama": _DENSE | {"attention_bias": (0, 1), "mlp_bias": (0, 1)},
    "mistral": _DENSE | {"even": (False,)},
    "qwen2": _DENSE | {"qkv_bias": (1,), "even": (False,)},
    "qwen3": _DENSE | {"qk_norm": (1,), "attention_bias": (0, 1), "even": (False,)},
    "mixtral": _MOE | {"dense": (0,), "shared": (0,), "even": (False,)},
    "qwen3_moe": _MOE | {"qk_norm": (1,), "attention_bias": (0, 1), "shared": (0,), "even": (False,)},
    "glm4_moe": _MOE | {"qk_norm": (0, 1), "qkv_bias": (0, 1), "even": (False,)},
}


@st.composite
def shapes(draw, **allowed):
    """Every field of a configuration, consistent; ``allowed`` are the values that flags and these may have.

    ``moe`` 0 or 1; in an MoE, ``dense`` 1: leading dense layers, and ``shared``: so many experts; ``even``: hidden_size is a
    multiple of the heads. What changes no count is 0: ``qkv_bias`` beside ``attention_bias``, the FFN width of no layer.
    """
    groups = draw(st.integers(1, 4))
    heads = groups * draw(st.integers(1, 4))
    shape = {
        "num_hidden_layers": draw(st.integers(1, 5)),
        "hidden_size": draw(st.integers(1, 30)) * (heads if draw(st.sampled_from(allowed.get("even", (True,)))) else 2),
        "intermediate_size": draw(st.integers(1, 99)),
        "num_attention_heads": heads,
        "num_key_value_heads": groups,
        "head_dim": 2 * draw(st.integers(1, 16)),
        "vocab_size": draw(st.integers(2, 300)),
        "context_length": draw(st.integers(1, 999)),
    }
    shape |= {name: draw(st.sampled_from(allowed.get(name, (0, 1)))) for name in FLAGS}
    shape["qkv_bias"] *= 1 - shape["attention_bias"]
    return shape | draw(_experts(draw(st.sampled_from(allowed.get("moe", (0, 1)))), shape, allowed))


@st.composite
def _experts(draw, moe, shape, allowed):
    experts, width = draw(st.integers(2, 9)) * moe, draw(st.integers(1, 40)) * moe
    dense = draw(st.integers(0, shape["num_hidden_layers"] - 1)) * moe * draw(st.sampled_from(allowed.get("dense", (0, 1))))
    return {
        "num_experts": experts,
        "num_experts_per_tok": draw(st.integers(1, max(experts, 1))) * moe,
        "moe_intermediate_size": width,
        "shared_expert_intermediate_size": width * draw(st.sampled_from(allowed.get("shared", (0, 1, 2)))),
        "first_k_dense_replace": dense,
        "intermediate_size": shape["intermediate_size"] if dense or not moe else 0,
    }
