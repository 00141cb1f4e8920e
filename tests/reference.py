"""The slow oracle: formulas in plain Python numbers, one design at a time, written as they read; no code of the package.

The planner is that of the Performance Law's authors (wuch15/performance-law-planner, plan.py, commit 3ffa946): its loop, its
filters and its order. Names are the formulas': N layers, h hidden size, d FFN width, T trillion tokens, S and A billion
parameters (total and active), gamma the precision loss.
"""

import math
from collections.abc import Iterator, Mapping

LAYERS, HIDDEN, FFN, TOKENS = 13.95018192, 0.23072027, -0.48523402, 5.39801689
BIAS = 9.195410648934768


# --- the laws ----------------------------------------------------------------------------------------------------------


def dense_raw(N: float, h: float, d: float, T: float, S: float, gamma: float = 1.0) -> float:
    """MMLU before the clamp."""
    z = (10 / d + 20 / h) * gamma * N
    u = math.exp(-(z**2))
    capped = min(T, S)
    if u < 1e-280:  # the logarithm of u times a number would be lost: ln u = -z^2
        logs = LAYERS * math.log(N) + HIDDEN * math.log(h) + FFN * math.log(d) + TOKENS * math.log(capped)
        return logs - (LAYERS + HIDDEN + FFN + TOKENS) * z**2 + BIAS
    return LAYERS * math.log(u * N) + HIDDEN * math.log(u * h) + FFN * math.log(u * d) + TOKENS * math.log(u * capped) + BIAS


def moe_raw(N: float, h: float, d: float, T: float, S: float, A: float, gamma: float = 1.0, p: float = 0.5) -> float:
    """The reconstruction for experts; d is the FFN width that a token passes. T' = (S/A)^p min(T, S)."""
    return dense_raw(N, h, d, T, S, gamma) + TOKENS * math.log((S / A) ** p)


def clamp(raw: float) -> float:
    """The bounds on a score."""
    if raw < 25:
        return 25.0
    if raw > 90:
        return 90 + 10 * math.tanh(0.1 * raw - 9)
    return raw


def mmlu_calibrated(N: float, h: float, T: float, S: float, A: float, year: float = 2025.0) -> float:
    """This project's calibration: MMLU of a model of some year."""
    a, c1, alpha, c2, beta, q = 3.307779925427, 1.270199143030, 0.304075728508, 0.434363956269, 0.374850320481, 0.885864392344
    years = min(max(year - 2024, -1.5), 0.25)
    size = A * (S / A) ** 0.1 * (min(max(h / N, 40), 200) / 128) ** -0.8 * math.exp(q * years)
    x = a - math.exp(c1) * size**-alpha - math.exp(c2) * T**-beta
    return 25 + 65 * math.exp(-math.exp(min(-x, 50)))


def mmlu_interval(score: float) -> tuple[float, float]:
    """Where nine of ten models lie for which it says ``score``."""
    spread = 2 + 8 * (1 - math.exp(-(score - 25) / 3))
    return max(score - 1.4142330673 * spread, 25 - 2 * 1.4142330673), min(score + 1.1469943377 * spread, 100)


def compute_sigmoid(flops: float) -> float:
    """MMLU from training FLOPs alone."""
    return 25 + 65 / (1 + math.exp(4.324948135391743 - 0.8059910839929515 * math.log(flops / 1e21)))


# --- counts ------------------------------------------------------------------------------------------------------------


def matrices(config: Mapping[str, int]) -> Iterator[tuple[str, int, int, int]]:
    """Every matrix and vector of a checkpoint: component, rows, columns, and how many of them one token uses, per layer.

    ``config`` holds every field of a Design as an int.
    """
    c = config
    h, heads, kv_heads, head = c["hidden_size"], c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"]
    up_projections = 2 if c["gated_ffn"] else 1

    def ffn(component: str, width: int, used: int = 1) -> Iterator[tuple[str, int, int, int]]:
        for _ in range(up_projections):
            yield component, h, width, used
            if c["mlp_bias"]:
                yield "biases", 1, width, used
        yield component, width, h, used
        if c["mlp_bias"]:
            yield "biases", 1, h, used

    yield "embedding", c["vocab_size"], h, 1
    if not c["tie_word_embeddings"]:
        yield "embedding", c["vocab_size"], h, 1
    for layer in range(c["num_hidden_layers"]):
        for width in (heads * head, kv_heads * head, kv_heads * head):
            yield "attention", h, width, 1
            if c["attention_bias"] or c["qkv_bias"]:
                yield "biases", 1, width, 1
        yield "attention", heads * head, h, 1
        if c["attention_bias"]:
            yield "biases", 1, h, 1
        if c["qk_norm"]:
            yield "norms", 2, head, 1
        yield "norms", 2, h, 1
        if c["num_experts"] == 0 or layer < c["first_k_dense_replace"]:
            yield from ffn("ffn", c["intermediate_size"])
            continue
        if c["num_experts"] > 1:
            yield "router", h, c["num_experts"], 1
        for expert in range(c["num_experts"]):
            yield from ffn("experts", c["moe_intermediate_size"], int(expert < c["num_experts_per_tok"]))
        if c["shared_expert_intermediate_size"]:
            yield from ffn("ffn", c["shared_expert_intermediate_size"])
    yield "norms", 1, h, 1


