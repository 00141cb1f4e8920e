"""Interval rules of JAX's arithmetic and elementary functions: what each does to bounds.

A rule takes its operands, of which at least one is an Interval and the others may be plain arrays of the same shape, and the
primitive's parameters. Operands that are one and the same object are one and the same value: ``x * x`` is a square.

Rules are kept to few operations: a law's bounds are one program of all its primitives, and its size is what compiling takes.
NaN enters with infinite bounds or a bound that is NaN, and these stay; only where an operation may lose them is ``nan`` set.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import reduce
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from perflaw_jax.bounds.intervals import (
    TRANSCENDENTAL,
    Interval,
    both,
    bottom,
    concrete,
    either,
    is_float,
    is_whole,
    lift,
    may_be_nan,
    outward,
    top,
    unknown_where,
    where,
)
from perflaw_jax.design import Scalar

Rule = Callable[..., Interval]

STEEP = 1024  # machine epsilons for exponentials: an argument near 700, rounded, costs half as many
DIGITS = 1e-6  # relative, of a float estimate of whole numbers


# --- arithmetic --------------------------------------------------------------------------------------------------------


def add(a: Any, b: Any, **_: Any) -> Interval:
    """Sum."""
    for one, other in ((a, b), (b, a)):
        if concrete(one) and one == 0:
            return other
    a, b = lift(a), lift(b)
    if is_whole(a.lower):
        return _whole(lax.add, a, b)
    positive = a.positive and b.positive
    bounds = outward(lax.add(a.lower, b.lower), lax.add(a.upper, b.upper), positive=positive)
    return Interval(*bounds, either(a.nan, b.nan), both(a.same, b.same), positive)


def sub(a: Any, b: Any, **_: Any) -> Interval:
    """Difference; a value less itself is nothing."""
    if a is b:
        zero, nan = lax.full_like(a.lower, 0), may_be_nan(a)
        return Interval(zero, zero, nan, either(a.same, ~jnp.asarray(nan)), True)
    a, b = lift(a), lift(b)
    return _whole(lax.sub, a, b) if is_whole(a.lower) else add(a, neg(b))


def mul(a: Any, b: Any, **_: Any) -> Interval:
    """Product; a value times itself is a square."""
    if a is b:
        return integer_pow(a, y=2)
    for one, other in ((a, b), (b, a)):
        if concrete(one) and one == 1:
            return other
    a, b = lift(a), lift(b)
    if is_whole(a.lower):
        return _whole(lax.mul, a, b)
    positive, nan = a.positive and b.positive, either(a.nan, b.nan)
    lower, upper = outward(*_corners(lax.mul, a, b), positive=positive)
    nothing = (lower == 0) & (upper == 0) & ~jnp.asarray(nan)
    return Interval(lower, upper, nan, either(both(a.same, b.same), nothing), positive)


def div(a: Any, b: Any, **_: Any) -> Interval:
    """Quotient, of whole numbers towards zero; a division by what may be zero gives anything."""
    if isinstance(b, Interval):
        by_zero = ~((b.lower > 0) | (b.upper < 0))
    else:
        by_zero = bool(b == 0) if concrete(b) else b == 0
    a, b = lift(a), lift(b)
    if is_whole(a.lower):
        nonzero = replace(b, lower=where(by_zero, 1, b.lower), upper=where(by_zero, 1, b.upper), positive=False)
        return unknown_where(by_zero, _whole(lax.div, a, nonzero))
    positive = a.positive and b.positive
    if b.positive:  # rising in a, and of one sign with it
        lower, upper = _quotient(lax.min, a.lower, b, a.positive), _quotient(lax.max, a.upper, b, a.positive)
    else:
        lower, upper = _corners(lax.div, a, b)
    nan = reduce(either, (a.nan, may_be_nan(b)))
    result = Interval(*outward(lower, upper, positive=positive), nan, both(a.same, b.same))
    if by_zero is False:
        return result
    unknown = unknown_where(by_zero, result)
    return replace(unknown, lower=where(by_zero, 0, result.lower), positive=True) if positive else unknown


def _quotient(extreme: Callable, x: Scalar, b: Interval, positive: bool) -> Scalar:
    if positive:
        return lax.div(x, b.upper if extreme is lax.min else b.lower)
    return extreme(lax.div(x, b.lower), lax.div(x, b.upper))


def rem(a: Any, b: Any, **_: Any) -> Interval:
    """Remainder with the sign of the dividend."""
    a, b = lift(a), lift(b)
    by_zero = (b.lower <= 0) & (b.upper >= 0)
    most = lax.max(lax.abs(b.lower), lax.abs(b.upper))
    if is_whole(a.lower):  # the remainder by zero is the dividend, and the most negative number has no magnitude
        most = where(by_zero | (most < 0), top(most.dtype), most)
    fits = (lax.abs(a.lower) < b.lower) & (lax.abs(a.upper) < b.lower)
    lower = where(fits | (a.lower > -most), lax.min(a.lower, lax.full_like(most, 0)), -most)
    upper = where(fits | (a.upper < most), lax.max(a.upper, lax.full_like(most, 0)), most)
    lower, upper = where(fits, a.lower, lower), where(fits, a.upper, upper)
    lower = jnp.maximum(lower, 0) if a.positive else lower
    nan = reduce(either, (may_be_nan(a), may_be_nan(b), by_zero)) if is_float(a.lower) else False
    return Interval(lower, upper, nan, both(a.same, b.same), a.positive)


def neg(x: Interval, **_: Any) -> Interval:
    """Negative."""
    if is_whole(x.lower):
        return _whole(lax.sub, lift(np.zeros(np.shape(x.lower), x.lower.dtype)), x)
    return Interval(lax.neg(x.upper), lax.neg(x.lower), x.nan, x.same)


def integer_pow(x: Interval, *, y: int) -> Interval:
    """A whole power, of either sign."""
    if y == 0:
        one = lax.full_like(x.lower, 1)
        return Interval(one, one, False, True, True)
    if y < 0:
        return div(np.ones(np.shape(x.lower), x.lower.dtype), integer_pow(x, y=-y))
    if is_whole(x.lower):
        return reduce(lambda power, _: _whole(lax.mul, power, x), range(y - 1), x)
    if y == 1:
        return x
    least, most = (x.lower, x.upper) if y % 2 else _magnitude(x)
    positive = x.positive or y % 2 == 0
    bounds = outward(lax.integer_pow(least, y), lax.integer_pow(most, y), positive=positive, ulps=2 * y)
    return Interval(*bounds, x.nan, x.same, positive)


def polynomial(x: Any, *coefficients: Any, **_: Any) -> Interval:
    """``c0 + c1 x + c2 x^2 + ...`` by Horner's rule."""
    *lower, result = coefficients
    for coefficient in reversed(lower):
        result = add(mul(x, result), coefficient)
    return lift(result)


