"""Mixtures of data (FLP-M): one loss per validation domain from the FLOPs and the shares of the sources, then a score.

Shapes: ``D`` validation domains, whose losses are predicted; ``S`` data sources, whose shares of the training data are given.
A law of one source (``domains = ()``) needs no mixture: its share is 1.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp

from perflaw_jax.accounting import quantity
from perflaw_jax.design import FRACTION, Design, Scalar
from perflaw_jax.laws.pytree import pytree

LEAST_SHARE = 1e-12  # a source that is left out counts as so much


Shares = Sequence[Scalar] | Any  # of the S sources: scalars, or one array [S]


def _sum(weights: Scalar, terms: list[Scalar]) -> Scalar:
    """``sum_j weights[:, j] terms_j``, [D]; not as one array: what one axis of a sweep sets is then computed on it alone."""
    weights = jnp.asarray(weights)
    return reduce(jnp.add, [weights[:, j] * term for j, term in enumerate(terms)])


def _positive(share: Scalar) -> Scalar:
    return jnp.maximum(share, LEAST_SHARE)


def _static(default: Any) -> Any:
    return field(default=default, metadata={"static": True})


@dataclass(frozen=True, eq=False, kw_only=True)
class MixtureLosses(ABC):
    """Loss (nats per token) in every validation domain, as a function of training FLOPs and the shares of the sources.

    ``L_i = E_i + exp(b_i) (C / C_ref)^(-alpha_i) exp(effect_i(r))``

    C training FLOPs over all sources, counted as the quantity ``flops`` names; r_j = C_j / C the share of source j. What the
    mixture does, ``effect``, is the form's own. A score is made of the losses by a map such as ``ScoreNetwork``.
    """

    log_scale: Scalar  # b [D]
    exponent: Scalar  # alpha [D]; 0 where all runs had one budget
    irreducible: Scalar  # E [D]
    reference_flops: Scalar  # C_ref
    domains: tuple[str, ...] = _static(())  # names of the sources: the designs name their shares data_fraction.<source>
    losses: tuple[str, ...] = _static(())  # names of the validation domains
    flops: str = _static("training_flops")

    @property
    def inputs(self) -> tuple[str, ...]:
        """The quantity that counts as C, then the shares."""
        return (self.flops, *(FRACTION + name for name in self.domains))

    @abstractmethod
    def effect(self, shares: Shares) -> Scalar:
        """Logarithm of what the mixture does to the reducible loss, [D]."""
        ...

    def log_reducible(self, flops: Scalar, shares: Shares) -> Scalar:
        """Logarithm of the loss above the irreducible one, [D]."""
        spent = self.exponent * (jnp.log(flops) - jnp.log(self.reference_flops))
        return self.log_scale - spent + self.effect(shares)

    def at(self, flops: Scalar, shares: Shares) -> Scalar:
        """The losses [D] of one model, from FLOPs and shares."""
        return self.irreducible + jnp.exp(self.log_reducible(flops, shares))

    def of(self, flops: Scalar, *shares: Scalar) -> Scalar:
        """The losses [D] from the law's inputs."""
        return self.at(1.0 * jnp.asarray(flops), shares or (1.0,))

    def raw(self, design: Design) -> Scalar:
        """The losses [D] of a design."""
        return self.of(*(quantity(name, design) for name in self.inputs))

    def clamp(self, raw: Scalar) -> Scalar:
        """No clamp."""
        return raw


@pytree
@dataclass(frozen=True, eq=False, kw_only=True)
class DomainLosses(MixtureLosses):
    """Sources that stand in for each other, only so well: the recommended form.

    ``L_i = E_i + exp(b_i) (C / C_ref)^(-alpha_i) [sum_j s_ij r_j^rho_i]^(-beta_i / rho_i)``

    s_ij what source j is worth to domain i (rows sum to 1), rho in (0, 1]: at 1 the bracket is the amount of effective data; as
    rho falls to 0 the form becomes the product of powers of the shares, which ``ProductLosses`` has. A share of 0 is finite.

    Source: this project's own choice of form for the first stage of FLP-M, Chen et al., arXiv 2410.08527, whose equation and
    constants were not available; measured against the alternatives in the README.

    >>> one = jnp.ones(1)
    >>> law = DomainLosses(log_scale=0 * one, exponent=one / 2, irreducible=one, reference_flops=1e20, domains=("web", "code"),
    ...                    weights=jnp.array([[0.25, 0.75]]), share_exponent=one, substitution=one)
    >>> law.of(4e20, 0.5, 0.5).round(4).tolist()
    [2.0]
    """

    weights: Scalar  # s [D, S]
    share_exponent: Scalar  # beta [D]
    substitution: Scalar  # rho [D]

    def effect(self, shares: Shares) -> Scalar:
        """``-beta / rho ln sum_j s_j r_j^rho``."""
        joined = _sum(self.weights, [jnp.exp(self.substitution * jnp.log(_positive(share))) for share in shares])
        return -self.share_exponent / self.substitution * jnp.log(joined)


