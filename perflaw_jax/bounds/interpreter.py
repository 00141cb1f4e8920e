"""Bounds of any JAX function over a box of inputs, by interpreting its jaxpr in interval arithmetic.

Laws, counts and limits are written for one design; ``bound`` turns them into functions of a box of designs. The result is a
plain JAX function: jit it, vmap it over boxes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from perflaw_jax.bounds.arrays import full, moved, stacked
from perflaw_jax.bounds.choices import select_n
from perflaw_jax.bounds.intervals import Interval, NoBounds, concrete, finished, lift
from perflaw_jax.bounds.table import CALLS, MOVES, RULES, SEVERAL

MOST_UNROLLED = 256  # steps of a loop


class UnboundedPrimitive(ValueError):
    """A function uses a primitive that has no interval rule."""

    def __init__(self, name: str, why: str = "has no interval bounds"):
        super().__init__(
            f"bounds: the primitive '{name}' {why}: rewrite the law without it, or use `perflaw sweep` or `--method optuna`"
        )


def bound(function: Callable) -> Callable:
    """From a function of arrays, a function of intervals.

    ``bound(f)(*arguments)`` takes pytrees whose leaves are Intervals or plain arrays, which stand for themselves, and returns
    f's output with an Interval for every leaf: whatever f gives for a choice of points within the intervals lies within.

    Raises:
        UnboundedPrimitive: f uses a primitive without a rule on what varies.
        TypeError: anything that tracing f raises.
    """

    def bounded(*arguments: Any) -> Any:
        leaves, structure = jax.tree.flatten(arguments, is_leaf=_is_interval)
        varying = [i for i, leaf in enumerate(leaves) if _is_interval(leaf)]

        def of_varying(*points: Any) -> Any:
            filled = list(leaves)
            for i, point in zip(varying, points, strict=True):
                filled[i] = point
            with np.errstate(all="ignore"):
                return function(*jax.tree.unflatten(structure, filled))

        points = [jax.ShapeDtypeStruct(leaves[i].lower.shape, leaves[i].lower.dtype) for i in varying]
        jaxpr, shape = jax.make_jaxpr(of_varying, return_shape=True)(*points)
        results = Interpreter().run(jaxpr.jaxpr, jaxpr.consts, [leaves[i] for i in varying])
        return jax.tree.unflatten(jax.tree.structure(shape), [finished(lift(result)) for result in results])

    return bounded


def _is_interval(leaf: Any) -> bool:
    return isinstance(leaf, Interval)


class Interpreter:
    """Evaluates a jaxpr on operands of which some are Intervals; what does not depend on these stays a plain array.

    Equal equations are evaluated once: the program stays small, and the rules see where two operands are one value.
    """

    def __init__(self) -> None:
        self._known: dict[Any, tuple[list, list]] = {}  # equation and identities of its operands -> operands, results

    def run(self, jaxpr: Any, consts: Sequence[Any], arguments: Sequence[Any]) -> list[Any]:
        """Values of a jaxpr's results."""
        values = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *arguments), strict=True))

        def read(atom: Any) -> Any:
            return np.asarray(atom.val, atom.aval.dtype)[()] if hasattr(atom, "val") else values[atom]

        for equation in jaxpr.eqns:
            results = self._evaluate(equation, [read(atom) for atom in equation.invars])
            values.update(zip(equation.outvars, results, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def _evaluate(self, equation: Any, operands: list) -> list:
        key = (equation.primitive, *map(_identity, operands), *_frozen(equation.params))
        if key not in self._known:
            self._known[key] = operands, self._apply(equation, operands)  # operands stay alive, so that identities hold
        return self._known[key][1]

    def _apply(self, equation: Any, operands: list) -> list:
        primitive, params = equation.primitive, equation.params
        name = primitive.name
        if name in CALLS:
            return self.run(*_called(params), operands)
        if name == "call_hi_primitive":  # of later versions of JAX: a function that some of its primitives stand for
            shapes = (jax.ShapeDtypeStruct(atom.aval.shape, atom.aval.dtype) for atom in equation.invars)
            inner = jax.make_jaxpr(partial(primitive.to_lojax, **params))(*shapes)
            return self.run(inner.jaxpr, inner.consts, operands)
        if name == "select_n" and concrete(operands[0]):
            return [operands[1 + int(operands[0])]]
        if not any(map(_is_interval, operands)):
            results = primitive.bind(*operands, **params)
            return list(results) if primitive.multiple_results else [results]
        if name == "cond":
            return self._cond(operands, **params)
        if name == "scan":
            return self._scan(equation, operands)
        if name in MOVES:
            return moved(primitive, operands, params)
        if name not in RULES and name not in SEVERAL:
            raise UnboundedPrimitive(name)
        try:
            return [RULES[name](*operands, **params)] if name in RULES else [*SEVERAL[name](*operands, **params)]
        except NoBounds as error:
            raise UnboundedPrimitive(name, "has no interval bounds for operands that vary like these") from error

    def _cond(self, operands: list, *, branches: Sequence[Any], **_: Any) -> list:
        """All branches, then the hull of those that may be taken."""
        which, *operands = operands
        results = [[lift(x) for x in self.run(branch.jaxpr, branch.consts, operands)] for branch in branches]
        if isinstance(which, Interval):
            low, high = (jnp.clip(end, 0, len(branches) - 1) for end in (which.lower, which.upper))
            which = replace(which, lower=low, upper=high)
        elif not concrete(which):
            which = jnp.clip(which, 0, len(branches) - 1)
        return [select_n(which, *cases) for cases in zip(*results, strict=True)]

    def _scan(self, equation: Any, operands: list) -> list:
        """A loop of known length, step by step."""
        length = equation.params["length"]
        if length > MOST_UNROLLED:
            raise UnboundedPrimitive("scan", f"of more than {MOST_UNROLLED} steps has no interval bounds")
        body, constants = _called(equation.params)
        carries = len(body.outvars) - _stacks(equation.outvars, body.outvars)
        first = len(operands) - _stacks(equation.invars, body.invars)  # of the rows; what is carried comes before them
        fixed, carry, rows = operands[: first - carries], operands[first - carries : first], operands[first:]
        outputs = []
        for step in reversed(range(length)) if equation.params["reverse"] else range(length):
            row = [jax.tree.map(lambda leaf, step=step: leaf[step], full(x) if _is_interval(x) else x) for x in rows]
            results = self.run(body, constants, [*fixed, *carry, *row])
            carry = results[:carries]
            outputs.append([lift(result) for result in results[carries:]])
        if equation.params["reverse"]:
            outputs.reverse()
        return [*carry, *(stacked(parts) for parts in zip(*outputs, strict=True))]


def _stacks(outside: Sequence[Any], inside: Sequence[Any]) -> int:
    """How many of a loop's operands or results hold a row for each of its steps."""
    return sum(len(whole.aval.shape) > len(part.aval.shape) for whole, part in zip(outside, inside, strict=True))


def _called(params: dict) -> tuple[Any, Sequence[Any]]:
    """The jaxpr and the constants of what a primitive of ``CALLS`` calls."""
    inner = next(params[name] for name in ("jaxpr", "call_jaxpr", "fun_jaxpr") if name in params)
    return (inner.jaxpr, inner.consts) if hasattr(inner, "consts") else (inner, ())


def _identity(operand: Any) -> Any:
    """What makes two operands one: numbers by value, everything else by being the same object."""
    return (np.asarray(operand).dtype, np.asarray(operand).tobytes()) if concrete(operand) else id(operand)


def _frozen(params: dict) -> tuple:
    frozen = tuple(sorted(params.items()))
    try:
        hash(frozen)
    except TypeError:
        return (id(params),)
    return frozen
