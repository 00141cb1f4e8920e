"""From a loss to a score on a task: the second stage of the two-stage laws."""

from typing import NamedTuple

import jax.numpy as jnp

from perflaw_jax.design import Scalar


class LinearScore(NamedTuple):
    """Score of a task, linear in the loss, between chance and the most there is.

    ``P = w0 + w1 L``, clamped to [chance, top]

    L loss in nats per token, P in the unit of ``top``; w1 is negative. Fitted on checkpoints whose score is above chance by 5
    points, and as far as it is from there.

    Source: the second stage of FLP, Chen et al., arXiv 2410.08527.

    >>> round(float(LinearScore(85.23, -19.15, 25.0, 100.0).of_loss(2.0592)), 1)
    45.8
    """

    intercept: Scalar
    slope: Scalar
    chance: Scalar = 0.0
    top: Scalar = 1.0

    inputs = ("loss",)

    def of_loss(self, loss: Scalar) -> Scalar:
        """The score before its clamp."""
        return self.intercept + self.slope * loss

    def clamp(self, raw: Scalar) -> Scalar:
        """Between chance and the most there is."""
        return jnp.clip(raw, self.chance, self.top)


class LogisticScore(NamedTuple):
    """Score of a task, rising from chance to a ceiling as the loss falls.

    ``P = chance + (ceiling - chance) / (1 + exp(k (L - L0)))``

    L loss in nats per token; L0 where half of the way is gone, k how sudden it is.

    Source: the form of the OLMo ladder, Bhagia et al., arXiv 2412.04403.

    >>> float(LogisticScore(middle=2.0, steepness=4.0, ceiling=0.75, chance=0.25).of_loss(2.0))
    0.5
    """

    middle: Scalar  # L0
    steepness: Scalar  # k
    ceiling: Scalar = 1.0
    chance: Scalar = 0.0

    inputs = ("loss",)

    def of_loss(self, loss: Scalar) -> Scalar:
        """The score."""
        return self.chance + (self.ceiling - self.chance) / (1 + jnp.exp(self.steepness * (loss - self.middle)))

    def clamp(self, raw: Scalar) -> Scalar:
        """No clamp: the formula stays between its ends."""
        return raw


class TopOneError(NamedTuple):
    """Mean top-1 error over a set of tasks, as a fraction. Less is better.

    ``Err = epsilon - k exp(-gamma L)``

    L loss in nats per token on the C4 evaluation set.

    Source: Gadre et al., arXiv 2403.08540; 17 and 46 tasks of mlfoundations/scaling.

    >>> round(float(TopOneError().of_loss(2.4724)), 3)
    0.529
    """

    most: Scalar = 0.8497  # epsilon
    gain: Scalar = 2.079  # k
    rate: Scalar = 0.7561  # gamma

    inputs = ("loss",)

    def of_loss(self, loss: Scalar) -> Scalar:
        """The error."""
        return self.most - self.gain * jnp.exp(-self.rate * loss)

    def clamp(self, raw: Scalar) -> Scalar:
        """No error below 0."""
        return jnp.maximum(raw, 0.0)


class CompressionScore(NamedTuple):
    """Score of a benchmark, linear in the bits per character into which the model compresses text.

    ``P = a + b BPC``, ``BPC = L / (ln 2 x characters per token)``, clamped to [chance, 100]

    L loss in nats per token on text like the law's; P in points. The defaults join the bits per character of 28 base models on
    Common Crawl (hkust-nlp/llm-compression-intelligence, README) with their MMLU (ryoungj/ObsScaling): r = -0.67, RMSE 10.
    Characters per token depend on the tokenizer: 4.3 is a usual value for English, not a measured one.

    Source: Huang et al., Compression Represents Intelligence Linearly, arXiv 2404.09937.

    >>> round(float(CompressionScore(characters_per_token=1.0).of_bits(0.6)), 1)
    61.7
    """

    intercept: Scalar = 187.3  # a
    slope: Scalar = -209.4  # b
    characters_per_token: Scalar = 4.3
    chance: Scalar = 25.0

    inputs = ("loss",)

    def of_bits(self, bits_per_character: Scalar) -> Scalar:
        """The score from bits per character, before its clamp."""
        return self.intercept + self.slope * bits_per_character

    def of_loss(self, loss: Scalar) -> Scalar:
        """The score from nats per token, before its clamp."""
        return self.of_bits(loss / (jnp.log(2.0) * self.characters_per_token))

    def clamp(self, raw: Scalar) -> Scalar:
        """Between chance and 100."""
        return jnp.clip(raw, self.chance, 100.0)