def power(x: Any, y: Any, **_: Any) -> Interval:
    """Real power. A negative base has a value for whole exponents alone: then only the magnitude is bounded."""
    if concrete(y) and float(y) == round(float(y)):
        return integer_pow(x, y=int(y))
    x, y = lift(x), lift(y)
    if is_whole(y.lower):
        y = replace(
            y, lower=lax.convert_element_type(y.lower, x.lower.dtype), upper=lax.convert_element_type(y.upper, x.lower.dtype)
        )
    least, most = _magnitude(x)
    values = [lax.pow(base, exponent) for base in (least, most) for exponent in (y.lower, y.upper)]
    lower, upper = outward(reduce(lax.min, values), reduce(lax.max, values), positive=True, ulps=STEEP)
    nan, same = either(may_be_nan(x), may_be_nan(y)), both(x.same, y.same)
    if x.positive:
        return Interval(lower, upper, nan, same, True)
    negative = ~(x.lower >= 0)
    return Interval(where(negative, -upper, lower), upper, either(nan, negative), both(same, x.lower > 0))


def rsqrt(x: Interval, **_: Any) -> Interval:
    """One over the square root."""
    return div(np.ones(np.shape(x.lower), x.lower.dtype), sqrt(x))


# --- monotone functions ------------------------------------------------------------------------------------------------


def monotone(
    function: Callable,
    *,
    least: float = -np.inf,
    most: float = np.inf,
    positive: bool = False,
    ulps: float = TRANSCENDENTAL,
    slack: float = 0.0,
) -> Rule:
    """The rule of a function that never falls.

    Args:
        function: of one array.
        least: where its domain begins, inclusive.
        most: where its domain ends, inclusive.
        positive: whether its values are zero or more wherever they are defined.
        ulps: relative error, in machine epsilons.
        slack: absolute error, in machine epsilons.
    """

    def rule(x: Interval, **_: Any) -> Interval:
        low, high, nan = x.lower, x.upper, may_be_nan(x)
        if least > -np.inf and not (x.positive and least <= 0):
            low, high, nan = jnp.maximum(low, least), jnp.maximum(high, least), either(nan, ~(x.lower >= least))
        if most < np.inf:
            low, high, nan = jnp.minimum(low, most), jnp.minimum(high, most), either(nan, ~(x.upper <= most))
        lower, upper = outward(function(low), function(high), positive=positive, ulps=ulps)
        if slack:
            error = np.asarray(slack * jnp.finfo(low.dtype).eps, low.dtype)
            lower, upper = lax.sub(lower, error), lax.add(upper, error)
            lower = jnp.maximum(lower, 0) if positive else lower
        return Interval(lower, upper, nan, x.same, positive)

    return rule


