"""MMLU as real base models report it: this project's own calibration, and the baseline that it is held against.

Both were fitted on the 200 rows of ``data/models.csv`` that report MMLU and training tokens, models at chance included and
post-trained scores left out: ``perflaw validate`` repeats the fits and says what they miss by.
"""

from typing import NamedTuple

import jax.numpy as jnp

from perflaw_jax.accounting import quantity
from perflaw_jax.design import Design, Scalar

TRILLION, BILLION, ZETTA = 1e12, 1e9, 1e21

ASPECT, USUAL_ASPECT = (40.0, 200.0), 128.0  # hidden size / layers: where it counts, and where it changes nothing
DATES, EPOCH = (-1.5, 0.25), 2024.0  # years from the start of 2024: where the date counts
SATURATED = 50.0  # exp(-exp(50)) is 0 in any float, and exp(50) a number in every one

QUANTILES = (0.05, 0.5, 0.95)


class MmluCalibrated(NamedTuple):
    """MMLU (points, 5-shot) of a base model, dense or mixture of experts, with a 90 % interval.

    ``MMLU = floor + (ceiling - floor) exp(-exp(-x))``, ``x = a - exp(c_S - alpha ln S_e) - exp(c_T - beta ln T)``,
    ``ln S_e = ln A + k ln(S/A) - r ln(clip(h/N, 40, 200) / 128) + q clip(t, -1.5, 0.25)``

    S total and A active parameters in billions, T training tokens in trillions, h hidden size, N layers, t years from the
    start of 2024 to the release (2025.5 is 1.5; what is later than the spring of 2024 changes nothing). Fitted: a, c_S,
    alpha, c_T, beta, q, by soft L1 over 2 points. Held: floor, ceiling, k, r, and the ends of both clips.

    Holds for 0.07B to 540B active parameters, 0.002 to 18 trillion tokens, at most 28 times as many total as active
    parameters, base models of 2020 to 2024. It never exceeds 88. Mind that

    - deeper models of a size scored better in the table, for whatever reason: r is a correlation, flat outside 40..200, and a
      search runs into its end at h/N = 40 unless ``limits.aspect_ratio`` forbids it;
    - 20 of the 200 rows have experts, some of them far off: k is a cautious guess;
    - the date stands for the average recipe (data quality, distillation) of its time, not for yours.

    Source: this project's calibration on data/models.csv.

    >>> design = Design(32, 4096, 14336, 32, 15e12, vocab_size=128256)
    >>> law = MmluCalibrated()
    >>> [round(float(value), 1) for value in (law.quantile(design, 0.05), law.raw(design), law.quantile(design, 0.95))]
    [55.5, 69.7, 81.1]
    """

    limit: Scalar = 3.307779925427032  # a: x of a model without end
    size_scale: Scalar = 1.2701991430301072  # c_S
    size_exponent: Scalar = 0.3040757285075554  # alpha
    token_scale: Scalar = 0.43436395626938956  # c_T
    token_exponent: Scalar = 0.37485032048147643  # beta
    progress: Scalar = 0.8858643923440296  # q: growth of the effective size per year
    expansion_exponent: Scalar = 0.1  # k
    aspect_exponent: Scalar = 0.8  # r
    floor: Scalar = 25.0
    ceiling: Scalar = 90.0
    below: Scalar = 1.4142330672330676  # reach of the interval, in units of ``spread``
    above: Scalar = 1.1469943376955154
    release_year: Scalar = 2025.0

    inputs = ("active_params", "total_params", "aspect_ratio", "training_tokens")

    def of(self, active: Scalar, total: Scalar, aspect: Scalar, tokens: Scalar) -> Scalar:
        """The score from the law's inputs."""
        k, wide = self.expansion_exponent, jnp.clip(aspect, *ASPECT) / USUAL_ASPECT
        date = self.progress * jnp.clip(self.release_year - EPOCH, *DATES)
        size = (1 - k) * jnp.log(active / BILLION) + k * jnp.log(total / BILLION) - self.aspect_exponent * jnp.log(wide) + date
        small = jnp.exp(self.size_scale - self.size_exponent * size)
        short = jnp.exp(self.token_scale - self.token_exponent * jnp.log(tokens / TRILLION))
        x = jnp.maximum(self.limit - small - short, -SATURATED)
        return self.floor + (self.ceiling - self.floor) * jnp.exp(-jnp.exp(-x))

    def raw(self, design: Design) -> Scalar:
        """The score."""
        return self.of(*(quantity(name, design) for name in self.inputs))

    def clamp(self, raw: Scalar) -> Scalar:
        """No clamp: the formula stays between its floor and its ceiling."""
        return raw

    def quantile(self, design: Design, share: float) -> Scalar:
        """The ends of the 90 % interval at 0.05 and 0.95, the score at 0.5; no other share is known.

        They are quantiles of what the law missed models of organisations by that it had not seen. None falls as the score
        rises: a low score's lower end is that of chance.
        """
        if share not in QUANTILES:
            raise ValueError(f"mmlu-calibrated knows its quantiles {', '.join(map(str, QUANTILES))}, not {share}")
        score = self.raw(design)
        return score if share == 0.5 else self.interval(score)[share > 0.5]

    def interval(self, score: Scalar) -> tuple[Scalar, Scalar]:
        """Where nine of ten models lie of which the law says ``score``."""
        lower = jnp.maximum(score - self.below * self.spread(score), self.floor - self.below * self.spread(self.floor))
        return lower, jnp.minimum(score + self.above * self.spread(score), 100.0)

    def spread(self, score: Scalar) -> Scalar:
        """The scale of the errors in points: 2 at chance, where nothing can go wrong, soon 10 above it."""
        return 2 + 8 * (1 - jnp.exp((self.floor - score) / 3))


class ComputeSigmoid(NamedTuple):
    """MMLU (points, 5-shot) from training FLOPs alone: the baseline that a law of the shape has to beat.

    ``MMLU = floor + (ceiling - floor) / (1 + exp(-(a + b ln C)))``, ``C = 6 A T``

    C in 10^21 FLOPs, A active parameters, T training tokens. Fitted: a and b, by soft L1 over 2 points.

    Source: this project's calibration on data/models.csv.

    >>> round(float(ComputeSigmoid(intercept=-2.0, slope=0.5).of(1e21 * jnp.exp(4.0))), 1)
    57.5
    """

    intercept: Scalar = -4.324948135391743  # a
    slope: Scalar = 0.8059910839929515  # b
    floor: Scalar = 25.0
    ceiling: Scalar = 90.0

    inputs = ("training_flops",)

    def of(self, flops: Scalar) -> Scalar:
        """The score from the law's input."""
        odds = jnp.exp(-self.intercept - self.slope * jnp.log(flops / ZETTA))
        return self.floor + (self.ceiling - self.floor) / (1 + odds)

    def raw(self, design: Design) -> Scalar:
        """The score."""
        return self.of(quantity("training_flops", design))

    def clamp(self, raw: Scalar) -> Scalar:
        """No clamp: the formula stays between its floor and its ceiling."""
        return raw
