"""What is known of a law beside its formula: metric, source, the range it holds for, and how wrong it may be."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from perflaw_jax.design import FRACTION, Design, Scalar, is_fraction, nearest


class Law(Protocol):
    """What the engine asks of a law."""

    def raw(self, design: Design) -> Scalar:
        """The score of one design before its clamp."""
        ...

    def clamp(self, raw: Scalar) -> Scalar:
        """The score from the raw score: non-decreasing."""
        ...


class Support(NamedTuple):
    """The data that a law was fitted on, as boxes in its inputs: one per run (a point), or one for a published range."""

    inputs: tuple[str, ...]  # quantities of the design, all positive
    low: np.ndarray  # float64 [boxes, inputs]
    high: np.ndarray
    reach: float = 0.0  # distance from the nearest box that is still within the data: the widest gap between its own runs

    @staticmethod
    def of_ranges(ranges: Mapping[str, tuple[float, float]]) -> "Support":
        """One box: what a publication says of its data."""
        low, high = np.array(list(ranges.values()), float).T
        return Support(tuple(ranges), low[None], high[None])


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
    support: Support | None = None  # what it was fitted on, where that is known

    @property
    def settings(self) -> tuple[str, ...]:
        """What ``law_settings`` may name: the law's coefficients, those of a part as ``part.coefficient``."""
        own = getattr(self.law, "settings", None)
        return tuple(self.quoted) if own is None else own

    @property
    def quoted(self) -> dict[str, Any]:
        """The coefficients of the quoted law by name, as plain numbers and lists."""
        point = coefficients(getattr(self.law, "point", self.law))
        return {name: np.asarray(leaf, float).tolist() for name, leaf in point.items()}

    @property
    def domains(self) -> tuple[str, ...] | None:
        """The data domains that the law tells apart; None where that is the user's own affair."""
        return getattr(self.law, "domains", () if hasattr(self.law, "inputs") else None)

    def open_share(self, named: Iterable[str]) -> str | None:
        """The share of the data domain that takes what the ``named`` fields leave; ValueError unless that is clear."""
        given = [name for name in named if is_fraction(name)]
        if self.domains is None:
            return None
        known = [FRACTION + domain for domain in self.domains]
        for name in given:
            if name not in known:
                hint = nearest(name, known) if known else "it knows no data domains"
                raise ValueError(f"{name}: unknown to {self.name}; {hint}")
        missing = [name for name in known if name not in given]
        if len(missing) > 1:
            raise ValueError(f"{missing[0]} is missing: {self.name} needs all but one of {', '.join(known)}")
        return missing[0] if missing else None

    def with_settings(self, settings: Mapping[str, float]) -> "LawEntry":
        """The entry with coefficients replaced; a setting that the law does not have is a ValueError."""
        if not settings:
            return self
        for key in settings:
            if key not in self.settings:
                hint = nearest(key, self.settings) if self.settings else "it has no settings"
                raise ValueError(f"law_settings.{key}: {self.name} has no such setting; {hint}")
            if settings[key] < self.least.get(key, -float("inf")):
                raise ValueError(f"law_settings.{key}: must be at least {self.least[key]:g}, not {settings[key]:g}")
        if hasattr(self.law, "settings"):
            return replace(self, law=self.law._replace(**settings))
        if lists := [key for key in settings if isinstance(self.quoted[key], list)]:
            raise ValueError(
                f"law_settings.{lists[0]}: is {np.size(self.quoted[lists[0]])} numbers in {self.name}, not one to set"
            )
        return replace(self, law=with_coefficients(self.law, settings))

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


def coefficients(law: Any) -> dict[str, Any]:
    """The law's coefficients by name, those of a part as ``part.coefficient``."""
    return {_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(law)}


def with_coefficients(law: Any, values: Mapping[str, Any]) -> Any:
    """The law with some coefficients replaced, by name; of an ensemble those of every member."""
    if hasattr(law, "members"):
        size = len(jax.tree_util.tree_leaves(law.members)[0])
        everywhere = {name: np.repeat(np.asarray(value, float)[None], size, axis=0) for name, value in values.items()}
        point, members = with_coefficients(law.point, values), with_coefficients(law.members, everywhere)
        return law._replace(point=point, members=members)
    return jax.tree_util.tree_map_with_path(lambda path, leaf: values.get(_name(path), leaf), law)


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")
