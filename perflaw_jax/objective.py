"""The waist: one design, one law, hard limits -> an Evaluation. Sweeps, searches and pages all go through ``evaluate``.

Inside jit a design that breaks a limit is data (``feasible`` is False), never an error.
"""

from collections.abc import Mapping
from functools import reduce
from typing import Any, NamedTuple

import jax.numpy as jnp

from perflaw_jax.accounting import affordable_tokens, quantity
from perflaw_jax.design import FRACTION, Design, Scalar, is_fraction
from perflaw_jax.laws import Law

SCORE_TOLERANCE = 1e-12  # relative to 1 + |limit|: float64 logarithms agree no better between programs and libraries
WHOLE_TOLERANCE = 1e-5  # of the sum of the shares of all data domains: they are rounded to float32
LEAST_VIOLATION = 1e-12  # of a limit that is missed by a rounding


class Bound(NamedTuple):
    """A hard limit on one quantity, ends inclusive; an end that is None is open."""

    min: Scalar | None = None
    max: Scalar | None = None
    multiple_of: Scalar | None = None
    tolerance: Scalar = 0.0  # relative distance from a multiple that still counts as one

    def loosened(self, relative: float) -> "Bound":
        """The bound widened by a relative amount, so that rounding cannot cut what exact arithmetic admits."""
        return Bound(
            None if self.min is None else self.min - relative * abs(self.min),
            None if self.max is None else self.max + relative * abs(self.max),
            self.multiple_of,
            relative,
        )

    def on_score(self) -> "Bound":
        """The bound as it is put on a raw score: what misses an end by ``SCORE_TOLERANCE`` still holds."""
        return self._replace(
            min=None if self.min is None else self.min - SCORE_TOLERANCE * (1 + abs(self.min)),
            max=None if self.max is None else self.max + SCORE_TOLERANCE * (1 + abs(self.max)),
        )

    def holds(self, value: Scalar) -> Scalar:
        """Whether the value is within; False for NaN unless the bound is open at both ends."""
        holds = jnp.asarray(True)
        if self.min is not None:
            holds &= value >= self.min
        if self.max is not None:
            holds &= value <= self.max
        if self.multiple_of is not None:
            distance = abs(value - self.multiple_of * jnp.round(value / self.multiple_of))
            holds &= distance <= self.tolerance * value
        return holds

    def exceeded_by(self, value: Scalar) -> Scalar:
        """How far the value is outside: the logarithm of 1 + its relative distance from the nearest end, 0 inside."""
        outside = jnp.asarray(0.0)
        for end, beyond in ((self.min, -1), (self.max, 1)):
            if end is not None:
                outside += jnp.log1p(jnp.maximum(beyond * (value - end), 0.0) / jnp.where(end == 0, 1.0, abs(1.0 * end)))
        if self.multiple_of is not None:
            outside += abs(value / self.multiple_of - jnp.round(value / self.multiple_of))
        return jnp.where(jnp.isfinite(outside), outside, 1.0)


Limits = Mapping[str, Bound]  # keys: design.QUANTITIES, or "score" for the raw score


class Evaluation(NamedTuple):
    """What is known of one design, each field a scalar."""

    score: Scalar  # in the law's unit, after its clamp
    raw: Scalar  # before its clamp
    feasible: Scalar  # bool: every limit holds, the shape is possible and the score is a finite number
    training_flops: Scalar
    total_params: Scalar


def make_design(fields: Mapping[str, Scalar], spend: Scalar | None = None) -> Design:
    """A Design from its fields; with ``spend`` (FLOPs) it trains on the whole tokens that the budget buys."""
    mixture = {name.removeprefix(FRACTION): value for name, value in fields.items() if is_fraction(name)}
    scalars = {name: value for name, value in fields.items() if not is_fraction(name)}
    if spend is None:
        return Design(**scalars, data_fraction=mixture)
    design = Design(**scalars, data_fraction=mixture, training_tokens=1.0)
    tokens = affordable_tokens(design, spend)
    return design._replace(training_tokens=jnp.where(tokens >= 1, tokens, jnp.nan))  # NaN never passes the FLOPs limit


