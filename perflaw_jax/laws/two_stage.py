"""Two laws in a row: any law of the loss, then any map from the loss to a score."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax.numpy as jnp

from perflaw_jax.accounting import quantity
from perflaw_jax.design import Design, Scalar
from perflaw_jax.laws.pytree import pytree


class TwoStage(NamedTuple):
    """A score by way of the loss: ``score(loss(design))``.

    Source: FLP, Chen et al., arXiv 2410.08527, for training FLOPs -> loss -> performance.
    """

    loss: Any  # a law with ``raw``
    score: Any  # a map with ``of_loss`` and ``clamp``

    @property
    def inputs(self) -> tuple[str, ...]:
        """The quantities that the loss depends on."""
        return self.loss.inputs

    @property
    def domains(self) -> tuple[str, ...]:
        """The data domains that the loss depends on."""
        return getattr(self.loss, "domains", ())

    def of(self, *inputs: Scalar) -> Scalar:
        """The raw score from the law's inputs."""
        return self.score.of_loss(self.loss.of(*inputs))

    def raw(self, design: Design) -> Scalar:
        """The score before its clamp."""
        return self.score.of_loss(self.loss.raw(design))

    def clamp(self, raw: Scalar) -> Scalar:
        """As the score has it."""
        return self.score.clamp(raw)


@pytree
@dataclass(frozen=True)
class FlopsToPerformance:
    """Score of a task from training FLOPs without a loss between: the baseline that FLP is held against.

    ``P = (C / C_M)^alpha``, at most ``top``

    C training FLOPs, counted as the quantity ``flops`` names, P in the unit of ``top``. The form is quoted from memory: the
    paper's is not known.

    Source: the baseline FP of Chen et al., arXiv 2410.08527; constants refitted on the OLMo ladder, see ``laws/__init__``.

    >>> FlopsToPerformance(scale_flops=1e20, exponent=0.25, top=100.0).of(16e20).round(4).tolist()
    2.0
    """

    scale_flops: Scalar  # C_M
    exponent: Scalar  # alpha
    top: Scalar = 1.0
    flops: str = field(default="non_embedding_flops", metadata={"static": True})

    @property
    def inputs(self) -> tuple[str, ...]:
        """The quantity that counts as C."""
        return (self.flops,)

    def of(self, flops: Scalar) -> Scalar:
        """The score before its clamp, from the law's input."""
        return jnp.exp(self.exponent * (jnp.log(flops) - jnp.log(self.scale_flops)))

    def raw(self, design: Design) -> Scalar:
        """The score before its clamp."""
        return self.of(quantity(self.flops, design))

    def clamp(self, raw: Scalar) -> Scalar:
        """No more than there is."""
        return jnp.minimum(raw, self.top)
