"""Laws made of other things: a user's function or object, and a law turned round."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from perflaw_jax.design import Design, Scalar
from perflaw_jax.laws.pytree import pytree


@jax.tree_util.register_static
@dataclass(frozen=True, eq=False)
class FunctionLaw:
    """A user's plain function ``score(design, **settings)``: no coefficients to trace, no clamp.

    It equals itself alone, so that no program is taken over from an earlier law of the same function: what the function reads
    beside the design is no argument of the program.
    """

    function: Callable[..., Scalar]
    domains = None

    def raw(self, design: Design) -> Scalar:
        """The function's value."""
        return 1.0 * jnp.asarray(self.function(design))  # it may return a Python number, the same for all designs

    def clamp(self, raw: Scalar) -> Scalar:
        """No clamp."""
        return raw

    @property
    def settings(self) -> tuple[str, ...]:
        """Keyword parameters of the function beyond the design."""
        try:
            return tuple(inspect.signature(self.function).parameters)[1:]
        except (TypeError, ValueError):  # a builtin does not say
            return ()

    def _replace(self, **settings: float) -> "FunctionLaw":
        return FunctionLaw(partial(self.function, **settings))


@jax.tree_util.register_static
@dataclass(frozen=True, eq=False)
class OpaqueLaw:
    """A user's object with ``raw`` and ``clamp`` that is no pytree: its coefficients are constants of the program."""

    law: Any

    def raw(self, design: Design) -> Scalar:
        """The object's raw score."""
        return 1.0 * jnp.asarray(self.law.raw(design))

    def clamp(self, raw: Scalar) -> Scalar:
        """The object's clamp."""
        return self.law.clamp(raw)

    @property
    def domains(self) -> tuple[str, ...] | None:
        """The data domains that the object says it tells apart."""
        return getattr(self.law, "domains", None)


@pytree
@dataclass(frozen=True)
class Negated:
    """A law of which less is better, turned round so that the engine can always maximise."""

    law: Any

    def raw(self, design: Design) -> Scalar:
        """Minus the law's raw score."""
        return -self.law.raw(design)

    def clamp(self, raw: Scalar) -> Scalar:
        """Minus the clamp of minus the raw score: non-decreasing as well."""
        return -self.law.clamp(-raw)
