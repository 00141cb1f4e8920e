"""The planner's rankings as one law: the engine then searches and sweeps by any of them, exactly, with one program."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from perflaw_jax.design import Design, Scalar
from perflaw_jax.laws.pytree import pytree
from perflaw_jax.objective import SCORE_TOLERANCE

RANKINGS = {"performance": 0.0, "balance": 1.0, "shallow": 2.0}
FLOAT32_TOLERANCE = 1e-4  # relative to 1 + |limit|: float32 finds, float64 decides, so nothing near the limit may be lost
NONE = -1e30  # a least score that all reach; not infinity, of which arithmetic makes what has no bounds
SPAN = 128.0  # more than any two scores differ by; a power of two, so that a layer costs it exactly


@pytree
@dataclass(frozen=True)
class Ranked:
    """A law as one of the planner's rankings sees it. All that a user sets is a number, so that one program serves all.

    performance: the score. balance: ``score^2 / ln(1 + layers)``, for scores that are not negative and of which more is
    better. shallow: ``score - 128 layers``, for laws whose scores span less than 128; those that differ by less than 1e-11
    count as equal.

    A least score is asked of the law before its clamp: the ranking value of a design that misses it is -inf, so the design is
    not feasible.

    Source: the rankings of the authors' planner (plan.py).

    >>> from perflaw_jax.laws import PerformanceDense
    >>> design = Design(62, 4096, 8192, 32, 6.5e12)
    >>> [round(float(Ranked(PerformanceDense(), ranking).raw(design)), 2) for ranking in RANKINGS.values()]
    [71.69, 1240.34, -7864.31]
    """

    law: Any
    ranking: Scalar = RANKINGS["performance"]
    least: Scalar = NONE  # raw score

    def raw(self, design: Design) -> Scalar:
        """The ranking value, before the law's clamp where it is the score; -inf where the raw score misses the least."""
        raw = self.law.raw(design)
        score = self.law.clamp(raw)
        positive = jnp.maximum(score, 0.0)  # it is no less, but its bounds over a box may be, and their square large
        balance = positive * positive / jnp.log1p(1.0 * design.num_hidden_layers)
        shallow = score - SPAN * design.num_hidden_layers
        return jnp.where(self._reached(raw), self._pick(raw, balance, shallow), -jnp.inf)

    def clamp(self, raw: Scalar) -> Scalar:
        """The law's clamp where the ranking is by score; the other values hold it inside."""
        return self._pick(self.law.clamp(raw), raw, raw)

    def _pick(self, performance: Scalar, balance: Scalar, shallow: Scalar) -> Scalar:
        others = jnp.where(self.ranking == RANKINGS["balance"], balance, shallow)
        return jnp.where(self.ranking == RANKINGS["performance"], performance, others)

    def _reached(self, raw: Scalar) -> Scalar:
        exact = jnp.result_type(raw) == jnp.float64
        slack = (SCORE_TOLERANCE if exact else FLOAT32_TOLERANCE) * (1 + abs(self.least))
        return raw >= self.least - slack
