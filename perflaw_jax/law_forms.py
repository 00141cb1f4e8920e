"""Laws as data and back: the name of a form and its coefficients, as a fitted law's file holds them."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from perflaw_jax.design import nearest
from perflaw_jax.laws.loss import Chinchilla, ComputeLoss, KaplanJoint, Overtraining
from perflaw_jax.laws.mixture import DomainLosses, MixingLosses, ProductLosses, ScoreNetwork, WeightedLoss
from perflaw_jax.laws.mmlu import ComputeSigmoid, MmluCalibrated
from perflaw_jax.laws.performance import PerformanceDense, PerformanceMoE
from perflaw_jax.laws.scores import CompressionScore, LinearScore, LogisticScore, TopOneError
from perflaw_jax.laws.two_stage import FlopsToPerformance, TwoStage

FORMS: dict[str, Any] = {
    "performance-dense": PerformanceDense,
    "performance-moe": PerformanceMoE,
    "mmlu-calibrated": MmluCalibrated,
    "compute-sigmoid": ComputeSigmoid,
    "chinchilla": Chinchilla,
    "compute-loss": ComputeLoss,
    "kaplan-joint": KaplanJoint,
    "overtraining": Overtraining,
    "linear-score": LinearScore,
    "logistic-score": LogisticScore,
    "compression-score": CompressionScore,
    "top-one-error": TopOneError,
    "two-stage": TwoStage,
    "flops-to-performance": FlopsToPerformance,
    "domain-losses": DomainLosses,
    "product-losses": ProductLosses,
    "mixing-losses": MixingLosses,
    "score-network": ScoreNetwork,
    "weighted-loss": WeightedLoss,
}
NAMES = {form: name for name, form in FORMS.items()}


def as_record(law: Any) -> dict[str, Any]:
    """A law as plain data: its ``form``, and every coefficient or part by name."""
    return {"form": NAMES[type(law)], **{name: _plain(getattr(law, name)) for name in _names(type(law))}}


def from_record(record: Mapping[str, Any], where: str = "law") -> Any:
    """The law that plain data describes; a ValueError that begins with ``where`` if there is none."""
    form = record.get("form")
    if form not in FORMS:
        raise ValueError(f"{where}.form: no form named {form!r}; {nearest(str(form), FORMS)}")
    kind, given = FORMS[form], {name: value for name, value in record.items() if name != "form"}
    for name in given:
        if name not in _names(kind):
            raise ValueError(f"{where}.{name}: {form} has no such coefficient; {nearest(name, _names(kind))}")
    try:
        return kind(**{name: _coefficient(value, f"{where}.{name}", name in _words(kind)) for name, value in given.items()})
    except TypeError:
        missing = [name for name in _names(kind) if name not in given]
        raise ValueError(f"{where}: {form} needs {', '.join(missing)}") from None


def _names(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind)) if is_dataclass(kind) else kind._fields


def _words(kind: Any) -> set[str]:
    """The names of what is no number: how a law counts, what it tells apart."""
    return {field.name for field in fields(kind) if field.metadata.get("static")} if is_dataclass(kind) else set()


def _plain(value: Any) -> Any:
    if type(value) in NAMES:
        return as_record(value)
    if isinstance(value, str | tuple):
        return value
    return np.asarray(value, float).tolist()


def _coefficient(value: Any, where: str, word: bool) -> Any:
    if isinstance(value, Mapping):
        return from_record(value, where)
    if word:
        return tuple(value) if isinstance(value, list) else value
    try:
        numbers = np.asarray(value, float)
    except (TypeError, ValueError):
        raise ValueError(f"{where}: must be a number or a list of numbers") from None
    if not np.isfinite(numbers).all():
        raise ValueError(f"{where}: must be finite")
    return float(numbers) if numbers.ndim == 0 else numbers
