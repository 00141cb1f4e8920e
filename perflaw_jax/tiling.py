"""The grid cut into equal tiles: which axis is innermost on the device, how big a tile is, and the values inside one.

A tile is a box of the grid. All tiles of a sweep have one shape, so that one trace serves them all: where a tile sticks out
of the grid its last index is repeated, which changes no maximum, and ``valid`` marks what is real.

The innermost axis is folded into ``[blocks, lanes]``: a block is ``lanes`` neighbouring candidates, the unit in which the
device reports what it found.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from perflaw_jax.accounting import PER_TOKEN
from perflaw_jax.nest import Layout
from perflaw_jax.space import Space

MAX_LANES = 16
ALIKE = 1.25  # largest to smallest value in a piece of a block: of those whose costs are looked up
ALIKE_PRICED = 1.025  # of those held against prices, which cost less
PRICES = 2**17  # numbers in the table of prices: half a megabyte, which stays near the processor
FEWEST_RATES, MOST_RATES = 256, 8192  # with fewer, looking costs up is sharper; more gain nothing


@dataclass(frozen=True)
class Tiling:
    """A Space cut into tiles of at most about ``target`` candidates.

    Positions "in the nest" count the axes as the device nests them: the space's order with the inner axis moved last. Tokens
    are innermost where they are an axis, since a law and its costs depend on them in the cheapest way.
    """

    space: Space
    target: int = 2**25
    max_lanes: int = MAX_LANES
    in_order: bool = False  # keep the space's own order, so that tiles and blocks come in the order of the candidate ids

    @cached_property
    def order(self) -> tuple[int, ...]:
        """Axis positions in the nest, outermost first."""
        fields = [axis.field for axis in self.space.axes]
        moves = "training_tokens" in fields and not self.in_order
        inner = fields.index("training_tokens") if moves else len(fields) - 1
        return (*(i for i in range(len(fields)) if i != inner), inner)

    @property
    def inner(self) -> int:
        """Position of the innermost axis in the space."""
        return self.order[-1]

    @cached_property
    def lanes(self) -> int:
        """Candidates per block: the largest power of two that wastes at most an eighth of the inner axis."""
        n = self.space.shape[self.inner]
        lanes = self.max_lanes
        while lanes > 1 and -(-n // lanes) * lanes > 1.125 * n:
            lanes //= 2
        return lanes

    @cached_property
    def tile(self) -> tuple[int, ...]:
        """Shape of a tile in the nest, the last entry in blocks."""
        shape = [self.space.shape[i] for i in self.order]
        shape[-1] = -(-shape[-1] // self.lanes)
        room = max(1, self.target // self.lanes)
        tile = []
        for n in reversed(shape):
            pieces = -(-n // max(1, min(n, room)))
            tile.append(-(-n // pieces))  # equal pieces, so that little sticks out
            room //= tile[-1]
        return tuple(reversed(tile))

    @cached_property
    def grid(self) -> tuple[int, ...]:
        """Number of tiles along each axis of the nest."""
        return tuple(-(-n // t) for n, t in zip(self.blocks, self.tile, strict=True))

    @cached_property
    def blocks(self) -> tuple[int, ...]:
        """Shape of the whole grid in the nest, the last entry in blocks."""
        shape = [self.space.shape[i] for i in self.order]
        return (*shape[:-1], -(-shape[-1] // self.lanes))

    @cached_property
    def count(self) -> int:
        """Number of tiles; they are numbered along the nest, outermost slowest."""
        return math.prod(self.grid)

    def start(self, number: int) -> tuple[int, ...]:
        """First index of a tile along each axis of the nest."""
        places = []
        for pieces, size in zip(reversed(self.grid), reversed(self.tile), strict=True):
            number, place = divmod(number, pieces)
            places.append(place * size)
        return tuple(reversed(places))

    def starts(self) -> Iterator[tuple[int, ...]]:
        """The starts of all tiles, in the order of their numbers."""
        return map(self.start, range(self.count))

    def span(self, start: tuple[int, ...]) -> tuple[int, int]:
        """Ids of a tile's candidates, [first, end), where tiles come in the order of the ids."""
        *outer, inner = start
        first = int(self.space.ids([*outer, inner * self.lanes]))
        return first, first + self.covered(start)

    def index(self, position: int, start: tuple[int, ...]) -> np.ndarray:
        """Indices inside a tile along one axis of the nest: int64 [t], of the inner axis [blocks, lanes], even if outside."""
        index = np.arange(start[position], start[position] + self.tile[position])
        return index if position < len(self.order) - 1 else index[:, None] * self.lanes + np.arange(self.lanes)

    def inside(self, position: int, start: tuple[int, ...]) -> np.ndarray:
        """Which of a tile's indices along one axis of the nest are in the grid: bool [t], of the inner axis [lanes, blocks]."""
        return (self.index(position, start) < self.space.shape[self.order[position]]).T

    def covered(self, start: tuple[int, ...]) -> int:
        """Number of candidates in a tile."""
        shape, units = [self.space.shape[axis] for axis in self.order], [1] * (len(start) - 1) + [self.lanes]
        return math.prod(min(t * u, n - s * u) for n, s, t, u in zip(shape, start, self.tile, units, strict=True))

    def clipped(self, position: int, start: tuple[int, ...]) -> np.ndarray:
        """``index`` with the last index of the axis repeated where it leaves the grid."""
        return np.minimum(self.index(position, start), self.space.shape[self.order[position]] - 1)

    @cached_property
    def dims(self) -> dict[str, tuple[int, ...]]:
        """Field -> the positions in the nest that its value depends on, ascending."""
        rank = {axis: position for position, axis in enumerate(self.order)}
        return {name: tuple(sorted(rank[d] for d in t.dims)) for name, t in self.space.tables.items()}

    def layout(self, costs: tuple[str, ...] = (), inputs: tuple[str, ...] = ()) -> Layout:
        """What the device programs need to know of the tiles, for a frontier's costs and further quantities of rows."""
        inner, along = self.space.axes[self.inner], [name for name in self.dims if self.has_lanes(name)]
        tokens_inner = along == ["training_tokens"] and bool(np.all(np.diff(inner.values) >= 0))
        pieces, rates = 1, 0
        if tokens_inner and len(costs) == 1 and costs[0] in PER_TOKEN and len(self.dims["training_tokens"]) == 1:
            pieces = self.pieces(ALIKE_PRICED)
            rates = min(MOST_RATES, PRICES // (pieces * self.tile[-1]))
        if rates < FEWEST_RATES:
            differing = [cost for cost in costs if not tokens_inner or cost in PER_TOKEN]
            pieces, rates = self.pieces(ALIKE) if differing else 1, 0
        return Layout(self.dims, len(self.order), self.lanes, tokens_inner, costs, inputs, pieces=pieces, rates=rates)

    def pieces(self, alike: float) -> int:
        """Equal pieces of a block, so many that within one the largest value of the inner axis is ``alike`` the smallest."""
        values = np.asarray(self.space.axes[self.inner].values)
        if self.lanes == 1 or values.min() <= 0:
            return 1
        growth = self.lanes * np.median(abs(np.diff(np.log(values))))  # of a typical block
        return min(self.lanes, 2 ** math.ceil(math.log2(max(1, growth / math.log(alike)))))

    def values(self, field: str, start: tuple[int, ...]) -> np.ndarray:
        """Exact values of a field inside a tile: one array axis per entry of ``dims``; lanes come FIRST where it has them.

        Lanes first lets the device load neighbouring blocks as one vector.
        """
        values = self._in_nest(field)[np.ix_(*(self.clipped(d, start).ravel() for d in self.dims[field]))]
        if self.has_lanes(field):
            values = np.moveaxis(values.reshape(*values.shape[:-1], -1, self.lanes), -1, 0)
        return values

    def by_block(self, field: str) -> np.ndarray:
        """Exact values of a field over the whole grid: one array axis per entry of ``dims``, then lanes where it has them."""
        values = self._in_nest(field)
        return as_blocks(values, self.lanes) if self.has_lanes(field) else values

    def _in_nest(self, field: str) -> np.ndarray:
        """Exact values of a field, one array axis per entry of ``dims``."""
        table = self.space.tables[field]
        return table.values.transpose([table.dims.index(self.order[d]) for d in self.dims[field]])

    def has_lanes(self, field: str) -> bool:
        """Whether the field's value differs between the candidates of one block."""
        return len(self.order) - 1 in self.dims[field]

    def coordinates(self, start: tuple[int, ...], flat: np.ndarray) -> list[np.ndarray]:
        """Flat block numbers inside a tile, int64 [m] -> coordinates in ``blocks``, per axis of the nest int64 [m]."""
        return [s + local for s, local in zip(start, np.unravel_index(flat, self.tile), strict=True)]

    def members(self, coordinates: list[np.ndarray]) -> tuple[list[np.ndarray], np.ndarray]:
        """Blocks [m] -> index along each axis of the SPACE, [m, 1] or [m, lanes] (the inner); which are real [m, lanes]."""
        indices = [c[:, None] for c in coordinates]
        indices[-1] = indices[-1] * self.lanes + np.arange(self.lanes)
        real = np.ones((len(indices[-1]), self.lanes), bool)
        for axis, index in zip(self.order, indices, strict=True):
            real &= index < self.space.shape[axis]
        digits = sorted(zip(self.order, indices, strict=True), key=lambda pair: pair[0])
        return [np.minimum(digit, self.space.shape[axis] - 1) for axis, digit in digits], real

    def block_of(self, ids: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
        """Candidate ids [m] -> coordinates of their blocks, and their lane."""
        digits = self.space.digits(ids)
        coordinates = [digits[axis] for axis in self.order]
        coordinates[-1], lane = np.divmod(coordinates[-1], self.lanes)
        return coordinates, lane

    def outermost(self, ids: np.ndarray) -> np.ndarray:
        """Candidate ids [m] -> the place of their tiles along the outermost axis of the nest."""
        candidates = self.tile[0] * (self.lanes if len(self.order) == 1 else 1)
        return self.space.digit(ids, self.order[0]) // candidates


def as_blocks(values: np.ndarray, lanes: int) -> np.ndarray:
    """The last axis folded into [blocks, lanes], its last entry repeated as filling."""
    *outer, count = values.shape
    filled = values[..., np.minimum(np.arange(-(-count // lanes) * lanes), count - 1)]
    return filled.reshape(*outer, -1, lanes)
