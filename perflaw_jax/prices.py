"""What the frontier asks of a row of token counts, worked out ahead of the tiles.

Along a row of candidates that differ in their tokens alone, a cost in proportion to the tokens is a rate (the cost of one
token) times the tokens. Rates are put into buckets, and what is asked is looked up once per bucket and token count. A row then
reads its numbers one after the other, a quarter of the time of looking each block up by its cost: so cheap that a block can be
held against several costs.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from perflaw_jax.accounting import quantity
from perflaw_jax.design import Scalar
from perflaw_jax.nest import Layout, first_of_rows, lane, nest
from perflaw_jax.objective import make_design
from perflaw_jax.reduce import Screen, asked_at


class Scale(NamedTuple):
    """Buckets of rates, equally many to an octave, as whole numbers that rise with a float32: its bits."""

    low: Scalar  # int32, of the first bucket
    step: Scalar  # int32

    @staticmethod
    def over(low: float, high: float, count: int) -> "Scale":
        """``count`` buckets: the first for what is below the lowest rate, the others up to the highest and beyond."""
        first, last = (int(np.float32(rate).view(np.int32)) for rate in (low, high))
        step = (last - first) // max(count - 1, 1) + 1
        return Scale(np.int32(first - step), np.int32(step))


class Prices(NamedTuple):
    """What is asked of rows, by their rates."""

    scale: Scale
    asked: tuple[Scalar, ...]  # per piece of a block: raw scores, float32 [rates, blocks of the tile]


def prices(layout: Layout, tokens: Scalar, screen: Screen, scale: Scale) -> Prices:
    """A device program: prices for the token counts [lanes, blocks] of a tile. Of a bucket the least, as of a piece."""
    bucket = jnp.arange(layout.rates)
    rates = jnp.where(bucket > 0, (scale.low + scale.step * bucket).view("float32"), 0)  # nothing is known of the first
    least = tokens[:: layout.lanes // layout.pieces]
    return Prices(scale, tuple(asked_at(jnp, screen, [rates[:, None] * first[None, :]]) for first in least))


def by_row(layout: Layout, fields: dict, spend: Scalar | None, prices: Prices) -> tuple[Scalar, ...]:
    """The prices of a tile's rows: per piece of a block, in the tile's shape."""

    def rate(values: dict) -> Scalar:
        design = make_design(lane(values, layout, 0), spend)
        return jnp.asarray(quantity(layout.costs[0], design._replace(training_tokens=1.0)), "float32")

    rates = nest(rate, layout, layout.dims)(first_of_rows(layout, fields))[..., 0]
    place = jnp.clip((rates.view("int32") - prices.scale.low) // prices.scale.step, 0, layout.rates - 1)
    place = jnp.where(rates < jnp.inf, place, 0)  # an unknown cost is none at all
    return tuple(asked.at[place].get(mode="promise_in_bounds") for asked in prices.asked)
