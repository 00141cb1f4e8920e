"""Exact counts of one design: parameters, FLOPs and bytes, all from the same Design so that they cannot disagree.

Every function takes a Design of scalars and is meant for ``jax.vmap``. Counts are exact where the leaves are float64
(whole numbers below 2^53) and good to about 2e-7 relative in float32.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from perflaw_jax.design import FRACTION, Design, Scalar, is_fraction

BYTES_PER_WEIGHT = 2  # bfloat16
BYTES_PER_CACHED_NUMBER = 2  # bfloat16
ADAM_BYTES_PER_PARAM = 12  # float32 master weight, first and second moment

# what changes with training_tokens, and does so in proportion
PER_TOKEN = frozenset({"training_tokens", "training_flops", "non_embedding_flops", "exact_training_flops", "tokens_per_param"})
DEPENDS_ON_TOKENS = PER_TOKEN | {"score"}  # which stands for the law


class Parameters(NamedTuple):
    """Parameter count by component, summed over layers."""

    embedding: Scalar  # input embedding, and the output head where it is not tied
    attention: Scalar  # query, key, value and output projections
    ffn: Scalar  # FFN matrices that every token passes: dense layers and shared experts
    experts: Scalar  # routed experts
    router: Scalar  # one column per expert; a single expert needs no router
    norms: Scalar  # two per layer, a final one, and query/key norms where the design has them
    biases: Scalar  # where the design has them


def real(design: Design) -> Design:
    """The design with real numbers for leaves: products of whole numbers would overflow int32."""
    return jax.tree.map(lambda leaf: 1.0 * leaf, design)


def parameters(design: Design) -> Parameters:
    """Named breakdown of the parameters (dense or MoE, GQA, gated or plain FFN, tied or untied embeddings).

    >>> llama = Design(32, 4096, 14336, 32, 15e12, vocab_size=128256)
    >>> int(parameters(llama).attention), int(parameters(llama).router)
    (1342177280, 0)
    """
    design = real(design)
    n, h = design.num_hidden_layers, design.hidden_size
    dense, moe = dense_layers(design), n - dense_layers(design)
    query = design.num_attention_heads * design.head_dim
    key_value = 2 * design.num_key_value_heads * design.head_dim
    matrices = 2 + design.gated_ffn  # up and down, and the gate
    experts = design.num_experts
    qkv_bias = jnp.maximum(design.attention_bias, design.qkv_bias) * (query + key_value)
    return Parameters(
        embedding=(2 - design.tie_word_embeddings) * design.vocab_size * h,
        attention=n * h * (2 * query + key_value),
        ffn=matrices * h * (dense * design.intermediate_size + moe * design.shared_expert_intermediate_size),
        experts=matrices * h * moe * experts * design.moe_intermediate_size,
        router=moe * h * jnp.where(experts > 1, experts, 0 * experts),
        norms=h * (2 * n + 1) + 2 * n * design.qk_norm * design.head_dim,
        biases=n * (qkv_bias + design.attention_bias * h) + design.mlp_bias * _ffn_biases(design, dense, moe),
    )


def dense_layers(design: Design) -> Scalar:
    """Layers with a dense FFN: all of a dense model, the leading ones of an MoE model."""
    return jnp.where(design.num_experts > 0, design.first_k_dense_replace, design.num_hidden_layers)


def _ffn_biases(design: Design, dense: Scalar, moe: Scalar) -> Scalar:
    h, up = design.hidden_size, 1 + design.gated_ffn
    shared = design.shared_expert_intermediate_size
    per_moe_layer = design.num_experts * (up * design.moe_intermediate_size + h) + up * shared + jnp.where(shared > 0, h, 0 * h)
    return dense * (up * design.intermediate_size + h) + moe * per_moe_layer


def total_params(design: Design) -> Scalar:
    """Parameters in matrices and embeddings: the convention of the Performance Law authors' planner.

    ``(2*128*8*h + 2h^2 + 3hd)N + 2*150000h`` for a dense design with the defaults.

    >>> int(total_params(Design(2, 128, 256, 1, 1e9)))
    39186432
    """
    p = parameters(design)
    return p.attention + p.ffn + p.experts + p.router + p.embedding


def active_params(design: Design) -> Scalar:
    """Parameters that one token uses: ``total_params`` with only the chosen share of the routed experts."""
    return _active_layers(design) + parameters(design).embedding


def _active_layers(design: Design) -> Scalar:
    """Parameters of the layers that one token uses."""
    p = parameters(design)
    design = real(design)
    moe = design.num_hidden_layers - dense_layers(design)
    chosen = (2 + design.gated_ffn) * design.hidden_size * moe * design.num_experts_per_tok * design.moe_intermediate_size
    return p.attention + p.ffn + chosen + p.router


def exact_params(design: Design) -> Scalar:
    """All parameters: ``total_params`` plus norms and biases, as a checkpoint holds them."""
    p = parameters(design)
    return total_params(design) + p.norms + p.biases


def non_embedding_params(design: Design) -> Scalar:
    """``total_params`` without the embeddings and the output head."""
    p = parameters(design)
    return p.attention + p.ffn + p.experts + p.router


def training_flops(design: Design) -> Scalar:
    """Training FLOPs by the law's convention: ``6 x active_params x training_tokens``."""
    return multiply(6 * active_params(design), real(design).training_tokens)


