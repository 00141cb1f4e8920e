"""What a search varies: one whole number per axis, and how such a proposal is repaired into a candidate.

A number counts the distinct values of its axis, least first, so that neighbours are alike whatever order the axis was written
in and every value is proposed as readily as any other. Training tokens are projected onto what the limits leave of their
axis: a design that costs too much trains on fewer tokens, and what a sampler asks for beyond that changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, Literal

import jax
import numpy as np

from perflaw_jax.accounting import PER_TOKEN, quantity
from perflaw_jax.design import nearest
from perflaw_jax.objective import Bound, make_design
from perflaw_jax.space import Space

TOKENS = "training_tokens"


@dataclass(frozen=True)
class Choices:
    """What may be chosen in a space, axis by axis.

    Attributes:
        space: the grid.
        cell: fields of the axes that a trial leaves open: it stands for all of their values.
        limits: hard limits by quantity name; those on tokens, or in proportion to them, are met by taking fewer or more.
    """

    space: Space
    cell: tuple[str, ...] = ()
    limits: Mapping[str, Bound] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """ValueError where ``cell`` names no axis, or leaves nothing to choose."""
        fields = [axis.field for axis in self.space.axes]
        for name in self.cell:
            if name not in fields:
                raise ValueError(f"--cell: {name!r} is no axis of this spec; {nearest(name, fields)}")
        if {*self.cell} == {*fields}:
            raise ValueError("--cell names every axis, which leaves nothing to search: sweep the spec instead")

    @cached_property
    def open(self) -> tuple[int, ...]:
        """Positions of the axes of a cell."""
        return tuple(i for i, axis in enumerate(self.space.axes) if axis.field in self.cell)

    @cached_property
    def values(self) -> dict[str, np.ndarray]:
        """Field -> the index on its axis of each distinct value, least value first; fields without a choice are left out."""
        axes = {axis.field: axis for axis in self.space.axes if axis.field not in self.cell}
        firsts = {name: np.unique(np.asarray(axis.values), return_index=True)[1] for name, axis in axes.items()}
        return {name: first for name, first in firsts.items() if len(first) > 1}

    @cached_property
    def counts(self) -> dict[str, int]:
        """Field -> how many values there are to choose from."""
        return {name: len(first) for name, first in self.values.items()}

    def digits(self, proposals: np.ndarray) -> list[np.ndarray]:
        """Proposals [n, len(counts)] -> index along each axis of the space, int64 [n] each; 0 on the axes of the cell."""
        chosen = dict(zip(self.values, np.asarray(proposals, np.int64).T, strict=True))
        if TOKENS in chosen and self._rates is not None:
            chosen[TOKENS] = self._affordable(chosen, chosen[TOKENS])
        return self._digits(chosen, len(proposals))

    def _digits(self, chosen: Mapping[str, np.ndarray], count: int) -> list[np.ndarray]:
        nothing = np.zeros(count, np.int64)
        fields = [axis.field for axis in self.space.axes]
        return [self.values[name][chosen[name]] if name in chosen else nothing for name in fields]

    @cached_property
    def _rates(self) -> Callable[[dict[str, np.ndarray]], dict[str, Any]] | None:
        """The limits that tokens can meet, as a program: field values -> by name, what one token costs; None without any."""
        names = [name for name in self.limits if name in PER_TOKEN]
        position = next((i for i, axis in enumerate(self.space.axes) if axis.field == TOKENS), None)
        followed = any(position in table.dims for name, table in self.space.tables.items() if name != TOKENS)
        if not names or followed or self.cell:
            return None
        return partial(_rates, tuple(names))

    def _affordable(self, chosen: Mapping[str, np.ndarray], tokens: np.ndarray) -> np.ndarray:
        """The nearest number of tokens that the limits leave; as proposed where they leave none."""
        count, rates, size = len(tokens), self._rates, self.counts[TOKENS]
        assert rates is not None
        digits = self._digits(chosen, count)
        with jax.enable_x64(True):
            costs = jax.tree.map(np.asarray, rates({**self.space.fields(digits), TOKENS: np.ones(count)}))
        table, order = self.space.tables[TOKENS], self.values[TOKENS]
        own = next(i for i, axis in enumerate(self.space.axes) if axis.field == TOKENS)

        def within(end: Literal["min", "max"], place: np.ndarray) -> np.ndarray:
            number = table.values[tuple(order[place] if i == own else digits[i] for i in table.dims)]
            holds = np.ones(count, bool)
            for name, rate in costs.items():
                edge = getattr(self.limits[name], end)
                if edge is not None:
                    value = number / rate if name == "tokens_per_param" else number * rate
                    holds &= value >= edge if end == "min" else value <= edge
            return holds

        last = _first(lambda place: ~within("max", place), count, size) - 1
        first = np.zeros(count, np.int64)
        if any(self.limits[name].min is not None for name in costs):
            first = _first(lambda place: within("min", place), count, size)
        return np.where(first <= last, np.clip(tokens, first, last), tokens)


@partial(jax.jit, static_argnums=0)
def _rates(names: tuple[str, ...], fields: dict[str, Any]) -> dict[str, Any]:
    def one(values: dict[str, Any]) -> dict[str, Any]:
        design = make_design(values)
        return {name: quantity("total_params" if name == "tokens_per_param" else name, design) for name in names}

    return jax.vmap(one)(fields)


def _first(holds: Callable[[np.ndarray], np.ndarray], count: int, size: int) -> np.ndarray:
    """The least place in [0, size] from which on ``holds`` is true, for ``count`` searches at once; size where it never is."""
    low, high = np.zeros(count, np.int64), np.full(count, size)
    while (open := low < high).any():
        middle = (low + high) // 2
        true = holds(np.minimum(middle, size - 1))
        high = np.where(open & true, middle, high)
        low = np.where(open & ~true, middle + 1, low)
    return low
