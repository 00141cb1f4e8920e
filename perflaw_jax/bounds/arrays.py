"""Interval rules of JAX's primitives that index, sum, sort or multiply whole arrays (see ``rules``).

A rule raises NoBounds for operands that vary in a way it has no bounds for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from perflaw_jax.bounds.intervals import (
    ARITHMETIC,
    Interval,
    NoBounds,
    everything,
    hull,
    is_float,
    lift,
    may_be_nan,
    unknown_where,
)
from perflaw_jax.bounds.rules import Rule, mul
from perflaw_jax.design import Scalar
from perflaw_jax.laws import order_statistic


def full(x: Any) -> Interval:
    """An interval whose flags are arrays of its shape, so that they can be moved like its bounds."""
    x = lift(x)
    nan, same = (jnp.broadcast_to(jnp.asarray(flag, bool), jnp.shape(x.lower)) for flag in (x.nan, x.same))
    return Interval(jnp.asarray(x.lower), jnp.asarray(x.upper), nan, same, x.positive)


def _each(function: Callable, *parts: Interval) -> Interval:
    """Leaf by leaf."""
    leaves = zip(*((x.lower, x.upper, x.nan, x.same) for x in map(full, parts)), strict=True)
    lower, upper, nan, same = (function(*some) for some in leaves)
    return Interval(lower, upper, nan, same, all(x.positive for x in parts))


def moved(primitive: Any, operands: Sequence[Any], params: dict) -> list[Interval]:
    """A primitive that only moves or joins elements, applied to the bounds."""
    parts = [lift(x) for x in operands]
    if not primitive.multiple_results:
        return [_each(lambda *leaves: primitive.bind(*leaves, **params), *parts)]
    count = len(jax.eval_shape(lambda *xs: primitive.bind(*xs, **params), *(full(x).lower for x in parts)))
    return [_each(lambda *leaves, i=i: primitive.bind(*leaves, **params)[i], *parts) for i in range(count)]


def gather(x: Any, indices: Any, **params: Any) -> Interval:
    """Elements at places that are known; what lies outside may be NaN."""
    if isinstance(indices, Interval):
        raise NoBounds
    found = _each(lambda leaf: lax.gather_p.bind(leaf, indices, **params), lift(x))
    return replace(found, positive=False)


def dynamic_slice(x: Any, *starts: Any, slice_sizes: Sequence[int], **_: Any) -> Interval:
    """A window of an array; where its place is not known, the hull of all that it may show."""
    x = full(x)
    for axis, (start, size) in enumerate(zip(starts, slice_sizes, strict=True)):
        last = x.lower.shape[axis] - size
        if isinstance(start, Interval):
            low, high = (jnp.clip(end, 0, last) for end in (start.lower, start.upper))
            windows = [_windowed(x, i, size, axis) for i in range(last + 1)]
            x = full(hull(windows, [(low <= i) & (high >= i) for i in range(last + 1)]))
        else:
            x = _windowed(x, start, size, axis)
    return x


def _windowed(x: Interval, start: Any, size: int, axis: int) -> Interval:
    return _each(lambda leaf: lax.dynamic_slice_in_dim(leaf, start, size, axis), x)


# --- along axes --------------------------------------------------------------------------------------------------------


def reduce_sum(x: Interval, *, axes: Sequence[int], **_: Any) -> Interval:
    """Sum along axes."""
    return _total(lambda leaf: leaf.sum(tuple(axes)), x, math.prod(x.lower.shape[axis] for axis in axes))


def cumsum(x: Interval, *, axis: int, reverse: bool) -> Interval:
    """Running sum."""
    return _total(lambda leaf: lax.cumsum(leaf, axis=axis, reverse=reverse), x, x.lower.shape[axis])


def _total(add: Callable, x: Interval, count: int) -> Interval:
    x = full(x)
    nan, varies = (add(jnp.asarray(flag, np.int32)) > 0 for flag in (x.nan, ~x.same))
    if is_float(x.lower):
        largest = add(jnp.maximum(abs(x.lower), abs(x.upper)))
        return _summed(add(x.lower), add(x.upper), largest, nan, ~varies, count)
    lower, upper = (add(end).astype(x.lower.dtype) for end in (x.lower, x.upper))
    largest = add(jnp.maximum(abs(x.lower.astype(float)), abs(x.upper.astype(float))))
    return unknown_where(largest > float(jnp.iinfo(lower.dtype).max) * (1 - 1e-6), Interval(lower, upper, False, ~varies))


def _summed(lower: Scalar, upper: Scalar, largest: Scalar, nan: Scalar, same: Scalar, count: int) -> Interval:
    """Sums with the error of any order of adding ``count`` numbers whose magnitudes add up to ``largest``."""
    error = largest * float((count + ARITHMETIC) * jnp.finfo(lower.dtype).eps)
    return Interval(lower - error, upper + error, nan, same)


def reduced(operation: Callable) -> Rule:
    """The rule of the largest, the smallest, all or any along axes: exact."""

    def rule(x: Interval, *, axes: Sequence[int], **_: Any) -> Interval:
        axes, x = tuple(axes), full(x)
        nan = jnp.broadcast_to(may_be_nan(x), x.lower.shape).any(axes)
        return Interval(operation(x.lower, axis=axes), operation(x.upper, axis=axes), nan, x.same.all(axes), x.positive)

    return rule


def running(operation: Callable) -> Rule:
    """The rule of the largest or the smallest so far."""

    def rule(x: Interval, **params: Any) -> Interval:
        x = full(x)
        nan = jnp.broadcast_to(may_be_nan(x), x.lower.shape)
        seen, differs = (lax.cummax(jnp.asarray(flag, np.int32), **params) > 0 for flag in (nan, ~x.same))
        return Interval(operation(x.lower, **params), operation(x.upper, **params), seen, ~differs, x.positive)

    return rule


def reduce_prod(x: Interval, *, axes: Sequence[int], **_: Any) -> Interval:
    """Product along axes."""
    return reduce(mul, _elements(x, axes))


def cumprod(x: Interval, *, axis: int, reverse: bool) -> Interval:
    """Running product."""
    parts = _elements(x, (axis,))
    products = parts[-1:] if reverse else parts[:1]
    for part in parts[-2::-1] if reverse else parts[1:]:
        products.append(mul(products[-1], part))
    return stacked(products[::-1] if reverse else products, axis)


def _elements(x: Interval, axes: Sequence[int]) -> list[Interval]:
    """Slices along axes that are flattened into one."""
    first = _each(lambda leaf: jnp.moveaxis(leaf, axes, range(len(axes))), x)
    flat = _each(lambda leaf: leaf.reshape(-1, *leaf.shape[len(axes) :]), first)
    return [_each(lambda leaf, i=i: leaf[i], flat) for i in range(flat.lower.shape[0])]


def stacked(parts: Sequence[Interval], axis: int = 0) -> Interval:
    """Intervals of one shape along a new axis."""
    return _each(lambda *leaves: jnp.stack(leaves, axis), *parts)


def argument(x: Interval, *, axes: Sequence[int], index_dtype: Any, **_: Any) -> Interval:
    """The place of the largest or the smallest: any along the axis."""
    x, axes = full(x), tuple(axes)
    shape = [n for axis, n in enumerate(x.lower.shape) if axis not in axes]
    last = math.prod(x.lower.shape[axis] for axis in axes) - 1
    return Interval(jnp.zeros(shape, index_dtype), jnp.full(shape, last, index_dtype), False, x.same.all(axes))


def sort(*operands: Any, dimension: int, **_: Any) -> Interval:
    """One array in ascending order: its sorted bounds. NaN comes last, so that where there may be some nothing is known."""
    first, *others = operands
    if others:
        raise NoBounds
    x = full(first)
    nan = jnp.broadcast_to(may_be_nan(x), x.lower.shape).any(dimension, keepdims=True)
    same = jnp.broadcast_to(x.same.all(dimension, keepdims=True), x.same.shape)
    result = Interval(jnp.sort(x.lower, dimension), jnp.sort(x.upper, dimension), False, same, x.positive)
    return unknown_where(jnp.broadcast_to(nan, x.lower.shape), result)


def top_k(x: Interval, *, k: int, axis: int | None = None, **_: Any) -> tuple[Interval, Interval]:
    """The largest along an axis (the last if none is named), in descending order, and their places, which may be any.

    NaN comes first, so that where there may be some nothing is known.
    """
    x = full(x)
    along: int = x.lower.ndim - 1 if axis is None else axis
    nan = jnp.broadcast_to(may_be_nan(x), x.lower.shape).any(along, keepdims=True)
    same = x.same.all(along, keepdims=True)
    lower, upper = (lax.slice_in_dim(jnp.flip(jnp.sort(end, along), along), 0, k, axis=along) for end in (x.lower, x.upper))
    values = Interval(lower, upper, False, jnp.broadcast_to(same, lower.shape), x.positive)
    places = Interval(
        jnp.zeros(lower.shape, np.int32), jnp.full(lower.shape, x.lower.shape[along] - 1, np.int32), False, values.same
    )
    return unknown_where(jnp.broadcast_to(nan, lower.shape), values), places


def nth_lowest(x: Interval, *, n: int) -> Interval:
    """The n-th lowest along the last axis: that of the bounds. Where there may be NaN nothing is known."""
    x = full(x)
    nan = jnp.broadcast_to(may_be_nan(x), x.lower.shape).any(-1)
    lower, upper = (order_statistic.nth_lowest(end, n) for end in (x.lower, x.upper))
    return unknown_where(nan, Interval(lower, upper, False, x.same.all(-1), x.positive))


# --- matrices ----------------------------------------------------------------------------------------------------------


def dot_general(a: Any, b: Any, **params: Any) -> Interval:
    """Product of matrices: sharp where one of them is known, otherwise by midpoint and radius.

    Never ``same``: how the terms are added up depends on the place in the batch.
    """

    def dot(x: Any, y: Any) -> Scalar:
        return lax.dot_general_p.bind(x, y, **params)

    if isinstance(a, Interval) and isinstance(b, Interval):
        lower, upper = _middle_and_radius(dot, full(a), full(b))
    elif isinstance(a, Interval):
        lower, upper = _split_by_sign(dot, full(a), b)
    else:
        lower, upper = _split_by_sign(lambda x, y: dot(y, x), full(b), a)
    a, b = full(a), full(b)
    if not is_float(lower):
        return everything(lower)
    nan = dot(a.nan.astype(lower.dtype), jnp.ones_like(b.lower)) + dot(jnp.ones_like(a.lower), b.nan.astype(lower.dtype)) > 0
    largest = dot(*(jnp.maximum(abs(x.lower), abs(x.upper)) for x in (a, b)))
    contracted = math.prod(a.lower.shape[axis] for axis in params["dimension_numbers"][0][0])
    return _summed(lower, upper, 4 * largest, nan, False, contracted)


def _split_by_sign(dot: Callable, x: Interval, weights: Any) -> tuple[Scalar, Scalar]:
    zero = jnp.zeros_like(weights)
    plus, minus = jnp.maximum(weights, zero), jnp.minimum(weights, zero)
    return dot(x.lower, plus) + dot(x.upper, minus), dot(x.upper, plus) + dot(x.lower, minus)


def _middle_and_radius(dot: Callable, a: Interval, b: Interval) -> tuple[Scalar, Scalar]:
    (middle_a, radius_a), (middle_b, radius_b) = ((x.lower / 2 + x.upper / 2, x.upper / 2 - x.lower / 2) for x in (a, b))
    middle = dot(middle_a, middle_b)
    radius = dot(abs(middle_a), radius_b) + dot(radius_a, abs(middle_b)) + dot(radius_a, radius_b)
    return middle - radius, middle + radius
