"""The Design pytree: one language model's shape and training length, and the glossary of everything counted from it.

Field names are Hugging Face config names. Units are SI: parameters, tokens, FLOPs (one fused multiply-add = 2), bytes.
This module imports no jax, so that specs and stores can read the names without it.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple

Scalar = Any  # a Python number, or an array of any one shape: laws and counts see scalars, vmap adds the axes


class Design(NamedTuple):
    """One candidate: every leaf is a scalar; batches are made by ``jax.vmap`` from outside.

    The defaults are those of the Performance Law authors' planner (``plan.py``): 8 key/value heads of 128, a vocabulary of
    150,000, untied embeddings and a gated FFN. A dense model has ``num_experts = 0``. Flags are 0 or 1.
    """

    num_hidden_layers: Scalar
    hidden_size: Scalar
    intermediate_size: Scalar  # dense FFN width; in an MoE model, of the leading dense layers
    num_attention_heads: Scalar
    training_tokens: Scalar
    num_key_value_heads: Scalar = 8
    head_dim: Scalar = 128
    vocab_size: Scalar = 150_000
    tie_word_embeddings: Scalar = 0
    gated_ffn: Scalar = 1
    num_experts: Scalar = 0  # routed experts per MoE layer
    num_experts_per_tok: Scalar = 0  # routed experts chosen per token
    moe_intermediate_size: Scalar = 0  # FFN width of one routed expert
    shared_expert_intermediate_size: Scalar = 0  # summed over the shared experts
    first_k_dense_replace: Scalar = 0  # leading layers that keep the dense FFN
    attention_bias: Scalar = 0  # biases on the query, key, value and output projections
    qkv_bias: Scalar = 0  # biases on the query, key and value projections alone
    mlp_bias: Scalar = 0  # biases on the FFN matrices
    qk_norm: Scalar = 0  # a norm over head_dim on queries and on keys
    context_length: Scalar = 4096
    data_fraction: Mapping[str, Scalar] = {}  # data domain -> its share of the training tokens; empty where none is named


FIELDS = Design._fields[:-1]  # those that are one number; shares of data domains are named data_fraction.<domain>
FRACTION = "data_fraction."

FLAGS = ("tie_word_embeddings", "gated_ffn", "attention_bias", "qkv_bias", "mlp_bias", "qk_norm")

COUNTS = {
    "total_params": "parameters: matrices and embeddings (the planner's convention)",
    "active_params": "parameters that one token uses",
    "exact_params": "parameters, with norms and biases",
    "non_embedding_params": "parameters outside the embeddings and the output head",
    "training_flops": "FLOPs of training: 6 x active_params x training_tokens (the law's convention)",
    "non_embedding_flops": "FLOPs of training without the embeddings: 6 x (active_params - embeddings) x training_tokens",
    "exact_training_flops": "FLOPs of training, every matrix product and the attention scores at context_length",
    "inference_flops_per_token": "FLOPs per generated token: 2 x active_params",
    "weight_bytes": "bytes of the weights at 2 bytes per parameter",
    "kv_cache_bytes": "bytes of the key/value cache of one sequence of context_length at 2 bytes per number",
    "optimizer_bytes": "bytes of Adam's state at 12 bytes per parameter (fp32 master weight and two moments)",
}

RATIOS = {
    "ffn_ratio": "FFN width that a token passes / hidden_size",
    "aspect_ratio": "hidden_size / num_hidden_layers",
    "expert_ratio": "moe_intermediate_size / hidden_size",
    "tokens_per_param": "training_tokens / total_params",
}

QUANTITIES = (*FIELDS, *COUNTS, *RATIOS)  # what limits and frontier costs may name


def is_fraction(name: str) -> bool:
    """Whether a field is the share of one data domain.

    >>> is_fraction("data_fraction.code"), is_fraction("hidden_size")
    (True, False)
    """
    return name.startswith(FRACTION)


def nearest(name: str, allowed) -> str:
    """The end of an error message: the nearest allowed name, or all of them.

    >>> nearest("hiden_size", ["hidden_size", "vocab_size"])
    "did you mean 'hidden_size'?"
    """
    allowed = [*dict.fromkeys(allowed)]
    close = get_close_matches(name, allowed, n=1)
    return f"did you mean {close[0]!r}?" if close else f"allowed: {', '.join(allowed)}"
