"""Interval rules of JAX's primitives that choose, compare, combine booleans or change the type (see ``rules``)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import reduce
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from perflaw_jax.bounds.intervals import (
    Interval,
    both,
    concrete,
    either,
    everything,
    hull,
    is_float,
    is_whole,
    lift,
    may_be_nan,
    outward,
    spread,
    unknown_where,
    where,
)
from perflaw_jax.bounds.rules import DIGITS, Rule, estimate


def maximum(a: Any, b: Any, **_: Any) -> Interval:
    """The larger; NaN if either is."""
    a, b = lift(a), lift(b)
    nan = either(may_be_nan(a), may_be_nan(b))
    certain = either(both(a.same, a.lower >= b.upper), both(b.same, b.lower >= a.upper))
    same = either(both(a.same, b.same), both(certain, ~jnp.asarray(nan)))
    return Interval(lax.max(a.lower, b.lower), lax.max(a.upper, b.upper), nan, same, a.positive or b.positive)


def minimum(a: Any, b: Any, **_: Any) -> Interval:
    """The smaller; NaN if either is."""
    a, b = lift(a), lift(b)
    nan = either(may_be_nan(a), may_be_nan(b))
    certain = either(both(a.same, a.upper <= b.lower), both(b.same, b.upper <= a.lower))
    same = either(both(a.same, b.same), both(certain, ~jnp.asarray(nan)))
    return Interval(lax.min(a.lower, b.lower), lax.min(a.upper, b.upper), nan, same, a.positive and b.positive)


def clamp(low: Any, x: Any, high: Any, **_: Any) -> Interval:
    """Between two bounds, which may be scalars."""
    shape = np.shape(lift(x).lower)
    return minimum(maximum(x, spread(lift(low), shape)), spread(lift(high), shape))


def select_n(which: Any, *cases: Any) -> Interval:
    """The case that an index or a boolean names; the hull of those that it may name."""
    if concrete(which):
        return lift(cases[int(which)])
    known = [lift(case) for case in cases]
    which = spread(lift(which), np.shape(known[0].lower))
    if which.lower.dtype == np.bool_:
        possible = [~which.lower, which.upper]
    else:
        possible = [(which.lower <= i) & (which.upper >= i) for i in range(len(known))]
    result = hull(known, possible)
    return replace(result, same=either(result.same, reduce(both, (case.same for case in known), which.same)))


def less(a: Any, b: Any, *, equal: bool = False, total: bool = False, **_: Any) -> Interval:
    """Whether a < b, with ``equal`` a <= b; ``total`` orders have a place for NaN, too."""
    if a is b and not total:
        yes = lax.full_like(a.lower, equal, dtype=bool)
        return Interval(yes & ~jnp.asarray(may_be_nan(a)), yes, False, a.same)
    a, b = lift(a), lift(b)
    nan = either(may_be_nan(a), may_be_nan(b))
    certain, impossible = (
        lax.le if equal and not total else lax.lt,
        lax.gt if equal or total else lax.ge,
    )  # -0.0 has a place too
    yes = certain(a.upper, b.lower) & ~jnp.asarray(nan)
    possible = ~impossible(a.lower, b.upper)
    return Interval(yes, either(possible, both(nan, total)), False, both(a.same, b.same))


def equal(a: Any, b: Any, **_: Any) -> Interval:
    """Whether two values are equal; NaN equals nothing."""
    if a is b:
        nan = jnp.broadcast_to(may_be_nan(a), a.lower.shape)
        return Interval(~nan, lax.full_like(a.lower, True, dtype=bool), False, a.same)
    a, b = lift(a), lift(b)
    nan = either(may_be_nan(a), may_be_nan(b))
    points = (a.lower == b.upper) & (a.upper == b.lower)
    return Interval(points & ~jnp.asarray(nan), ~((a.lower > b.upper) | (b.lower > a.upper)), False, both(a.same, b.same))


def logical(operation: Callable) -> Rule:
    """The rule of ``and`` or ``or``; of whole numbers' bits nothing is known."""

    def rule(a: Any, b: Any, **_: Any) -> Interval:
        a, b = lift(a), lift(b)
        if a.lower.dtype != np.bool_:
            return everything(a.lower, both(a.same, b.same))
        return Interval(operation(a.lower, b.lower), operation(a.upper, b.upper), False, both(a.same, b.same))

    return rule


def negation(x: Interval, **_: Any) -> Interval:
    """Not, of booleans and of bits."""
    return Interval(~x.upper, ~x.lower, False, x.same)


def xor(a: Any, b: Any, **_: Any) -> Interval:
    """Exclusive or: known of booleans that are."""
    a, b = lift(a), lift(b)
    if a.lower.dtype != np.bool_:
        return everything(a.lower, both(a.same, b.same))
    decided = (a.lower == a.upper) & (b.lower == b.upper)
    value = a.lower ^ b.lower
    return Interval(decided & value, ~decided | value, False, both(a.same, b.same))


def is_finite(x: Interval, **_: Any) -> Interval:
    """Whether a value is a finite number."""
    return Interval(~jnp.asarray(may_be_nan(x)), ~((x.lower == jnp.inf) | (x.upper == -jnp.inf)), False, x.same)


# --- types -------------------------------------------------------------------------------------------------------------


def convert(x: Interval, *, new_dtype: Any, **_: Any) -> Interval:
    """A value in another type: rounded, cut off towards zero, or unknown where it does not fit."""
    old, new = x.lower.dtype, np.dtype(new_dtype)
    if new == old:
        return x
    if new == np.bool_:
        zero = (x.lower <= 0) & (x.upper >= 0)
        return Interval(~zero, ~((x.lower == 0) & (x.upper == 0)) | jnp.asarray(may_be_nan(x)), False, x.same)
    lower, upper = lax.convert_element_type(x.lower, new), lax.convert_element_type(x.upper, new)
    result = Interval(lower, upper, x.nan, x.same, x.positive or old == np.bool_)
    if jnp.issubdtype(new, np.floating):
        exact = old == np.bool_ or (is_float(x.lower) and jnp.finfo(new).bits > jnp.finfo(old).bits)
        if exact:
            return result
        low, high = outward(lower, upper)
        few = 2.0 ** jnp.finfo(new).nmant if is_whole(x.lower) else -1.0  # whole numbers below are exact
        return replace(result, lower=where(lax.abs(lower) < few, lower, low), upper=where(lax.abs(upper) < few, upper, high))
    if old == np.bool_:
        return result
    limits = jnp.iinfo(new)
    least, most = (x.lower, x.upper) if is_float(x.lower) else (estimate(x.lower), estimate(x.upper))
    fits = (least >= float(limits.min)) & (most <= float(limits.max) * (1 - DIGITS))  # not so where a bound is NaN
    return replace(unknown_where(~fits | jnp.asarray(may_be_nan(x)), result), nan=False)
