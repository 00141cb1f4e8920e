"""Laws of the loss: nats per token from parameters and tokens, or from training FLOPs. Less is better."""

from dataclasses import dataclass, field
from typing import NamedTuple

import jax.numpy as jnp

from perflaw_jax.accounting import quantity
from perflaw_jax.design import Design, Scalar
from perflaw_jax.laws.pytree import pytree

PF_DAY = 8.64e19  # FLOPs: 1e15 per second for 86,400 seconds


class Chinchilla(NamedTuple):
    """Loss (nats per token) from parameters and tokens.

    ``L = E + A / N^alpha + B / D^beta``

    N total parameters, D training tokens; E the loss that no size and no data take away. The constants are those of the
    replication by Besiroglu et al. (arXiv 2404.10102, standard errors: A 124.5, B 1293, E 0.026, alpha 0.015, beta 0.021),
    which refits the figure of Hoffmann et al. (arXiv 2203.15556): dense models of 44M to 16B parameters, up to 3e22 FLOPs.

    >>> round(float(Chinchilla().of(9.586e10, 1.739e12)), 4)
    1.9594
    """

    scale_params: Scalar = 482.01  # A
    scale_tokens: Scalar = 2085.43  # B
    irreducible: Scalar = 1.8169  # E
    exponent_params: Scalar = 0.3478  # alpha
    exponent_tokens: Scalar = 0.3658  # beta

    inputs = ("total_params", "training_tokens")

    def of(self, total_params: Scalar, training_tokens: Scalar) -> Scalar:
        """The loss from the law's inputs."""
        by_size = jnp.exp(jnp.log(self.scale_params) - self.exponent_params * jnp.log(total_params))
        by_tokens = jnp.exp(jnp.log(self.scale_tokens) - self.exponent_tokens * jnp.log(training_tokens))
        return self.irreducible + by_size + by_tokens

    def raw(self, design: Design) -> Scalar:
        """The loss of a design."""
        return self.of(*(quantity(name, design) for name in self.inputs))

    def clamp(self, raw: Scalar) -> Scalar:
        """No clamp."""
        return raw


class KaplanJoint(NamedTuple):
    """Loss (nats per token) from parameters without embeddings and tokens.

    ``L = ((N_c / N)^(alpha_N / alpha_D) + D_c / D)^alpha_D``

    Source: Kaplan et al., arXiv 2001.08361, the joint fit; its constants are quoted from memory, not checked against the paper.

    >>> round(float(KaplanJoint().of(1.5e9, 2.2e10)), 2)
    2.31
    """

    scale_params: Scalar = 6.4e13  # N_c
    scale_tokens: Scalar = 1.8e13  # D_c
    exponent_params: Scalar = 0.076  # alpha_N
    exponent_tokens: Scalar = 0.103  # alpha_D

    inputs = ("non_embedding_params", "training_tokens")

    def of(self, non_embedding_params: Scalar, training_tokens: Scalar) -> Scalar:
        """The loss from the law's inputs."""
        ratio = self.exponent_params / self.exponent_tokens
        by_size = jnp.exp(ratio * (jnp.log(self.scale_params) - jnp.log(non_embedding_params)))
        return jnp.exp(self.exponent_tokens * jnp.log(by_size + self.scale_tokens / training_tokens))

    def raw(self, design: Design) -> Scalar:
        """The loss of a design."""
        return self.of(*(quantity(name, design) for name in self.inputs))

    def clamp(self, raw: Scalar) -> Scalar:
        """No clamp."""
        return raw


@pytree
@dataclass(frozen=True)
class ComputeLoss:
    """Loss (nats per token) from training FLOPs alone.

    ``L = (C_N / C)^alpha + E``

    C training FLOPs, counted as the quantity ``flops`` names; E = 0 in the pure power law. The defaults are Kaplan's:
    ``L = (3.1e8 PF-days / C_min)^0.050``, C without embeddings and in PF-days of 8.64e19 FLOPs; here all is in FLOPs.

    Source: Kaplan et al., arXiv 2001.08361 (768 to 1.5e9 parameters without embeddings); the form is also the first stage of
    FLP, Chen et al., arXiv 2410.08527.

    >>> round(float(ComputeLoss().of(3.1e8 * PF_DAY / 2**20)), 6)  # the loss doubles where C falls by 2^20
    2.0
    """

    scale_flops: Scalar = 3.1e8 * PF_DAY  # C_N
    exponent: Scalar = 0.050  # alpha
    irreducible: Scalar = 0.0  # E
    flops: str = field(default="non_embedding_flops", metadata={"static": True})

    @property
    def inputs(self) -> tuple[str, ...]:
        """The quantity that counts as C."""
        return (self.flops,)

    def of(self, flops: Scalar) -> Scalar:
        """The loss from the law's input."""
        return jnp.exp(self.exponent * (jnp.log(self.scale_flops) - jnp.log(flops))) + self.irreducible

    def raw(self, design: Design) -> Scalar:
        """The loss of a design."""
        return self.of(quantity(self.flops, design))

    def clamp(self, raw: Scalar) -> Scalar:
        """No clamp."""
        return raw


class Overtraining(NamedTuple):
    """Loss (nats per token) from training FLOPs and tokens per parameter.

    ``L = E + (a M^eta + b M^-eta) C^-eta``, ``C = 6 N D``, ``M = D / N``

    N total parameters, D training tokens. Fitted on 0.011B to 0.41B parameters with 20 to 320 tokens per parameter, on C4; loss
    on the C4 evaluation set.

    Source: Gadre et al., arXiv 2403.08540, with the protocol and the data of mlfoundations/scaling; constants refitted here,
    in ``laws/__init__``.

    >>> round(float(Overtraining().of(1.44e9, 80 * 1.44e9)), 2)
    2.51
    """

    irreducible: Scalar = 1.508  # E
    scale_params: Scalar = 141.3  # a: what a model that is too small costs
    scale_tokens: Scalar = 189.5  # b: what too little data costs
    exponent: Scalar = 0.1212  # eta

    inputs = ("total_params", "training_tokens")

    def of(self, total_params: Scalar, training_tokens: Scalar) -> Scalar:
        """The loss from the law's inputs."""
        log_params, log_tokens = jnp.log(total_params), jnp.log(training_tokens)
        log_flops = jnp.log(6.0) + log_params + log_tokens
        over = self.exponent * (log_tokens - log_params)
        scale = self.scale_params * jnp.exp(over) + self.scale_tokens * jnp.exp(-over)
        return self.irreducible + scale * jnp.exp(-self.exponent * log_flops)

    def raw(self, design: Design) -> Scalar:
        """The loss of a design."""
        return self.of(*(quantity(name, design) for name in self.inputs))

    def clamp(self, raw: Scalar) -> Scalar:
        """No clamp."""
        return raw
