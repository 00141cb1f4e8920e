"""How the slope of each of JAX's primitives follows from those of its operands, in intervals.

A rule takes the result, the operands, their slopes along one input (None: it does not move) and the primitive's parameters.
It holds where the primitive jumps, too: there it knows nothing, unless the whole box lies on one side of the jump.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

import jax.numpy as jnp
import numpy as np

from perflaw_jax.bounds import arrays, rules
from perflaw_jax.bounds.intervals import Interval, hull, is_float, lift, spread, where
from perflaw_jax.bounds.table import RULES

Slope = Interval | None
Derivative = Callable[..., Interval]

LINEAR = frozenset({"add", "add_any", "sub", "neg", "reduce_sum", "cumsum"})
"""Primitives that do to slopes what they do to values; so do those that only move elements."""


def unknown(like: Interval) -> Interval:
    """Any slope, but for a value that is the same all over the box: that has none. Only real numbers have slopes."""
    if not is_float(like.lower):
        return like
    still = jnp.asarray(like.same) | ((like.lower == like.upper) & ~jnp.asarray(like.nan))
    anything = jnp.full_like(like.lower, np.inf)
    return Interval(where(still, 0.0, -anything), where(still, 0.0, anything))


def elementwise(*partials: Callable[..., Any]) -> Derivative:
    """The chain rule: of a function of one or several numbers, by its partial derivatives ``(result, *operands)``."""

    def rule(result: Interval, operands: Sequence[Any], slopes: Sequence[Slope], **_: Any) -> Interval:
        parts = [
            rules.mul(partial(result, *operands), slope)
            for partial, slope in zip(partials, slopes, strict=True)
            if slope is not None
        ]
        return reduce(rules.add, parts)

    return rule


def converted(result: Interval, operands: Sequence[Any], slopes: Sequence[Slope], **_: Any) -> Interval:
    """The same slope in another type of real numbers."""
    (slope,), kind = slopes, result.lower.dtype
    assert slope is not None
    lower, upper = (jnp.asarray(end, kind) for end in (slope.lower, slope.upper))
    error = jnp.finfo(kind).eps
    return Interval(lower - error * abs(lower), upper + error * abs(upper), slope.nan)


def quotient(result: Interval, operands: Sequence[Any], slopes: Sequence[Slope], **_: Any) -> Interval:
    """``(a' - (a / b) b') / b``."""
    above, below = slopes
    if below is not None:
        less = rules.mul(result, below)
        above = rules.neg(less) if above is None else rules.sub(above, less)
    return rules.div(above, operands[1])


def larger(result: Interval, operands: Sequence[Any], slopes: Sequence[Slope], **_: Any) -> Interval:
    """That of the larger operand; where either may be the larger, that of both."""
    a, b = map(lift, operands)
    return _one_of(slopes, [~(a.upper <= b.lower), ~(b.upper <= a.lower)], result)


def smaller(result: Interval, operands: Sequence[Any], slopes: Sequence[Slope], **_: Any) -> Interval:
    """That of the smaller operand; where either may be the smaller, that of both."""
    a, b = map(lift, operands)
    return _one_of(slopes, [~(a.lower >= b.upper), ~(b.lower >= a.upper)], result)


def clamped(result: Interval, operands: Sequence[Any], slopes: Sequence[Slope], **_: Any) -> Interval:
    """That of what lies between the ends, or that of the end."""
    low, x, high = (spread(lift(operand), np.shape(lift(operands[1]).lower)) for operand in operands)
    spread_slopes = [None if s is None else spread(s, np.shape(x.lower)) for s in slopes]
    possible = [~(x.lower >= low.upper), ~((x.upper <= low.lower) | (x.lower >= high.upper)), ~(x.upper <= high.lower)]
    return _one_of(spread_slopes, possible, result)


def chosen(result: Interval, operands: Sequence[Any], slopes: Sequence[Slope], **_: Any) -> Interval:
    """That of the case that is chosen; nothing is known where that may change, as the value may then jump."""
    which, shape = spread(lift(operands[0]), np.shape(result.lower)), np.shape(result.lower)
    count = len(operands) - 1
    if which.lower.dtype == np.bool_:
        decided, taken = which.lower == which.upper, [~which.upper, which.lower]
    else:
        decided, taken = which.lower == which.upper, [which.lower == i for i in range(count)]
    of_case = _one_of(slopes[1:], [decided & jnp.broadcast_to(case, shape) for case in taken], result)
    anything = unknown(result)
    return Interval(
        where(decided, of_case.lower, anything.lower),
        where(decided, of_case.upper, anything.upper),
        decided & jnp.asarray(of_case.nan),
    )


def _one_of(slopes: Sequence[Slope], possible: Sequence[Any], like: Interval) -> Interval:
    zero = jnp.zeros_like(like.lower)
    cases = [Interval(zero, zero, False, True) if slope is None else slope for slope in slopes]
    return replace(hull(cases, list(possible)), positive=False)


def along(axes_of: Callable[..., tuple[int, ...]], *, keep: bool = False) -> Derivative:
    """Of what picks elements along axes: that of whichever it picks; with ``keep`` for every place of the axis."""

    def rule(result: Interval, operands: Sequence[Any], slopes: Sequence[Slope], **params: Any) -> Interval:
        (slope,) = slopes
        assert slope is not None
        slope, axes = arrays.full(slope), axes_of(np.ndim(slope.lower), **params)
        lower, upper = slope.lower.min(axes, keepdims=keep), slope.upper.max(axes, keepdims=keep)
        nan = jnp.asarray(slope.nan).any(axes, keepdims=keep)
        lower, upper, nan = (jnp.broadcast_to(leaf, np.shape(result.lower)) for leaf in (lower, upper, nan))
        return Interval(lower, upper, nan)

    return rule


def product(result: Interval, operands: Sequence[Any], slopes: Sequence[Slope], **params: Any) -> Interval:
    """Of a product of matrices: ``A'B + AB'``."""
    (a, b), (of_a, of_b) = operands, slopes
    parts = [] if of_a is None else [arrays.dot_general(of_a, b, **params)]
    parts += [] if of_b is None else [arrays.dot_general(a, of_b, **params)]
    return reduce(rules.add, parts)


def whole_power(result: Interval, operands: Sequence[Any], slopes: Sequence[Slope], *, y: int) -> Interval:
    """``y x^(y - 1) x'``."""
    (x,), (slope,) = operands, slopes
    return rules.mul(rules.mul(_constant(float(y), x), rules.integer_pow(x, y=y - 1)), slope)