@pytree
@dataclass(frozen=True, eq=False, kw_only=True)
class ProductLosses(MixtureLosses):
    """The product of powers of the shares: FLP-M's ratio power law as it is remembered.

    ``L_i = E_i + exp(b_i) (C / C_ref)^(-alpha_i) prod_j (r_j + offset)^(-a_ij)``

    The offset keeps a source that is left out finite. Source: Chen et al., arXiv 2410.08527, from memory, offset and E added.

    >>> nil = jnp.zeros(1)
    >>> law = ProductLosses(log_scale=nil, exponent=nil, irreducible=nil, reference_flops=1e20, domains=("web", "code"),
    ...                     powers=jnp.array([[0.0, 0.5]]), offset=0.0)
    >>> law.of(1e20, 0.75, 0.25).round(4).tolist()
    [2.0]
    """

    powers: Scalar  # a [D, S]
    offset: Scalar = 0.01

    def effect(self, shares: Shares) -> Scalar:
        """``-sum_j a_j ln(r_j + offset)``."""
        return -_sum(self.powers, [jnp.log(_positive(share + self.offset)) for share in shares])


@pytree
@dataclass(frozen=True, eq=False, kw_only=True)
class MixingLosses(MixtureLosses):
    """The exponential of the shares: the form of the data mixing laws.

    ``L_i = E_i + exp(b_i) (C / C_ref)^(-alpha_i) exp(sum_j t_ij r_j)``

    Source: Ye et al., Data Mixing Laws, arXiv 2403.16952, with the FLOPs added.

    >>> nil = jnp.zeros(1)
    >>> law = MixingLosses(log_scale=nil, exponent=nil, irreducible=nil + 1, reference_flops=1e20, domains=("web", "code"),
    ...                    slopes=jnp.array([[1.0, -1.0]]))
    >>> law.of(1e20, 0.5, 0.5).round(4).tolist()
    [2.0]
    """

    slopes: Scalar  # t [D, S]

    def effect(self, shares: Shares) -> Scalar:
        """``sum_j t_j r_j``."""
        return _sum(self.slopes, list(shares))


@pytree
@dataclass(frozen=True, eq=False, kw_only=True)
class ScoreNetwork:
    """Score of a task from the losses in all domains: the mean of M small networks that differ in their seeds.

    ``P = mean over m of: chance + (top - chance) sigmoid(bias_m + z . skip_m + out_m . tanh(z in_m + shift_m))``

    z = (L - center) / spread. Fitted with ``in, skip < 0 < out``, a score never falls where a loss does. How far the M networks
    differ says how much their training leaves open, NOT how wrong they are: it is no error bar.

    Source: the second stage of FLP-M, Chen et al., arXiv 2410.08527, is a two-layer network; its width and training are not
    known, so those here are this project's choice, as are the sigmoid, the linear path beside the network and the signs.
    """

    center: Scalar  # [D] nats per token
    spread: Scalar  # [D]
    weights_in: Scalar  # [D, M, H]
    shift: Scalar  # [M, H]
    weights_out: Scalar  # [M, H]
    skip: Scalar  # [D, M]
    bias: Scalar  # [M]
    chance: Scalar = 0.0
    top: Scalar = 1.0
    losses: tuple[str, ...] = _static(())  # names of the validation domains

    inputs = ("loss",)

    def of_members(self, losses: Scalar) -> Scalar:
        """The score by each network, [M], from the losses [D]."""
        z = (losses - self.center) / self.spread
        hidden = jnp.tanh(jnp.sum(z[:, None, None] * self.weights_in, axis=0) + self.shift)
        linear = jnp.sum(z[:, None] * self.skip, axis=0) + self.bias
        total = linear + jnp.sum(hidden * self.weights_out, axis=1)
        return self.chance + (self.top - self.chance) * jax.nn.sigmoid(total)

    def of_loss(self, losses: Scalar) -> Scalar:
        """The score from the losses [D]."""
        return jnp.mean(self.of_members(losses))

    def clamp(self, raw: Scalar) -> Scalar:
        """Between chance and the most there is, where the formula lies already but for rounding."""
        return jnp.clip(raw, self.chance, self.top)


@pytree
@dataclass(frozen=True, eq=False, kw_only=True)
class WeightedLoss:
    """A loss over several domains as one number: ``sum_i w_i L_i``. Less is better.

    >>> float(WeightedLoss(weights=jnp.array([0.5, 0.5])).of_loss(jnp.array([2.0, 3.0])))
    2.5
    """

    weights: Scalar  # [D]
    losses: tuple[str, ...] = _static(())  # names of the validation domains

    inputs = ("loss",)

    def of_loss(self, losses: Scalar) -> Scalar:
        """The weighted sum of the losses [D]."""
        return jnp.sum(self.weights * losses)

    def clamp(self, raw: Scalar) -> Scalar:
        """No clamp."""
        return raw
