"""Slopes of any JAX function over a box of inputs, and with them upper bounds that a function's rise and fall make sharper.

Where a function never falls along an input, it is highest at that input's upper end, whatever the others are: its bound is that
of the box's side, in which the input occurs as one number. Interval arithmetic alone takes the occurrences for independent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from perflaw_jax.bounds.derivatives import DERIVATIVES, LINEAR, unknown
from perflaw_jax.bounds.interpreter import Interpreter, bound
from perflaw_jax.bounds.intervals import Interval, finished, is_float, lift, may_be_nan, where
from perflaw_jax.bounds.table import CALLS, MOVES, RULES

ROUNDING = 1024  # machine epsilons, of the magnitude over the whole box, that rounding may take from a rise
CANCELLED = 256  # times smaller than its operands: of so small a sum or difference rounding leaves too little to know its slope

Slopes = Mapping[int, Interval]  # place of the input -> bounds of the derivative along it; zero along those not named


def highest(function: Callable[[Mapping[str, Any]], Any]) -> Callable[[Mapping[str, Interval]], Interval]:
    """From a function of named numbers, a function of named intervals: its bounds, the upper one as sharp as slopes make it.

    ``highest(f)(inputs)`` holds what ``bound(f)(inputs)`` holds. f gives one float.

    Raises:
        UnboundedPrimitive: see ``bound``.
    """

    def sharpened(inputs: Mapping[str, Interval]) -> Interval:
        names = list(inputs)
        value, slopes, doubt, epsilon = _with_slopes(
            lambda *points: function(dict(zip(names, points, strict=True))), [*inputs.values()]
        )
        value = finished(value)
        sure = ~(jnp.asarray(value.nan) | doubt)  # where it may be undefined, what lies between two points says nothing
        side = {}
        for place, (name, x) in enumerate(inputs.items()):
            slope = slopes.get(place)
            rises, falls = (sure, sure) if slope is None else (sure & sign for sign in _signs(slope))
            lower, upper = where(rises, x.upper, x.lower), where(falls & ~rises, x.lower, x.upper)
            side[name] = replace(x, lower=lower, upper=upper)
        upper = bound(function)(side).upper + ROUNDING * epsilon * (1 + abs(value.lower) + abs(value.upper))
        return replace(value, upper=where(upper < value.upper, upper, value.upper))

    return sharpened


def _signs(slope: Interval) -> tuple[Any, Any]:
    """Whether a function surely never falls, and whether it surely never rises."""
    known = ~jnp.asarray(may_be_nan(slope))
    return known & (slope.lower >= 0), known & (slope.upper <= 0)


def _with_slopes(function: Callable, inputs: Sequence[Interval]) -> tuple[Interval, Slopes, Any, float]:
    """What ``bound`` says of a function's result, its slopes, whether these are in doubt, and the coarsest epsilon in it."""
    points = [jax.ShapeDtypeStruct(x.lower.shape, x.lower.dtype) for x in inputs]
    with np.errstate(all="ignore"):
        jaxpr = jax.make_jaxpr(function)(*points)
    interpreter = _SlopeInterpreter(inputs)
    (value,) = interpreter.run(jaxpr.jaxpr, jaxpr.consts, inputs)
    return lift(value), interpreter.slopes(value), interpreter.doubt, interpreter.epsilon


class _SlopeInterpreter(Interpreter):
    """Keeps beside every Interval how it moves with each input (forward differentiation, in intervals)."""

    def __init__(self, inputs: Sequence[Interval]) -> None:
        super().__init__()
        self._count = len(inputs)
        self.doubt: Any = False
        self.epsilon = 0.0
        ones = [np.ones(np.shape(x.lower), x.lower.dtype) for x in inputs]
        self._slopes: dict[int, Slopes] = {id(x): {i: lift(one)} for i, (x, one) in enumerate(zip(inputs, ones, strict=True))}

    def slopes(self, value: Any) -> Slopes:
        """Those of a value: none of what does not vary, anything where no rule has told."""
        if not isinstance(value, Interval):
            return {}
        return self._slopes.get(id(value)) or self._unknown(value)

    def _unknown(self, value: Interval) -> Slopes:
        return dict.fromkeys(range(self._count), unknown(value))

    def _apply(self, equation: Any, operands: list) -> list:
        results = super()._apply(equation, operands)
        name = equation.primitive.name
        if name in MOVES and len(results) > 1:
            self._cut(equation, operands, results)
        elif name not in CALLS and len(results) == 1 and isinstance(results[0], Interval):
            result = results[0]
            if not any(result is operand for operand in operands):  # else it has its slopes already
                self._slopes[id(result)] = self._chained(equation, operands, result)
        return results

    def _cut(self, equation: Any, operands: list, parts: list) -> None:
        """The slopes of the parts that an array is cut into."""
        cut = super()._apply
        if isinstance(operands[0], Interval) and is_float(operands[0].lower):
            slopes = {i: cut(equation, [slope]) for i, slope in self.slopes(operands[0]).items()}
            for k, part in enumerate(parts):
                self._slopes[id(part)] = {i: of_parts[k] for i, of_parts in slopes.items()}

    def _chained(self, equation: Any, operands: list, result: Interval) -> Slopes:
        """The slopes of an equation's result from those of its operands."""
        if not is_float(result.lower):
            return self._unknown(result)
        self.epsilon = max(self.epsilon, float(jnp.finfo(result.lower.dtype).eps))
        name, real = equation.primitive.name, [is_float(lift(operand).lower) for operand in operands]
        known = [
            self.slopes(operand) if of_reals or not isinstance(operand, Interval) else self._unknown(result)
            for operand, of_reals in zip(operands, real, strict=True)
        ]
        moving = sorted({place for slopes in known for place in slopes})
        if name in ("add", "sub", "add_any") and operands[0] is not operands[1]:
            large = reduce(lax.max, (_magnitude(operand) for operand in operands))
            self.doubt = self.doubt | (large > CANCELLED * _magnitude(result)).any()
        if all(real) and (name in LINEAR or name in MOVES):
            return {i: self._linear(equation, operands, [slopes.get(i) for slopes in known]) for i in moving}
        if name not in DERIVATIVES:
            return self._unknown(result)
        rule = DERIVATIVES[name]
        return {i: rule(result, operands, [slopes.get(i) for slopes in known], **equation.params) for i in moving}

    def _linear(self, equation: Any, operands: list, slopes: list[Interval | None]) -> Interval:
        """The primitive itself, of the slopes."""
        name, params = equation.primitive.name, equation.params
        if name in ("add", "add_any") and None in slopes:
            return next(slope for slope in slopes if slope is not None)
        zeros = [np.zeros(np.shape(lift(x).lower), lift(x).lower.dtype) for x in operands]
        filled = [zero if slope is None else slope for zero, slope in zip(zeros, slopes, strict=True)]
        if name in MOVES:
            (moved,) = super()._apply(equation, filled)
            return moved
        return lift(RULES[name](*filled, **params))


def _magnitude(x: Any) -> Any:
    x = lift(x)
    return lax.max(abs(x.lower), abs(x.upper))
