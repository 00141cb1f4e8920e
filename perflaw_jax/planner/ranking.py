"""The planner's rankings as laws: the engine then searches and sweeps by them, exactly.

A least score is asked of the law inside, before its clamp: the ranking value of a design that misses it is -inf, so the design
is not feasible.
"""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from perflaw_jax.accounting import quantity
from perflaw_jax.design import Design, Scalar
from perflaw_jax.laws.pytree import pytree
from perflaw_jax.objective import SCORE_TOLERANCE

FLOAT32_TOLERANCE = 1e-4  # relative to 1 + |limit|: float32 finds, float64 decides, so nothing near the limit may be lost
ROUNDING = 1e-6  # relative: so far beyond the budget a design may be, and is scored as it is
SPAN = 128.0  # more than any two scores differ by; a power of two, so that a layer costs it exactly


@pytree
@dataclass(frozen=True)
class Balance:
    """A law that ranks by ``score^2 / ln(1 + layers)``: of two scores alike the shallower model wins.

    For laws whose scores are not negative and of which more is better.

    Source: ranking "Balance" of the authors' planner (plan.py).

    >>> from perflaw_jax.laws import PerformanceDense
    >>> design = Design(62, 4096, 8192, 32, 6.5e12)
    >>> round(float(Balance(PerformanceDense()).raw(design)), 2)
    1240.34
    """

    law: Any
    least: Scalar = -jnp.inf  # raw score

    def raw(self, design: Design) -> Scalar:
        """The ranking value; -inf where the law's raw score misses the least one."""
        raw = self.law.raw(design)
        score = jnp.maximum(self.law.clamp(raw), 0.0)  # it is no less, but its bounds over a box may be, and their square large
        return _where_reached(raw, self.least, score * score / jnp.log1p(1.0 * design.num_hidden_layers))

    def clamp(self, raw: Scalar) -> Scalar:
        """No clamp: the law's own is inside."""
        return raw


@pytree
@dataclass(frozen=True)
class ShallowFirst:
    """A law that ranks by the fewest layers, then by the score: ``score - 128 layers``.

    For laws whose scores span less than 128. Scores that differ by less than 1e-11 count as equal.

    >>> from perflaw_jax.laws import PerformanceDense
    >>> designs = [Design(n, 8192, 28672, 64, 15e12) for n in (30, 31)]
    >>> values = [float(ShallowFirst(PerformanceDense()).raw(design)) for design in designs]
    >>> values[0] > values[1]
    True
    """

    law: Any
    least: Scalar = -jnp.inf  # raw score

    def raw(self, design: Design) -> Scalar:
        """The ranking value; -inf where the law's raw score misses the least one."""
        raw = self.law.raw(design)
        return _where_reached(raw, self.least, self.law.clamp(raw) - SPAN * design.num_hidden_layers)

    def clamp(self, raw: Scalar) -> Scalar:
        """No clamp: the law's own is inside."""
        return raw


@pytree
@dataclass(frozen=True)
class WithinBudget:
    """A law for designs within a budget of training FLOPs: there it is the law itself, and a box of the grid is bounded better.

    Tokens beyond what the budget buys count as what it buys. So the bound of a box no longer takes its most tokens together
    with its largest model, which no design within the budget has.

    >>> from perflaw_jax.laws import PerformanceDense
    >>> design = Design(62, 4096, 8192, 32, 6.5e12)
    >>> float(WithinBudget(PerformanceDense(), 1e24).raw(design)) == float(PerformanceDense().raw(design))
    True
    """

    law: Any
    budget: Scalar  # training FLOPs

    def raw(self, design: Design) -> Scalar:
        """The law's raw score of what the budget buys."""
        tokens = (1 + ROUNDING) * self.budget / (6 * quantity("active_params", design))
        return self.law.raw(design._replace(training_tokens=jnp.minimum(1.0 * design.training_tokens, tokens)))

    def clamp(self, raw: Scalar) -> Scalar:
        """The law's clamp."""
        return self.law.clamp(raw)


def _where_reached(raw: Scalar, least: Scalar, value: Scalar) -> Scalar:
    exact = jnp.result_type(raw) == jnp.float64
    slack = (SCORE_TOLERANCE if exact else FLOAT32_TOLERANCE) * (1 + abs(least))
    return jnp.where(raw >= least - slack, value, -jnp.inf)
