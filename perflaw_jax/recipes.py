"""How each law is fitted: which of its coefficients, from where, and by which measure of error."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from perflaw_jax.design import nearest
from perflaw_jax.laws.entry import coefficients, with_coefficients
from perflaw_jax.laws.loss import Chinchilla, ComputeLoss, KaplanJoint, Overtraining
from perflaw_jax.laws.mmlu import ComputeSigmoid, MmluCalibrated
from perflaw_jax.laws.performance import PerformanceDense, PerformanceMoE
from perflaw_jax.laws.scores import CompressionScore, LinearScore, LogisticScore, TopOneError
from perflaw_jax.laws.two_stage import FlopsToPerformance

LEAST_SQUARES = float("inf")  # a Huber threshold that no residual passes


@dataclass(frozen=True)
class Recipe:
    """How a law, or a map from a loss to a score, is fitted.

    Attributes:
        law: coefficients around which starts are drawn; those that are not fitted stay as they are.
        target: what the law predicts: "loss" or "score".
        spread: fitted coefficient -> how far starts lie from there to either side, in its logarithm where it is positive.
        positive: coefficients fitted by their logarithm.
        logarithmic: the residual is ln(predicted) - ln(observed); else predicted - observed.
        delta: Huber threshold of the residual: what is further off counts in proportion, not squared.
        clamped: the prediction is the clamped score, so that runs at chance inform the floor and not the slope.
    """

    law: Any
    target: str
    spread: Mapping[str, float]
    positive: frozenset[str] = field(default_factory=frozenset)
    logarithmic: bool = False
    delta: float = LEAST_SQUARES
    clamped: bool = False

    @property
    def inputs(self) -> tuple[str, ...]:
        """What a row must hold beside the target."""
        return self.law.inputs

    def holding(self, values: Mapping[str, float]) -> "Recipe":
        """The recipe with coefficients held at given values."""
        self._check(values)
        spread = {name: width for name, width in self.spread.items() if name not in values}
        if not spread:
            raise ValueError("--hold: nothing is left to fit")
        return replace(self, law=with_coefficients(self.law, values), spread=spread)

    def freeing(self, values: Mapping[str, float]) -> "Recipe":
        """The recipe with coefficients fitted that were held, from given values."""
        self._check(values)
        widths = {name: max(abs(value), 0.1) for name, value in values.items() if name not in self.spread}
        return replace(self, law=with_coefficients(self.law, values), spread={**self.spread, **widths})

    def _check(self, names: Mapping[str, float]) -> None:
        known = [*coefficients(self.law)]
        for name in names:
            if name not in known:
                raise ValueError(f"no coefficient named {name!r}; {nearest(name, known)}")


def _logs(law: Any, target: str, spread: Mapping[str, float], **options: Any) -> Recipe:
    return Recipe(law, target, spread, frozenset(spread), **options)


_LOSS = {"logarithmic": True, "delta": 1e-3}  # as Hoffmann et al. fit; the sum, not the mean, of the Huber losses
_WEIGHTS = {"layers": 10.0, "hidden": 5.0, "ffn": 5.0, "tokens": 5.0, "bias": 40.0}
_SATURATION = {"limit": 1.0, "size_scale": 1.0, "size_exponent": 0.2, "token_scale": 1.0, "token_exponent": 0.2}
_COMPUTE = {"scale_flops": 12.0, "exponent": 1.0}

LOSS_LAWS: dict[str, Recipe] = {  # a loss from a design
    "kaplan": _logs(ComputeLoss(), "loss", _COMPUTE, **_LOSS),
    "kaplan-joint": _logs(
        KaplanJoint(),
        "loss",
        {"scale_params": 8.0, "scale_tokens": 8.0, "exponent_params": 1.0, "exponent_tokens": 1.0},
        **_LOSS,
    ),
    "chinchilla": _logs(
        Chinchilla(),
        "loss",
        {"scale_params": 4.0, "scale_tokens": 4.0, "irreducible": 1.0, "exponent_params": 0.7, "exponent_tokens": 0.7},
        **_LOSS,
    ),
    "overtraining": _logs(
        Overtraining(), "loss", {"irreducible": 1.0, "scale_params": 3.0, "scale_tokens": 3.0, "exponent": 0.7}, **_LOSS
    ),
    "power-law": _logs(ComputeLoss(8.77e29, 0.0466), "loss", _COMPUTE, logarithmic=True),
    "power-law-irreducible": _logs(ComputeLoss(1e22, 0.09, 1.4), "loss", {**_COMPUTE, "irreducible": 1.0}),
}

SCORE_MAPS: dict[str, Recipe] = {  # a score from a loss
    "linear": Recipe(LinearScore(1.0, -0.2), "score", {"intercept": 1.0, "slope": 0.3}),
    "logistic": Recipe(LogisticScore(2.2, 2.5), "score", {"middle": 1.0, "steepness": 1.0}, frozenset({"steepness"})),
    "top-one-error": _logs(TopOneError(), "score", {"most": 0.3, "gain": 1.5, "rate": 1.0}),
    "compression": Recipe(CompressionScore(), "score", {"intercept": 100.0, "slope": 100.0}),
}

SCORE_LAWS: dict[str, Recipe] = {  # a score from a design
    "flops-to-performance": _logs(FlopsToPerformance(1e22, 0.15), "score", _COMPUTE, logarithmic=True),
    "performance-dense": Recipe(PerformanceDense(), "score", _WEIGHTS, delta=2.0, clamped=True),
    "performance-moe": Recipe(PerformanceMoE(), "score", {**_WEIGHTS, "expansion_exponent": 0.5}, delta=2.0, clamped=True),
    "mmlu-calibrated": Recipe(MmluCalibrated(), "score", _SATURATION, delta=2.0),  # runs of one time: no progress to fit
    "compute-sigmoid": Recipe(ComputeSigmoid(), "score", {"intercept": 3.0, "slope": 0.5}, delta=2.0),
}

RECIPES = {**LOSS_LAWS, **SCORE_MAPS, **SCORE_LAWS}
