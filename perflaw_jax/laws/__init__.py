"""The registry of laws: name -> formula, metric, source and the range it holds for.

A law is a pytree whose leaves are its coefficients, with ``raw(design) -> score before its clamp`` and a non-decreasing
``clamp(raw) -> score``, for one design of scalars. It knows nothing of grids, budgets or files.
"""

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from perflaw_jax.design import Design, Scalar, nearest
from perflaw_jax.laws.performance import PerformanceDense as PerformanceDense
from perflaw_jax.laws.performance import PerformanceMoE as PerformanceMoE


class Law(Protocol):
    """What the engine asks of a law."""

    def raw(self, design: Design) -> Scalar:
        """The score of one design before its clamp."""
        ...

    def clamp(self, raw: Scalar) -> Scalar:
        """The score from the raw score: non-decreasing."""
        ...


@dataclass(frozen=True)
class LawEntry:
    """A law with what a reader must know before trusting it."""

    name: str
    law: Any  # a Law
    metric: str
    unit: str
    source: str
    valid: str  # the range it was fitted on, in words
    experts: bool  # whether it scores mixture-of-experts designs
    higher_is_better: bool = True
    note: str = ""  # shown wherever the law is shown
    least: Mapping[str, float] = field(default_factory=dict)  # setting -> the least value that makes sense

    def with_settings(self, settings: Mapping[str, float]) -> "LawEntry":
        """The entry with coefficients replaced; a setting that the law does not have is a ValueError."""
        if not settings:
            return self
        allowed = getattr(self.law, "settings", None) or getattr(self.law, "_fields", ())
        for key in settings:
            if key not in allowed:
                hint = nearest(key, allowed) if allowed else "it has no settings"
                raise ValueError(f"law_settings.{key}: {self.name} has no such setting; {hint}")
            if settings[key] < self.least.get(key, -float("inf")):
                raise ValueError(f"law_settings.{key}: must be at least {self.least[key]:g}, not {settings[key]:g}")
        return LawEntry(**{**self.__dict__, "law": self.law._replace(**settings)})

    def check(self, score: Callable[..., Scalar], *arguments: Any, experts: bool) -> None:
        """Trace ``score``, which calls the law on one design; whatever a user's law raises becomes one ValueError.

        Args:
            score: function of ``arguments`` that returns the law's raw score.
            arguments: arrays, or shapes and types alone.
            experts: whether any design has experts, which not every law can score.
        """
        if experts and not self.experts:
            raise ValueError(f"law: {self.name} scores dense models only; drop num_experts or take a law for experts")
        try:
            shape = jax.eval_shape(score, *arguments).shape
        except Exception as error:
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise ValueError(f"law: {self.name} cannot be traced on one design: {reason[0]}") from error
        if shape != ():
            raise ValueError(f"law: {self.name} must return a scalar for one design, it returned shape {shape}")


@jax.tree_util.register_static
@dataclass(frozen=True)
class FunctionLaw:
    """A user's plain function ``score(design, **settings)``: no coefficients to trace, no clamp."""

    function: Callable[..., Scalar]

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


@jax.tree_util.register_dataclass
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


_PAPER = "Wu & Tang, Performance Law of Large Language Models, arXiv 2408.09895"

LAWS: dict[str, LawEntry] = {
    entry.name: entry
    for entry in (
        LawEntry(
            name="performance-dense",
            law=PerformanceDense(),
            metric="MMLU",
            unit="points",
            source=f"{_PAPER}; constants from the authors' planner (plan.py, commit 3ffa946)",
            valid="dense models of 2024, 0.5B to 1000B parameters; overrates models before 2024 by 10 to 20 points",
            experts=False,
            least={"gamma": 1.0},
        ),
        LawEntry(
            name="performance-moe",
            law=PerformanceMoE(),
            metric="MMLU",
            unit="points",
            source="reconstruction by this project from third-party accounts of arXiv 2408.09895",
            valid="MoE models trained on more than 2.5 trillion tokens (mean absolute error 7.2 on the 11 in data/models.csv)",
            experts=True,
            note="reconstruction: the paper's MoE form and constants were not available",
            least={"gamma": 1.0},
        ),
    )
}


def find_law(name: str) -> LawEntry:
    """The registry's entry of that name, or the user's own law ``package.module:object``; ValueError otherwise.

    The object may be a ``LawEntry``, an object with ``raw`` and ``clamp`` (or a class of such), or a function
    ``score(design)`` written in jax.numpy; its attribute ``higher_is_better = False`` says that less is better.
    """
    if name in LAWS:
        return LAWS[name]
    module, colon, attribute = name.partition(":")
    if not (colon and module and attribute):
        raise ValueError(f"law: no law named {name!r}; {nearest(name, LAWS)}, or 'package.module:object' for your own")
    found = _load(module, attribute)
    if isinstance(found, LawEntry):
        return found
    if hasattr(found, "raw") and hasattr(found, "clamp"):
        law = found if _is_pytree(found) else OpaqueLaw(found)
    elif callable(found):
        law = FunctionLaw(found)
    else:
        raise ValueError(f"law: {name} is neither a function of a design nor an object with raw and clamp")
    return LawEntry(
        name=name,
        law=law,
        metric="score",
        unit="",
        source=f"the user's own law {name}",
        valid="unknown",
        experts=True,
        higher_is_better=getattr(found, "higher_is_better", True),
    )


def _load(module: str, attribute: str) -> Any:
    try:
        found = getattr(importlib.import_module(module), attribute)
        return found() if inspect.isclass(found) else found
    except Exception as error:  # whatever a user's module raises is the user's mistake, to be told in one line
        reason = " ".join(str(error).split())
        raise ValueError(f"law: cannot load {module}:{attribute}: {type(error).__name__}: {reason}") from error


def _is_pytree(law: Any) -> bool:
    return not jax.tree_util.treedef_is_leaf(jax.tree_util.tree_structure(law))
