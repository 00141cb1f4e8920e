"""The Performance Law of Large Language Models: MMLU from layers, width, FFN width, tokens and size.

Source: Wu & Tang, arXiv 2408.09895, in the form of the authors' program (wuch15/performance-law-planner, plan.py, commit
3ffa946). Written in log space: ln(uN) = ln N - z^2 with u = exp(-z^2), because exp underflows for deep and thin designs.
"""

from typing import NamedTuple

import jax.numpy as jnp

from perflaw_jax.accounting import quantity
from perflaw_jax.design import Design, Scalar

TRILLION, BILLION = 1e12, 1e9


class PerformanceDense(NamedTuple):
    """MMLU (points, 5-shot) of a dense model.

    ``MMLU = w_N ln(uN) + w_h ln(uh) + w_d ln(ud) + w_T ln(uT') + b``, ``u = exp(-((10/d + 20/h) g N)^2)``, ``T' = min(T, S)``

    N layers, h hidden size, d FFN width, T training tokens in trillions, S parameters in billions (compared as bare
    numbers), g the precision loss of the infrastructure (1 at BF16, larger is worse). Fitted by its authors on about ten
    open models of 2024 from 0.5B to 1000B parameters; it overrates models before 2024 by 10 to 20 points.

    Source: arXiv 2408.09895; constants from plan.py of the authors' planner.

    >>> design = Design(62, 4096, 8192, 32, 6.5e12)
    >>> round(float(PerformanceDense()(design)), 2)
    71.69
    """

    layers: Scalar = 13.95018192  # w_N
    hidden: Scalar = 0.23072027  # w_h
    ffn: Scalar = -0.48523402  # w_d
    tokens: Scalar = 5.39801689  # w_T
    bias: Scalar = 9.195410648934768  # b
    gamma: Scalar = 1.0  # g

    inputs = ("num_hidden_layers", "hidden_size", "intermediate_size", "training_tokens", "total_params")

    def of(self, n: Scalar, h: Scalar, d: Scalar, tokens: Scalar, size: Scalar) -> Scalar:
        """The raw score from the law's inputs."""
        return _log_space(self, n, h, d, jnp.minimum(jnp.log(tokens / TRILLION), jnp.log(size / BILLION)))

    def terms(self, design: Design) -> dict[str, Scalar]:
        """Points by term; they sum to the raw score."""
        n, h, d, tokens, size = (quantity(name, design) for name in self.inputs)
        return _terms(self, n, h, d, jnp.minimum(jnp.log(tokens / TRILLION), jnp.log(size / BILLION)))._asdict()

    def raw(self, design: Design) -> Scalar:
        """The score before its clamp to [25, 100]."""
        return self.of(*(quantity(name, design) for name in self.inputs))

    def clamp(self, raw: Scalar) -> Scalar:
        """Chance level below 25; above 90 bent towards 100 with slope 1 at 90."""
        return bend(raw)

    def __call__(self, design: Design) -> Scalar:
        """The score: ``clamp(raw(design))``."""
        return self.clamp(self.raw(design))


class PerformanceMoE(NamedTuple):
    """MMLU (points, 5-shot) of a mixture-of-experts model: a RECONSTRUCTION, the paper's own MoE form was not available.

    The dense law with ``d' = experts_per_token x expert width + shared width`` for d and ``T' = (S/A)^p min(T, S)``

    S total and A active parameters in billions, p the exponent of the expansion factor g = S/A: a coefficient to refit,
    1/2 by default. A dense design (no experts) or one expert chosen of one scores as by the dense law. Against the 11 MoE base
    models of ``data/models.csv`` trained on more than 2.5 trillion tokens: mean absolute error 7.2, bias +2.6 points.

    Source: this project's reconstruction from third-party accounts of arXiv 2408.09895.

    >>> design = Design(32, 4096, 0, 32, 6e12, num_experts=1, num_experts_per_tok=1, moe_intermediate_size=14336)
    >>> dense = Design(32, 4096, 14336, 32, 6e12)
    >>> float(PerformanceMoE()(design)) == float(PerformanceDense()(dense))
    True
    """

    layers: Scalar = 13.95018192  # w_N
    hidden: Scalar = 0.23072027  # w_h
    ffn: Scalar = -0.48523402  # w_d
    tokens: Scalar = 5.39801689  # w_T
    bias: Scalar = 9.195410648934768  # b
    gamma: Scalar = 1.0  # g of the dense law's instability discount
    expansion_exponent: Scalar = 0.5  # p

    inputs = ("num_hidden_layers", "hidden_size", "ffn_width", "training_tokens", "total_params", "active_params")

    def of(self, n: Scalar, h: Scalar, d: Scalar, tokens: Scalar, size: Scalar, active: Scalar) -> Scalar:
        """The raw score from the law's inputs."""
        log_size = jnp.log(size / BILLION)
        expansion = log_size - jnp.log(active / BILLION)
        log_tokens = jnp.minimum(jnp.log(tokens / TRILLION), log_size)
        return _log_space(self, n, h, d, log_tokens) + self.tokens * self.expansion_exponent * expansion

    def terms(self, design: Design) -> dict[str, Scalar]:
        """Points by term; they sum to the raw score."""
        n, h, d, tokens, size, active = (quantity(name, design) for name in self.inputs)
        log_tokens = jnp.minimum(jnp.log(tokens / TRILLION), jnp.log(size / BILLION))
        expansion = self.tokens * self.expansion_exponent * jnp.log(size / active)
        return {**_terms(self, n, h, d, log_tokens)._asdict(), "experts": expansion}

    def raw(self, design: Design) -> Scalar:
        """The score before its clamp to [25, 100]."""
        return self.of(*(quantity(name, design) for name in self.inputs))

    def clamp(self, raw: Scalar) -> Scalar:
        """Chance level below 25; above 90 bent towards 100 with slope 1 at 90."""
        return bend(raw)

    def __call__(self, design: Design) -> Scalar:
        """The score: ``clamp(raw(design))``."""
        return self.clamp(self.raw(design))


class Terms(NamedTuple):
    """The law's terms in points; their sum is the raw score."""

    depth: Scalar
    width: Scalar
    ffn: Scalar
    constant: Scalar
    instability: Scalar  # what ln u takes from all four logarithms, <= 0
    tokens: Scalar


def _terms(w: PerformanceDense | PerformanceMoE, n: Scalar, h: Scalar, d: Scalar, log_tokens: Scalar) -> Terms:
    z = (10 / d + 20 / h) * w.gamma * n
    return Terms(
        depth=w.layers * jnp.log(n),
        width=w.hidden * jnp.log(h),
        ffn=w.ffn * jnp.log(d),
        constant=w.bias,
        instability=-(w.layers + w.hidden + w.ffn + w.tokens) * z**2,  # ln u enters once per term
        tokens=w.tokens * log_tokens,
    )


def _log_space(w: PerformanceDense | PerformanceMoE, n: Scalar, h: Scalar, d: Scalar, log_tokens: Scalar) -> Scalar:
    t = _terms(w, n, h, d, log_tokens)
    # the tokens come last: everything before them is then computed once per shape, not once per candidate
    return t.depth + t.width + t.ffn + t.constant + t.instability + t.tokens


def bend(raw: Scalar) -> Scalar:
    """The authors' bounds on a score: at least 25, and 90 + 10 tanh(0.1 raw - 9) above 90."""
    return jnp.where(raw < 25, 0 * raw + 25, jnp.where(raw > 90, 90 + 10 * jnp.tanh(0.1 * raw - 9), raw))
