"""How a function of one design is spread over a tile of the grid: one vmap per axis, the lanes of a block in front."""

from collections.abc import Callable, Mapping, Set
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from perflaw_jax.design import Scalar


class Layout(NamedTuple):
    """The static side of a tile (see ``tiling.Tiling``)."""

    dims: Mapping[str, tuple[int, ...]]  # field -> positions in the nest that it depends on
    depth: int  # number of axes
    lanes: int  # candidates per block
    tokens_inner: bool  # whether lanes differ in tokens alone, ascending: the first then has the least of every cost
    costs: tuple[str, ...]  # minimised quantities of the frontier
    inputs: tuple[str, ...] = ()  # further quantities that rows need
    finite: bool = False  # whether every raw score is known to be a finite number
    pieces: int = 1  # of a block, equal ones, that are held against costs apart
    rates: int = 0  # buckets of what a token costs, where rows of tokens are held against prices; else costs are looked up


def nest(
    function: Callable[[dict], Any], layout: Layout, dims: Mapping[str, tuple[int, ...]], with_lanes: Set[str] = frozenset()
) -> Callable[[dict], Any]:
    """``function`` of one block's values -> the same over a tile, one vmap per axis of the nest.

    A value that depends on the innermost axis (and those named in ``with_lanes``) carries its lanes on the leading array
    axis, out of the vmaps' way.
    """
    for position in reversed(range(layout.depth)):
        first = {name: int(has_lanes(name, layout) or name in with_lanes) for name in dims}
        axes = {name: first[name] if position in d else None for name, d in dims.items()}
        function = jax.vmap(function, in_axes=(axes,))
    return function


def has_lanes(name: str, layout: Layout) -> bool:
    """Whether a field's values differ between the candidates of a block."""
    return name in layout.dims and layout.depth - 1 in layout.dims[name]


def lane(values: Mapping[str, Scalar], layout: Layout, i: int) -> dict[str, Scalar]:
    """One candidate's field values out of a block's."""
    return {name: values[name][i] if has_lanes(name, layout) else values[name] for name in layout.dims}


def first_of_rows(layout: Layout, fields: dict) -> dict:
    """Values of a tile's fields cut to the first block of the innermost axis."""
    return {name: v[..., :1] if has_lanes(name, layout) else v for name, v in fields.items()}


def over_blocks(function: Callable[[dict], Any], values: dict) -> Callable[[dict], Any]:
    """``function`` of one candidate's values -> the same over [blocks, lanes], by the number of axes that each value has."""
    lanes = jax.vmap(function, in_axes=({name: 0 if jnp.ndim(v) == 2 else None for name, v in values.items()},))
    return jax.vmap(lanes, in_axes=({name: 0 if jnp.ndim(v) else None for name, v in values.items()},))


def tree(join: Callable, values: list) -> Any:
    """Values joined in pairs, and those again, until one is left."""
    while len(values) > 1:
        values = [join(*pair) if len(pair) == 2 else pair[0] for pair in (values[i : i + 2] for i in range(0, len(values), 2))]
    return values[0]