def non_embedding_flops(design: Design) -> Scalar:
    """Training FLOPs without the embeddings: ``6 x (active_params - embeddings) x training_tokens``."""
    return multiply(6 * _active_layers(design), real(design).training_tokens)


def exact_training_flops(design: Design) -> Scalar:
    """Training FLOPs counted from the matrix products: forward plus twice that for backward, for every token.

    Looking up the input embedding is free, the output head is counted (tied or not), and the attention scores and their use
    cost ``4 x heads x head_dim x context_length`` FLOPs per layer and token forward, over the whole context as PaLM counts
    them (arXiv 2204.02311, appendix B); a causal kernel can skip half of that.
    """
    design = real(design)
    head = design.vocab_size * design.hidden_size
    products = active_params(design) - parameters(design).embedding + head
    scores = 2 * design.num_hidden_layers * design.num_attention_heads * design.head_dim * design.context_length
    return multiply(6 * (products + scores), design.training_tokens)


def inference_flops_per_token(design: Design) -> Scalar:
    """FLOPs to generate one token by the law's convention: ``2 x active_params``."""
    return 2 * active_params(design)


def weight_bytes(design: Design) -> Scalar:
    """Bytes of all weights in bfloat16."""
    return BYTES_PER_WEIGHT * total_params(design)


def kv_cache_bytes(design: Design) -> Scalar:
    """Bytes of the key/value cache of one sequence of ``context_length`` tokens in bfloat16."""
    design = real(design)
    per_token = 2 * design.num_hidden_layers * design.num_key_value_heads * design.head_dim
    return BYTES_PER_CACHED_NUMBER * per_token * design.context_length


def optimizer_bytes(design: Design) -> Scalar:
    """Bytes of Adam's state under mixed precision: 12 per parameter."""
    return ADAM_BYTES_PER_PARAM * total_params(design)


def ffn_width(design: Design) -> Scalar:
    """FFN width that one token passes: dense, or chosen routed plus shared experts."""
    routed = design.num_experts_per_tok * design.moe_intermediate_size
    return jnp.where(design.num_experts > 0, routed + design.shared_expert_intermediate_size, design.intermediate_size)


def ffn_ratio(design: Design) -> Scalar:
    """``ffn_width / hidden_size``."""
    return divide(ffn_width(design), design.hidden_size)


def aspect_ratio(design: Design) -> Scalar:
    """``hidden_size / num_hidden_layers``."""
    return divide(design.hidden_size, design.num_hidden_layers)


def expert_ratio(design: Design) -> Scalar:
    """``moe_intermediate_size / hidden_size``."""
    return divide(design.moe_intermediate_size, design.hidden_size)


def tokens_per_param(design: Design) -> Scalar:
    """``training_tokens / total_params``."""
    return divide(real(design).training_tokens, total_params(design))


def multiply(a: Scalar, b: Scalar) -> Scalar:
    """``a * b`` as IEEE 754 has it: where b depends on fewer axes than a, a product, XLA would multiply it by a's factors."""
    return a * jnp.where(a == a, b, 1.0 * b + 1)


def divide(a: Scalar, b: Scalar) -> Scalar:
    """``a / b`` as IEEE 754 has it: where b depends on fewer axes than a, XLA would take ``a * (1 / b)``, one bit off."""
    return a / jnp.where(a == a, b, 1.0 * b + 1)


def affordable_tokens(design: Design, flops: Scalar) -> Scalar:
    """Whole training tokens that a FLOPs budget buys for this architecture: ``floor(flops / (6 x active_params))``."""
    return jnp.floor(flops / (6 * active_params(design)))


def quantity(name: str, design: Design) -> Scalar:
    """A Design field, count or ratio by its name (see ``design.QUANTITIES``), or the share of a data domain."""
    if is_fraction(name):
        return design.data_fraction[name.removeprefix(FRACTION)]
    return getattr(design, name) if name in Design._fields else globals()[name](design)
