"""How figures look, whatever draws them: colours told apart without colour vision, marks, names with units, round ticks."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from perflaw_jax.design import FRACTION, is_fraction

# Okabe and Ito
BLUE, ORANGE, GREEN, SKY, PURPLE, AMBER, GREY = "#0072B2", "#D55E00", "#009E73", "#56B4E9", "#CC79A7", "#E69F00", "#666666"
BETTER_IS_BRIGHT = "viridis"  # the map of a heat map; turned around where less is better
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#555555",
    "axes.grid": True,
    "grid.color": "#E5E5E5",
    "axes.axisbelow": True,
}
MANY = 20.0  # a range of which the ends are so many times apart is drawn on a logarithmic axis


class Mark(NamedTuple):
    """How one series is marked, by colour and by shape."""

    colour: str
    plotly: str
    matplotlib: str


FRONT = Mark(BLUE, "circle", "o")
OTHERS = Mark(GREY, "circle-open", "o")
BEST = Mark(ORANGE, "star", "*")
REAL = {"dense": Mark(GREEN, "diamond", "D"), "moe": Mark(PURPLE, "square", "s")}
LEVELS = (
    Mark(BLUE, "circle", "o"),
    Mark(ORANGE, "square", "s"),
    Mark(GREEN, "diamond", "D"),
    Mark(PURPLE, "triangle-up", "^"),
    Mark(AMBER, "triangle-down", "v"),
    Mark(SKY, "cross", "P"),
)

LABELS = {
    "num_hidden_layers": "layers",
    "hidden_size": "hidden size",
    "intermediate_size": "FFN size",
    "num_attention_heads": "attention heads",
    "num_key_value_heads": "key/value heads",
    "head_dim": "head size",
    "vocab_size": "vocabulary (tokens)",
    "num_experts": "experts",
    "num_experts_per_tok": "experts per token",
    "moe_intermediate_size": "expert size",
    "shared_expert_intermediate_size": "shared expert size",
    "first_k_dense_replace": "leading dense layers",
    "context_length": "context length (tokens)",
    "total_params": "parameters",
    "active_params": "active parameters",
    "exact_params": "parameters, with norms and biases",
    "training_tokens": "training tokens",
    "training_flops": "training FLOPs",
    "inference_flops_per_token": "inference FLOPs per token",
    "weight_bytes": "weights",
    "kv_cache_bytes": "key/value cache",
    "optimizer_bytes": "optimizer state",
    "ffn_ratio": "FFN size / hidden size",
    "aspect_ratio": "hidden size / layers",
    "tokens_per_param": "tokens per parameter",
    "possible_shape": "impossible shape or mixture",
    "finite_score": "no finite score",
}


def label(name: str) -> str:
    """The name of a quantity for a reader, with its unit where it has one.

    >>> label("num_hidden_layers"), label("data_fraction.code"), label("qk_norm")
    ('layers', 'share of code', 'qk norm')
    """
    if is_fraction(name):
        return f"share of {name.removeprefix(FRACTION)}"
    return LABELS.get(name, name.replace("_", " "))


def is_wide(values: Any) -> bool:
    """Whether values span a range that wants a logarithmic axis."""
    values = np.asarray(values, float)
    return bool(len(values) and values.min() > 0 and values.max() >= MANY * values.min())


def ticks(low: float, high: float, *, wide: bool) -> list[float]:
    """Round numbers between two values, about five of them."""
    return log_ticks(low, high) if wide else linear_ticks(low, high)


def log_ticks(low: float, high: float) -> list[float]:
    """Round numbers between two positive values, at about equal ratios; at equal distances where they are close together.

    >>> log_ticks(1, 300), log_ticks(71, 95)
    ([1.0, 10.0, 100.0], [75.0, 80.0, 85.0, 90.0, 95.0])
    """
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8)):
        found = [m * 10.0**d for d in decades for m in steps if low <= m * 10.0**d <= high]
        if len(found) >= 3:
            return found[:: -(-len(found) // 6)]
    return linear_ticks(low, high)


def linear_ticks(low: float, high: float) -> list[float]:
    """Round numbers between two values, at equal distances.

    >>> linear_ticks(8, 128)
    [20.0, 40.0, 60.0, 80.0, 100.0, 120.0]
    """
    if not high > low:
        return [low]
    unit = 10.0 ** np.floor(np.log10((high - low) / 5))
    step = next(m * unit for m in (1, 2, 2.5, 5, 10) if (high - low) / (m * unit) <= 6)
    return [float(f"{i * step:.12g}") for i in range(int(np.ceil(low / step - 1e-9)), int(np.floor(high / step + 1e-9)) + 1)]


def places(values: Any, most: int = 7) -> list[int]:
    """Positions of at most about ``most`` of some values, spread evenly, where each gets its own label."""
    return list(range(0, len(values), max(1, -(-len(values) // most))))