def checks(design: Design, raw: Scalar, limits: Limits) -> dict[str, Scalar]:
    """Name of each limit -> whether it holds; ``possible_shape`` asks that experts and layers can be counted out."""
    holds = {
        name: bound.on_score().holds(raw) if name == "score" else bound.holds(quantity(name, design))
        for name, bound in limits.items()
    }
    return {"possible_shape": possible_shape(design), **holds}


def token_range(design: Design, limits: Limits) -> Bound:
    """Limits on what is in proportion to the training tokens, as one bound on the tokens of this shape.

    A division per shape in place of a product per candidate and limit. It rounds otherwise than ``checks``, and holds wherever
    a token costs nothing.
    """
    least, most = [], []
    for name, bound in limits.items():
        rate = quantity(name, design._replace(training_tokens=1.0))
        least += [] if bound.min is None else [jnp.where(rate > 0, bound.min / rate, -jnp.inf)]
        most += [] if bound.max is None else [jnp.where(rate > 0, bound.max / rate, jnp.inf)]
    return Bound(reduce(jnp.maximum, least) if least else None, reduce(jnp.minimum, most) if most else None)


def violation(design: Design, raw: Scalar, limits: Limits) -> Scalar:
    """How far a design that is not feasible is from being so, > 0: what a search that learns from failures can follow."""
    amounts = [bound.exceeded_by(raw if name == "score" else quantity(name, design)) for name, bound in limits.items()]
    impossible = ~possible_shape(design) | ~jnp.isfinite(raw)
    return jnp.maximum(sum(amounts, jnp.where(impossible, 1.0, 0.0)), LEAST_VIOLATION)


def possible_shape(design: Design) -> Scalar:
    """An MoE layer chooses at least one of its experts and no more than it has; no more leading dense layers than layers.

    Where data domains are named, none has less than nothing and together they are the whole.
    """
    chosen = design.num_experts_per_tok
    routed = (design.num_experts == 0) | ((chosen >= 1) & (chosen <= design.num_experts))
    possible = routed & (design.first_k_dense_replace <= design.num_hidden_layers)
    if design.data_fraction:
        shares = [1.0 * share for share in design.data_fraction.values()]
        possible &= abs(sum(shares[1:], shares[0]) - 1) <= WHOLE_TOLERANCE
        for share in shares:
            possible &= share >= 0
    return possible


def evaluate(design: Design, law: Law, limits: Limits) -> Evaluation:
    """Score one design under hard limits.

    Args:
        design: leaves are scalars of one float dtype; batch with ``jax.vmap``.
        law: an object with ``raw`` and ``clamp`` (see ``laws``).
        limits: bounds by quantity name; all must hold. "score" bounds the raw score, as the authors' planner filters, to
            within ``SCORE_TOLERANCE``.
    """
    raw = law.raw(design)
    feasible = (raw > -jnp.inf) & (raw < jnp.inf)  # False for NaN as well
    for holds in checks(design, raw, limits).values():
        feasible &= holds
    return Evaluation(
        score=law.clamp(raw),
        raw=raw,
        feasible=feasible,
        training_flops=quantity("training_flops", design),
        total_params=quantity("total_params", design),
    )


def as_limits(bounds: Mapping[str, Any]) -> dict[str, Bound]:
    """Limits from anything with ``min``, ``max`` and ``multiple_of`` attributes, as a spec holds them.

    As floats: jax would take a whole number for an int32, which holds no ten billion parameters.
    """

    def real(end: float | None) -> float | None:
        return None if end is None else float(end)

    return {name: Bound(real(b.min), real(b.max), real(b.multiple_of)) for name, b in bounds.items()}