def _one_less_square(result: Interval, x: Any, **_: Any) -> Interval:
    """Of tanh: ``1 - tanh^2``, which is never negative."""
    return _not_negative(rules.sub(np.ones(np.shape(result.lower), result.lower.dtype), rules.integer_pow(result, y=2)))


def _not_negative(x: Any) -> Interval:
    x = lift(x)
    return replace(x, lower=jnp.maximum(x.lower, 0), positive=True)


def _constant(value: float, like: Any) -> Interval:
    return lift(np.full(np.shape(lift(like).lower), value, lift(like).lower.dtype))


def _of_log(x: Any, base: float = math.e) -> Any:
    return rules.div(_constant(1 / math.log(base), x), x)


def _bell(x: Any) -> Interval:
    """Of erf: ``2 / sqrt(pi) exp(-x^2)``."""
    return rules.mul(RULES["exp"](rules.neg(rules.integer_pow(lift(x), y=2))), _constant(2 / math.sqrt(math.pi), x))


def _of_base(result: Interval, x: Any, y: Any) -> Any:
    return rules.div(rules.mul(RULES["convert_element_type"](lift(y), new_dtype=result.lower.dtype), result), x)


def _of_exponent(result: Interval, x: Any, y: Any) -> Any:
    return rules.mul(result, RULES["log"](lift(x)))


DERIVATIVES: dict[str, Derivative] = {
    "mul": elementwise(lambda _, a, b: b, lambda _, a, b: a),
    "div": quotient,
    "square": elementwise(lambda _, x: rules.mul(_constant(2.0, x), x)),
    "integer_pow": whole_power,
    "pow": elementwise(_of_base, _of_exponent),
    "sqrt": elementwise(lambda out, x: rules.div(_constant(0.5, x), out)),
    "rsqrt": elementwise(lambda out, x: rules.div(rules.mul(_constant(-0.5, x), out), x)),
    "exp": elementwise(lambda out, x: out),
    "exp2": elementwise(lambda out, x: rules.mul(_constant(math.log(2), x), out)),
    "expm1": elementwise(lambda out, x: rules.add(_constant(1.0, x), out)),
    "log": elementwise(lambda _, x: _of_log(x)),
    "log2": elementwise(lambda _, x: _of_log(x, 2.0)),
    "log1p": elementwise(lambda _, x: _of_log(rules.add(_constant(1.0, x), x))),
    "tanh": elementwise(_one_less_square),
    "logistic": elementwise(lambda out, x: _not_negative(rules.sub(out, rules.integer_pow(out, y=2)))),
    "erf": elementwise(lambda _, x: _bell(x)),
    "erfc": elementwise(lambda _, x: rules.neg(_bell(x))),
    "abs": elementwise(lambda _, x: rules.sign(x)),
    "max": larger,
    "min": smaller,
    "clamp": clamped,
    "select_n": chosen,
    "convert_element_type": converted,
    "reduce_max": along(lambda ndim, axes, **_: tuple(axes)),
    "reduce_min": along(lambda ndim, axes, **_: tuple(axes)),
    "sort": along(lambda ndim, dimension, **_: (dimension,), keep=True),
    "nth_lowest": along(lambda ndim, **_: (ndim - 1,)),
    "dot_general": product,
}
"""Primitive by name -> the rule of its slope; of others that vary nothing is known."""
