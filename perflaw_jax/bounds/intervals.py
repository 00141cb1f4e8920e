"""Intervals: what is known of a value over a box of inputs, as a pytree, and outward rounding.

Bounds hold in floating point, not in real numbers alone: whatever XLA does with fused multiply-adds, reciprocals or vectorised
logarithms, a computed value lies within. Numbers below the smallest normal one count as zero, as XLA has it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from perflaw_jax.design import Scalar

ARITHMETIC = 2  # machine epsilons that an add, multiply or divide may be off, however XLA arranges it
TRANSCENDENTAL = 16  # the same for logarithms, powers and the like


class NoBounds(Exception):
    """A rule has no bounds for operands that vary like these."""


@partial(jax.tree_util.register_dataclass, data_fields=("lower", "upper", "nan", "same"), meta_fields=("positive",))
@dataclass(frozen=True)
class Interval:
    """Bounds of a value at every point of a box: it lies within, or is NaN. Leaves are arrays of one shape.

    Of a boolean, ``lower`` says that it is certainly true and ``upper`` that it may be. A bound that is NaN is no bound.
    Infinite bounds leave NaN open; where both are finite, ``nan`` tells.

    Attributes:
        lower: no point gives less.
        upper: no point gives more.
        nan: some point may give NaN although the bounds are finite.
        same: every point gives one and the same value, even where its last bits are not known (0.0 and -0.0 are one value).
        positive: known before anything is computed to be zero or more.
    """

    lower: Scalar
    upper: Scalar
    nan: Scalar = False
    same: Scalar = False
    positive: bool = field(default=False)


def interval(lower: Any, upper: Any = None, *, positive: bool = False) -> Interval:
    """The interval between two arrays, or the points of one; ``positive`` promises that no lower bound is below zero."""
    lower = jnp.asarray(lower)
    upper = lower if upper is None else jnp.asarray(upper)
    return Interval(lower, upper, False, lower == upper, positive)


def lift(value: Any) -> Interval:
    """What is known of a plain array: it is the same everywhere. NaN has no bounds, and widens no other's."""
    if isinstance(value, Interval):
        return value
    if isinstance(value, (bool, int, float, np.generic, np.ndarray)):  # known already
        value = np.asarray(value)
        upper = np.where(value != value, -np.inf, value).astype(value.dtype) if np.any(value != value) else value
        return Interval(value, upper, False, True, bool(np.all(value >= 0)))
    return Interval(value, where(value != value, -jnp.inf, value) if is_float(value) else value, False, True)


def finished(x: Interval) -> Interval:
    """The interval with every leaf an array and no bound NaN."""
    nan, same = (jnp.broadcast_to(jnp.asarray(flag), x.lower.shape) for flag in (may_be_nan(x), x.same))
    if not is_float(x.lower):
        return Interval(x.lower, x.upper, nan, same)
    lower = where(x.lower != x.lower, -jnp.inf, x.lower)
    return Interval(lower, where(x.upper != x.upper, jnp.inf, x.upper), nan, same)


def may_be_nan(x: Interval) -> Scalar:
    """Whether some point may give NaN."""
    if not is_float(x.lower):
        return False
    if isinstance(x.lower, np.ndarray):  # a constant
        return bool(np.isnan(x.lower).any())
    return either(x.nan, ~((x.lower > -jnp.inf) & (x.upper < jnp.inf)))


def outward(lower: Scalar, upper: Scalar, *, positive: bool = False, ulps: float = ARITHMETIC) -> tuple[Scalar, Scalar]:
    """Bounds widened by ``ulps`` machine epsilons."""
    error = np.asarray(ulps * jnp.finfo(lower.dtype).eps, lower.dtype)  # a plain number would be a float64 to lax
    if positive:
        return lax.mul(lower, 1 - error), lax.mul(upper, 1 + error)
    return lax.sub(lower, lax.mul(lax.abs(lower), error)), lax.add(upper, lax.mul(lax.abs(upper), error))


def hull(cases: list[Interval], possible: list[Scalar]) -> Interval:
    """What is known of a value that is one of several; ``possible`` says of each whether it may be the one."""
    lower = reduce(lax.min, (where(p, case.lower, top(case.lower.dtype)) for p, case in zip(possible, cases, strict=True)))
    upper = reduce(lax.max, (where(p, case.upper, bottom(case.upper.dtype)) for p, case in zip(possible, cases, strict=True)))
    nan = reduce(either, (both(p, case.nan) for p, case in zip(possible, cases, strict=True)))
    alone = sum(jnp.asarray(p, np.int32) for p in possible) == 1
    same = alone & reduce(both, (either(~p, case.same) for p, case in zip(possible, cases, strict=True)))
    return Interval(lower, upper, nan, same, all(case.positive for case in cases))


def everything(like: Scalar, same: Scalar = False) -> Interval:
    """Any value of an array's type."""
    return Interval(jnp.full_like(like, bottom(like.dtype)), jnp.full_like(like, top(like.dtype)), False, same)


def unknown_where(mask: Scalar, x: Interval) -> Interval:
    """The interval, without bounds where the mask holds."""
    lower, upper = where(mask, bottom(x.lower.dtype), x.lower), where(mask, top(x.lower.dtype), x.upper)
    return replace(x, lower=lower, upper=upper, same=both(x.same, ~mask), positive=False)


def spread(x: Interval, shape: tuple[int, ...]) -> Interval:
    """An interval of one shape in another, by broadcasting."""
    nan, same = (flag if isinstance(flag, bool) else jnp.broadcast_to(flag, shape) for flag in (x.nan, x.same))
    return Interval(jnp.broadcast_to(x.lower, shape), jnp.broadcast_to(x.upper, shape), nan, same, x.positive)


# --- arrays and flags that may be known before anything is computed -----------------------------------------------------


def concrete(x: Any) -> bool:
    """Whether something is one number, known before anything is computed."""
    return isinstance(x, (bool, int, float, np.generic, np.ndarray)) and np.ndim(x) == 0


def where(mask: Scalar, a: Any, b: Any) -> Scalar:
    """``jnp.where`` for operands of one type, at a fifth of the cost of tracing it."""
    like = a if hasattr(a, "dtype") else b
    shape = np.broadcast_shapes(np.shape(mask), np.shape(a), np.shape(b))
    a, b = (x if np.shape(x) == shape and hasattr(x, "dtype") else jnp.full(shape, x, like.dtype) for x in (a, b))
    return lax.select(jnp.broadcast_to(mask, shape), a, b)


def either(a: Scalar, b: Scalar) -> Scalar:
    """``a | b`` of flags."""
    return b if a is False else a if b is False else True if a is True or b is True else a | b


def both(a: Scalar, b: Scalar) -> Scalar:
    """``a & b`` of flags."""
    return b if a is True else a if b is True else False if a is False or b is False else a & b


def is_float(x: Scalar) -> bool:
    """Whether an array is of real numbers."""
    return jnp.issubdtype(x.dtype, np.floating)


def is_whole(x: Scalar) -> bool:
    """Whether an array is of whole numbers."""
    return jnp.issubdtype(x.dtype, np.integer)


def bottom(dtype: Any) -> Any:
    """The least value of a type."""
    if dtype == np.bool_:
        return False
    return int(jnp.iinfo(dtype).min) if jnp.issubdtype(dtype, np.integer) else -np.inf


def top(dtype: Any) -> Any:
    """The greatest value of a type."""
    if dtype == np.bool_:
        return True
    return int(jnp.iinfo(dtype).max) if jnp.issubdtype(dtype, np.integer) else np.inf
