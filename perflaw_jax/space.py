"""The grid of candidates: axes, exact values, and candidate ids as mixed-radix numbers.

A candidate id counts the grid in the order of the axes, outermost first. Ids are Python integers or numpy int64, never
device integers, so they stay exact beyond 2^31 and 2^53. Values are float64: the device sees their float32 images.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np

from perflaw_jax.design import Design, is_fraction

MAX_CANDIDATES = 2**63 - 1  # candidate_id is an int64 column
SHARE_DIGITS = 12  # the share of the last data domain is rounded to so many decimals, so that nothing is left of nothing


def is_continuous(field: str) -> bool:
    """Whether a field may be any number: tokens and shares of data; every other is a whole number."""
    return field == "training_tokens" or is_fraction(field)


@dataclass(frozen=True)
class Axis:
    """One axis: the values of one Design field, absolute or relative to another field.

    With ``relation`` "ratio" a value is multiplied by the ``base`` field, with "offset" added to it; the result is rounded to
    the nearest multiple of ``multiple_of`` (half upwards).
    """

    field: str
    values: tuple[float, ...]
    relation: Literal["ratio", "offset"] | None = None
    base: str | None = None
    multiple_of: int | None = None


class Table(NamedTuple):
    """The values of one field over the axes it depends on."""

    dims: tuple[int, ...]  # positions in Space.axes, ascending; () for a constant
    values: np.ndarray  # float64, one array axis per entry of dims


@dataclass(frozen=True)
class Space:
    """A grid of designs: its axes (outermost first), the fixed fields and, with ``spend``, the FLOPs that buy the tokens.

    ``rest`` names the share of the data domain that takes what the others leave, if there is one.

    With ``spend`` set (FLOPs), ``training_tokens`` is no axis: each design trains on what the budget buys,
    ``floor(spend / (6 x active_params))`` tokens.
    """

    axes: tuple[Axis, ...]
    fixed: Mapping[str, float] = field(default_factory=dict)
    spend: float | None = None
    rest: str | None = None

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Number of values of each axis."""
        return tuple(len(axis.values) for axis in self.axes)

    @cached_property
    def size(self) -> int:
        """Number of candidates: an exact Python integer."""
        total = 1
        for n in self.shape:
            total *= n
        return total

    @cached_property
    def tables(self) -> dict[str, Table]:
        """Field -> its exact values over the axes that it depends on; fields left at a constant default are not listed.

        ``num_attention_heads`` is ``hidden_size / head_dim`` unless it is an axis or fixed, as the planner has it.
        """
        axes = {axis.field: i for i, axis in enumerate(self.axes)}
        tables: dict[str, Table] = {}

        def table(name: str) -> Table:
            if name not in tables:
                if name in axes:
                    tables[name] = _axis_table(axes[name], self.axes[axes[name]], table)
                elif name == "num_attention_heads" and name not in self.fixed:
                    tables[name] = _combine(table("hidden_size"), table("head_dim"), np.divide)
                else:
                    default = Design._field_defaults.get(name, 0)
                    tables[name] = Table((), np.asarray(self.fixed.get(name, default), np.float64))
            return tables[name]

        for name in (*axes, *self.fixed, "num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads"):
            table(name)
        if self.spend is None:
            table("training_tokens")
        if self.rest is not None:
            tables[self.rest] = _rest([shared for name, shared in tables.items() if is_fraction(name)])
        return tables

    def digits(self, ids) -> list[np.ndarray]:
        """Candidate ids (int64 [n]) -> index along each axis, one int64 [n] per axis."""
        rest = np.asarray(ids, np.int64)
        digits = []
        for n in reversed(self.shape):
            rest, digit = np.divmod(rest, n)
            digits.append(digit)
        return digits[::-1]

    def digit(self, ids, axis: int) -> np.ndarray:
        """Candidate ids (int64 [n]) -> index along one axis (int64 [n])."""
        below = np.int64(1)
        for n in self.shape[axis + 1 :]:
            below *= np.int64(n)
        return np.asarray(ids, np.int64) // below % self.shape[axis]

    def ids(self, digits) -> np.ndarray:
        """Indices along each axis (broadcast together) -> candidate ids, int64."""
        ids = np.int64(0)
        for n, digit in zip(self.shape, digits, strict=True):
            ids = ids * np.int64(n) + np.asarray(digit, np.int64)
        return np.asarray(ids)

    def fields(self, digits) -> dict[str, np.ndarray]:
        """Indices along each axis -> float64 values of every listed field, in the shape of the indices broadcast together."""
        shape = np.broadcast_shapes(*(np.shape(d) for d in digits))
        values = {name: t.values[tuple(digits[i] for i in t.dims)] for name, t in self.tables.items()}
        return {name: np.broadcast_to(v, shape) for name, v in values.items()}


def _axis_table(position: int, axis: Axis, table) -> Table:
    own = Table((position,), np.asarray(axis.values, np.float64))
    if axis.base is not None:
        own = _combine(table(axis.base), own, np.multiply if axis.relation == "ratio" else np.add)
    values = own.values
    if axis.multiple_of is not None:
        values = np.floor(values / axis.multiple_of + 0.5) * axis.multiple_of
    elif not is_continuous(axis.field):
        values = np.floor(values + 0.5)
    return Table(own.dims, values)


def _rest(shares: list[Table]) -> Table:
    rest = Table((), np.asarray(1.0))
    for share in shares:
        rest = _combine(rest, share, np.subtract)
    return Table(rest.dims, np.round(rest.values, SHARE_DIGITS))


def _combine(a: Table, b: Table, operation) -> Table:
    dims = tuple(sorted({*a.dims, *b.dims}))

    def spread(t: Table) -> np.ndarray:
        return t.values.reshape([t.values.shape[t.dims.index(d)] if d in t.dims else 1 for d in dims])

    return Table(dims, operation(spread(a), spread(b)))
