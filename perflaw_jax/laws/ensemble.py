"""Laws whose coefficients are known only so well: an ensemble of them, and ranking by a quantile of its scores."""

from dataclasses import dataclass, field
from math import ceil
from typing import Any, NamedTuple

import jax

from perflaw_jax.design import Design, Scalar
from perflaw_jax.laws.order_statistic import nth_lowest
from perflaw_jax.laws.pytree import pytree


class Ensemble(NamedTuple):
    """One law with many sets of coefficients, as a bootstrap or several seeds leave them."""

    point: Any  # the law to quote
    members: Any  # the same pytree, each leaf with a leading axis [n]

    @property
    def inputs(self) -> tuple[str, ...]:
        """The quantities that the law depends on."""
        return self.point.inputs

    @property
    def domains(self) -> tuple[str, ...]:
        """The data domains that the law tells apart."""
        return getattr(self.point, "domains", ())

    def raw(self, design: Design) -> Scalar:
        """The quoted law's raw score."""
        return self.point.raw(design)

    def clamp(self, raw: Scalar) -> Scalar:
        """The quoted law's clamp."""
        return self.point.clamp(raw)

    def scores(self, design: Design) -> Scalar:
        """Every member's score of one design, [n]."""
        return jax.vmap(lambda law: law.clamp(law.raw(design)))(self.members)

    def quantile(self, design: Design, share: float) -> Scalar:
        """The least score that at least ``share`` of the members do not exceed: always one of theirs."""
        scores = self.scores(design)
        return nth_lowest(scores, rank(share, len(scores)))


def rank(share: float, count: int) -> int:
    """Index of the quantile among ``count`` scores in ascending order.

    >>> rank(0.05, 100), rank(0.5, 3), rank(0.95, 100)
    (4, 1, 94)
    """
    return max(0, ceil(share * count - 1e-9) - 1)


@pytree
@dataclass(frozen=True)
class Quantile:
    """A law that scores by a quantile of what another law believes: pessimists rank by a low one."""

    law: Any  # with ``quantile``
    share: float = field(metadata={"static": True})

    @property
    def domains(self) -> tuple[str, ...]:
        """The data domains that the law tells apart."""
        return getattr(self.law, "domains", ())

    def raw(self, design: Design) -> Scalar:
        """The quantile of the clamped scores."""
        return self.law.quantile(design, self.share)

    def clamp(self, raw: Scalar) -> Scalar:
        """Nothing more to clamp."""
        return raw
