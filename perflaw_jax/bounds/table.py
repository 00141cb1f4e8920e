"""Which rule bounds which of JAX's primitives, by the primitive's name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax.numpy as jnp
from jax import lax

from perflaw_jax.bounds import arrays, choices, rules
from perflaw_jax.bounds.intervals import TRANSCENDENTAL, Interval
from perflaw_jax.bounds.rules import STEEP, Rule, falling, monotone

CALLS = frozenset(
    {"jit", "pjit", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call", "checkpoint", "remat", "remat2"}
)
"""Primitives that stand for the function inside them."""

MOVES = frozenset(
    {
        *(
            "broadcast_in_dim",
            "concatenate",
            "copy",
            "copy_p",
            "device_put",
            "expand_dims",
            "name",
            "optimization_barrier",
            "pad",
        ),
        *("reshape", "rev", "slice", "split", "squeeze", "stack", "stop_gradient", "tile", "transpose", "unstack"),
    }
)
"""Primitives that move or join elements and change none."""

RULES: dict[str, Rule] = {
    "add": rules.add,
    "add_any": rules.add,
    "sub": rules.sub,
    "mul": rules.mul,
    "div": rules.div,
    "rem": rules.rem,
    "neg": rules.neg,
    "sign": rules.sign,
    "abs": rules.absolute,
    "square": partial(rules.integer_pow, y=2),
    "integer_pow": rules.integer_pow,
    "one_minus_square": lambda x, **_: rules.sub(1.0, rules.integer_pow(x, y=2)),
    "polynomial": rules.polynomial,
    "pow": rules.power,
    "sqrt": rules.sqrt,
    "rsqrt": rules.rsqrt,
    "cbrt": monotone(lax.cbrt),
    "exp": monotone(lax.exp, positive=True, ulps=STEEP),
    "exp2": monotone(lax.exp2, positive=True, ulps=STEEP),
    "expm1": monotone(lax.expm1, ulps=STEEP, slack=TRANSCENDENTAL),
    "log": rules.logarithm(lax.log),
    "log2": rules.logarithm(jnp.log2),
    "log1p": monotone(lax.log1p, least=-1.0, slack=TRANSCENDENTAL),
    "tanh": monotone(lax.tanh, slack=TRANSCENDENTAL),
    "logistic": monotone(lax.logistic, positive=True, ulps=STEEP),
    "erf_inv": monotone(lax.erf_inv, least=-1.0, most=1.0, slack=TRANSCENDENTAL, ulps=STEEP),
    "erf": monotone(lax.erf, slack=TRANSCENDENTAL),
    "erfc": falling(monotone(lambda x: lax.erfc(-x), positive=True, ulps=STEEP)),
    "asin": monotone(lax.asin, least=-1.0, most=1.0, slack=TRANSCENDENTAL),
    "acos": falling(monotone(lambda x: lax.acos(-x), least=-1.0, most=1.0, positive=True, slack=TRANSCENDENTAL)),
    "atan": monotone(lax.atan, slack=TRANSCENDENTAL),
    "sinh": monotone(lax.sinh, ulps=STEEP, slack=TRANSCENDENTAL),
    "cosh": rules.cosh,
    "asinh": monotone(lax.asinh, slack=TRANSCENDENTAL),
    "acosh": monotone(lax.acosh, least=1.0, positive=True, slack=TRANSCENDENTAL),
    "atanh": monotone(lax.atanh, least=-1.0, most=1.0, slack=TRANSCENDENTAL),
    "sin": rules.wave(lax.sin),
    "cos": rules.wave(lax.cos),
    "floor": rules.stepwise(lax.floor),
    "ceil": rules.stepwise(lax.ceil),
    "round": rules.stepwise(lax.round),
    "max": choices.maximum,
    "min": choices.minimum,
    "clamp": choices.clamp,
    "select_n": choices.select_n,
    "lt": choices.less,
    "le": partial(choices.less, equal=True),
    "gt": lambda a, b, **_: choices.less(b, a),
    "ge": lambda a, b, **_: choices.less(b, a, equal=True),
    "lt_to": partial(choices.less, total=True),
    "le_to": partial(choices.less, equal=True, total=True),
    "eq": choices.equal,
    "ne": lambda a, b, **_: choices.negation(choices.equal(a, b)),
    "and": choices.logical(lax.bitwise_and),
    "or": choices.logical(lax.bitwise_or),
    "not": choices.negation,
    "xor": choices.xor,
    "is_finite": choices.is_finite,
    "convert_element_type": choices.convert,
    "gather": arrays.gather,
    "dynamic_slice": arrays.dynamic_slice,
    "reduce_sum": arrays.reduce_sum,
    "reduce_prod": arrays.reduce_prod,
    "reduce_max": arrays.reduced(jnp.max),
    "reduce_min": arrays.reduced(jnp.min),
    "reduce_and": arrays.reduced(jnp.all),
    "reduce_or": arrays.reduced(jnp.any),
    "cumsum": arrays.cumsum,
    "cumprod": arrays.cumprod,
    "cummax": arrays.running(lax.cummax),
    "cummin": arrays.running(lax.cummin),
    "argmax": arrays.argument,
    "argmin": arrays.argument,
    "sort": arrays.sort,
    "nth_lowest": arrays.nth_lowest,
    "dot_general": arrays.dot_general,
}
"""Primitive by name -> its rule; ``cond`` and ``scan`` are the interpreter's."""

SEVERAL: dict[str, Callable[..., tuple[Interval, ...]]] = {"top_k": arrays.top_k}
"""The same for primitives of several results."""
