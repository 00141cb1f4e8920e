"""The planner's grids. Each is fixed, so that its programs are compiled once: what a user asks for becomes limits.

Only the MoE grid has axes of one value that a user sets (shared experts, leading dense layers): other values, same programs.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from perflaw_jax.space import Axis, Space

EXPERTS = (8, 16, 32, 64, 128, 256, 512)
EXPERTS_PER_TOKEN = (1, 2, 4, 6, 8, 16)
EXPERT_RATIOS = (0.125, 0.25, 0.375, 0.5, 0.75, 1.0, 1.5, 2.0, 3.5)
HIDDEN_STEPS = (256, 512, 1024, 2048)  # of the fine grids; that of experts begins at 512
DENSE_RATIO = 3  # FFN width of the leading dense layers, in units of the hidden size
FIXED = {"num_key_value_heads": 8, "head_dim": 128, "vocab_size": 150_000, "tie_word_embeddings": 0, "gated_ffn": 1}
TRILLION = 10**12


def steps(start: float, stop: float, step: float) -> tuple[float, ...]:
    """Numbers from ``start`` to ``stop`` inclusive, each a whole multiple of ``step`` away.

    >>> steps(6, 2, -2)
    (6.0, 4.0, 2.0)
    """
    return tuple((float(start) + step * np.arange(round((stop - start) / step) + 1)).tolist())


AUTHORS_LAYERS = tuple(float(n) for n in range(1, 201) if n % 8 in (6, 7))


@lru_cache
def authors() -> Space:
    """The authors' rules in the order of their loop, all but "FFN a multiple of 4096"."""
    return Space(
        (
            Axis("intermediate_size", steps(0, 100352, 2048), "offset", "hidden_size"),
            Axis("hidden_size", steps(16384, 2048, -2048)),
            Axis("num_hidden_layers", AUTHORS_LAYERS),
            Axis("training_tokens", steps(0.5 * TRILLION, 40 * TRILLION, 0.5 * TRILLION)),
        ),
        FIXED,
    )


@lru_cache
def dense() -> Space:
    """A billion dense designs: every depth, widths in steps of 256, 27 FFN ratios, tokens in steps of 0.02T."""
    return Space(
        (
            Axis("num_hidden_layers", steps(1, 200, 1)),
            Axis("hidden_size", steps(512, 24576, 256)),
            Axis("intermediate_size", steps(1, 7.5, 0.25), "ratio", "hidden_size", 64),
            Axis("training_tokens", steps(0.02 * TRILLION, 40 * TRILLION, 0.02 * TRILLION)),
        ),
        FIXED,
    )


@lru_cache
def moe(shared: int, leading: int) -> Space:
    """A billion MoE designs: every depth to 128, widths in steps of 512, tokens in steps of 0.05T."""
    return Space(
        (
            Axis("num_hidden_layers", steps(1, 128, 1)),
            Axis("hidden_size", steps(512, 16384, 512)),
            Axis("intermediate_size", (float(DENSE_RATIO),), "ratio", "hidden_size"),
            Axis("num_experts", tuple(map(float, EXPERTS))),
            Axis("num_experts_per_tok", tuple(map(float, EXPERTS_PER_TOKEN))),
            Axis("moe_intermediate_size", EXPERT_RATIOS, "ratio", "hidden_size"),
            Axis("shared_expert_intermediate_size", (float(shared),), "ratio", "moe_intermediate_size"),
            Axis("first_k_dense_replace", (float(leading),)),
            Axis("training_tokens", steps(0.05 * TRILLION, 40 * TRILLION, 0.05 * TRILLION)),
        ),
        FIXED,
    )


@lru_cache
def coarse(shared: int | None = None, leading: int = 0) -> Space:
    """About a million designs of a kind, few enough to evaluate them all: dense, or MoE with ``shared`` experts."""
    layers, tokens = steps(4, 200, 4), steps(0.5 * TRILLION, 40 * TRILLION, 0.5 * TRILLION)
    if shared is None:
        ratios = Axis("intermediate_size", steps(1, 7.5, 0.5), "ratio", "hidden_size", 64)
        return Space(
            (
                Axis("num_hidden_layers", layers),
                Axis("hidden_size", steps(1024, 24576, 1024)),
                ratios,
                Axis("training_tokens", tokens),
            ),
            FIXED,
        )
    fine = {axis.field: axis for axis in moe(shared, leading).axes}
    fewer = {
        "num_hidden_layers": steps(8, 128, 8),
        "hidden_size": steps(2048, 16384, 2048),
        "num_experts": (8.0, 32.0, 128.0, 512.0),
        "num_experts_per_tok": (2.0, 8.0),
        "moe_intermediate_size": (0.25, 0.5, 1.0, 3.5),
        "training_tokens": steps(1 * TRILLION, 40 * TRILLION, 1 * TRILLION),
    }
    axes = [replace(axis, values=fewer.get(name, axis.values)) for name, axis in fine.items()]
    return Space(tuple(axes), FIXED)