sqrt = monotone(lax.sqrt, least=0.0, positive=True)


def logarithm(function: Callable) -> Rule:
    """The rule of a logarithm; of zero it is exactly minus infinity."""
    within = monotone(function, least=0.0, slack=TRANSCENDENTAL)

    def rule(x: Interval, **_: Any) -> Interval:
        result = within(x)
        return replace(result, upper=where(x.upper <= 0, -jnp.inf, result.upper))

    return rule


def falling(rule: Rule) -> Rule:
    """From the rule of f(-x) the rule of f(x)."""
    return lambda x, **_: rule(neg(x))


def stepwise(function: Callable) -> Rule:
    """The rule of an exact function that never falls and keeps infinities."""
    return lambda x, **params: Interval(function(x.lower, **params), function(x.upper, **params), x.nan, x.same, x.positive)


def sign(x: Interval, **_: Any) -> Interval:
    """-1, 0 or 1."""
    return replace(stepwise(lax.sign)(x), nan=may_be_nan(x))


def absolute(x: Interval, **_: Any) -> Interval:
    """Magnitude."""
    result = Interval(*_magnitude(x), x.nan, x.same, is_float(x.lower))
    return result if is_float(x.lower) else unknown_where(x.lower == bottom(x.lower.dtype), result)  # that has no magnitude


def cosh(x: Interval, **_: Any) -> Interval:
    """Hyperbolic cosine."""
    least, most = _magnitude(x)
    return Interval(*outward(lax.cosh(least), lax.cosh(most), positive=True, ulps=STEEP), x.nan, x.same, True)


def wave(function: Callable) -> Rule:
    """Sine or cosine: sharp at a point, otherwise anything from -1 to 1."""

    def rule(x: Interval, **_: Any) -> Interval:
        point, error = x.lower == x.upper, np.asarray(TRANSCENDENTAL * jnp.finfo(x.lower.dtype).eps, x.lower.dtype)
        value = function(x.lower)
        lower, upper = where(point, value, -1), where(point, value, 1)
        return Interval(lax.sub(lower, error), lax.add(upper, error), may_be_nan(x), x.same)

    return rule


# --- helpers -----------------------------------------------------------------------------------------------------------


def _corners(function: Callable, a: Interval, b: Interval) -> tuple[Scalar, Scalar]:
    """Least and greatest product or quotient, which lie at the corners: fewer of them where signs are known beforehand."""
    if function is lax.mul and a.positive and b.positive:
        return function(a.lower, b.lower), function(a.upper, b.upper)
    for one, other in ((a, b), (b, a)) if function is lax.mul else ((b, a),):
        if concrete(one.lower) and one.lower is one.upper:
            ends = [function(other.lower, one.lower), function(other.upper, one.lower)]
            return tuple(ends if one.lower >= 0 else reversed(ends))
        if function is lax.mul and one.positive:
            low, high = ([function(one.lower, end), function(one.upper, end)] for end in (other.lower, other.upper))
            return lax.min(*low), lax.max(*high)
    values = [function(x, y) for x in (a.lower, a.upper) for y in (b.lower, b.upper)]
    return reduce(lax.min, values), reduce(lax.max, values)


def _magnitude(x: Interval) -> tuple[Scalar, Scalar]:
    if x.positive:
        return x.lower, x.upper
    low, high = lax.abs(x.lower), lax.abs(x.upper)
    return where((x.lower <= 0) & (x.upper >= 0), 0, lax.min(low, high)), lax.max(low, high)


def _whole(function: Callable, a: Interval, b: Interval) -> Interval:
    """A sum, difference, product or quotient of whole numbers: at the corners; anything where one may overflow."""
    ends = [(x, y) for x in (a.lower, a.upper) for y in (b.lower, b.upper)]
    values = [function(x, y) for x, y in ends]
    guesses = [function(estimate(x), estimate(y)) for x, y in ends]
    limits = jnp.iinfo(a.lower.dtype)
    fits = (reduce(lax.min, guesses) >= float(limits.min) * (1 - DIGITS)) & (
        reduce(lax.max, guesses) <= float(limits.max) * (1 - DIGITS)
    )
    return unknown_where(~fits, Interval(reduce(lax.min, values), reduce(lax.max, values), False, both(a.same, b.same)))


def estimate(x: Scalar) -> Scalar:
    """Whole numbers as real ones, good to ``DIGITS``."""
    return lax.convert_element_type(x, float)