def parameters(config: Mapping[str, int]) -> dict[str, int]:
    """Parameters by component."""
    counts = dict.fromkeys(("embedding", "attention", "ffn", "experts", "router", "norms", "biases"), 0)
    for component, rows, columns, _ in matrices(config):
        counts[component] += rows * columns
    return counts


def total_params(config: Mapping[str, int]) -> int:
    """Parameters in matrices and embeddings."""
    return sum(rows * columns for name, rows, columns, _ in matrices(config) if name not in ("norms", "biases"))


def active_params(config: Mapping[str, int]) -> int:
    """Those of them that one token uses."""
    return sum(rows * columns * used for name, rows, columns, used in matrices(config) if name not in ("norms", "biases"))


def raw(config: Mapping[str, int], trillion_tokens: float, gamma: float = 1.0) -> float:
    """The score before the clamp of a dense model or, by the reconstruction, of an MoE model."""
    N, h, S, A = config["num_hidden_layers"], config["hidden_size"], total_params(config) / 1e9, active_params(config) / 1e9
    if config["num_experts"] == 0:
        return dense_raw(N, h, config["intermediate_size"], trillion_tokens, S, gamma)
    width = config["num_experts_per_tok"] * config["moe_intermediate_size"] + config["shared_expert_intermediate_size"]
    return moe_raw(N, h, width, trillion_tokens, S, A, gamma)


# --- the authors' planner ----------------------------------------------------------------------------------------------


def planner_size(N: int, h: int, d: int) -> float:
    """Parameters: 8 key/value heads of 128, gated FFN, two embeddings of 150,000 tokens."""
    return (h * 128 * 8 * 2 + 2 * h**2 + 3 * h * d) * N + 2 * 150000 * h


def planner_rows(
    *,
    tflops: int = 376,
    gpus: int = 1024,
    days: int = 30,
    mfu: float = 0.40,
    gamma: float = 1.0,
    min_size: float = 10,
    max_size: float = 100,
    min_layers: int = 20,
    max_layers: int = 100,
    max_tokens: float = 20,
    min_mmlu: float = 50,
) -> Iterator[dict[str, float]]:
    """The rows of the planner before ranking, in the order of its loop.

    Sizes in billions, both ends inclusive; ``max_layers`` and ``max_tokens`` (trillions) are exclusive, as in plan.py. A row
    has ``raw``, ``mmlu``, ``size`` and ``utilisation`` unrounded; ``T`` is the raw one, the utilisation uses the capped one.
    """
    budget = tflops * 1e12 * 86400 * mfu * gpus * days
    for s in range(0, 100, 2):
        for h in range(16384, 1024, -1024):
            d = h + 1024 * s
            for N in range(min_layers, max_layers):
                if d % 4096 or h % 1024 or N % 8 < 6:
                    continue
                size = planner_size(N, h, d)
                for step in range(math.ceil((max_tokens - 1) / 0.5)):
                    T = 1 + 0.5 * step
                    if 6 * size * 1e12 * T > budget:
                        continue
                    if size < min_size * 1e9 or size > max_size * 1e9:
                        continue
                    score = dense_raw(N, h, d, T, size / 1e9, gamma)
                    if score < min_mmlu:
                        continue
                    used = 6 * size * 1e12 * min(T, size / 1e9) / budget
                    row = {"N": N, "h": h, "d": d, "size": size / 1e9, "T": T, "raw": score, "mmlu": clamp(score)}
                    yield {**row, "utilisation": used}


def shown(row: Mapping[str, float]) -> tuple[float, ...]:
    """A row as the planner prints it: N, h, d, size, T, MMLU, utilisation."""
    return row["N"], row["h"], row["d"], round(row["size"], 2), row["T"], round(row["mmlu"], 2), round(row["utilisation"], 4)


RANKINGS = {  # of shown rows; ties stay in the order of the loop
    "Performance First": lambda row: -row[5],
    "Shallow Model First": lambda row: row[0],
    "Balance": lambda row: -(row[5] ** 2) / math.log(1 + row[0]),
}


# --- loss laws and what follows from a loss ------------------------------------------------------------------------------

SECONDS_PER_DAY = 86_400


def kaplan_loss(C: float) -> float:
    """Nats per token from training FLOPs without embeddings; the published constant is in PF-days."""
    pf_days = C / (1e15 * SECONDS_PER_DAY)
    return (3.1e8 / pf_days) ** 0.050


def kaplan_joint_loss(N: float, D: float) -> float:
    """From parameters without embeddings and tokens."""
    return ((6.4e13 / N) ** (0.076 / 0.103) + 1.8e13 / D) ** 0.103


def chinchilla_loss(N: float, D: float, A: float, B: float, E: float, alpha: float, beta: float) -> float:
    """From parameters and tokens."""
    return E + A / N**alpha + B / D**beta


def overtraining_loss(N: float, D: float, E: float, a: float, b: float, eta: float) -> float:
    """From FLOPs C = 6ND and tokens per parameter M."""
    C, M = 6 * N * D, D / N
    return E + (a * M**eta + b * M**-eta) * C**-eta


def top_one_error(L: float, epsilon: float, k: float, gamma: float) -> float:
    """From the loss."""
    return epsilon - k * math.exp(-gamma * L)


def flp_score(C: float, C_N: float, alpha_N: float, w0: float, w1: float) -> float:
    """From FLOPs by way of the loss; alpha_N is negative."""
    return w0 + w1 * (C / C_N) ** alpha_N


def compression_score(bits_per_character: float) -> float:
    """MMLU in points."""
    return 100 * (1.873 - 2.094 * bits_per_character)
