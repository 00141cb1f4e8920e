"""The devices of one host that tiles are spread over: one compiled program, one tile per device at a time.

A program is mapped over the devices with ``jax.shard_map`` instead of being dispatched to each: jit compiles anew for every
device that it is dispatched to (measured: 8 compilations for 8 devices), and a mesh once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

T = TypeVar("T")
AXIS = "device"


@dataclass(frozen=True)
class Devices:
    """Some of this host's devices, the first ``count`` of them; ValueError where there are not so many."""

    count: int = 1

    def __post_init__(self) -> None:
        """Check that they are there."""
        here = jax.local_device_count()
        if not 1 <= self.count <= here:
            raise ValueError(f"--devices: must be 1 to {here}, the devices of this host, not {self.count}")

    @cached_property
    def _mesh(self) -> Mesh | None:
        return Mesh(np.array(jax.local_devices()[: self.count]), (AXIS,)) if self.count > 1 else None

    def compiled(self, program: Callable, per_tile: Sequence[bool], options: dict[str, Any]) -> Callable:
        """``program`` jitted; over several devices its results, and arguments that are ``per_tile``, have a first axis more.

        Args:
            program: pure function of positional arguments.
            per_tile: for each argument, whether it belongs to one tile (see ``stacked``) or is the same for all.
            options: of the compiler, used on CPUs only.
        """
        options = options if jax.default_backend() == "cpu" else {}
        if self._mesh is None:
            return jax.jit(program, compiler_options=options or None)

        def on_one(*arguments: Any) -> Any:
            own = [jax.tree.map(lambda leaf: leaf[0], a) if tiled else a for a, tiled in zip(arguments, per_tile, strict=True)]
            return jax.tree.map(lambda leaf: leaf[None], program(*own))

        specs = tuple(PartitionSpec(AXIS) if tiled else PartitionSpec() for tiled in per_tile)
        mapped = jax.shard_map(on_one, mesh=self._mesh, in_specs=specs, out_specs=PartitionSpec(AXIS), check_vma=False)
        return jax.jit(mapped, compiler_options=options or None)

    def stacked(self, trees: Sequence[Any]) -> Any:
        """Arguments of one tile each -> the argument of a compiled program; what is missing repeats the last tile."""
        if self._mesh is None:
            return trees[0]
        filled = [*trees, *[trees[-1]] * (self.count - len(trees))]
        return jax.tree.map(lambda *leaves: np.stack([np.asarray(leaf) for leaf in leaves]), *filled)

    def placed(self, values: np.ndarray) -> jax.Array:
        """What ``stacked`` gave, handed over to the devices: for as long as it is used again and again."""
        return jax.device_put(values, None if self._mesh is None else NamedSharding(self._mesh, PartitionSpec(AXIS)))

    def of_tile(self, results: Any, place: int) -> Any:
        """What a compiled program returned for the tile at ``place`` of those that were stacked."""
        if self._mesh is None:
            return results
        return jax.tree.map(lambda leaf: _shard(leaf, place), results)


def _shard(leaf: jax.Array, place: int) -> np.ndarray:
    """The part of a sharded array that one device holds, without gathering the others."""
    (found,) = (s.data for s in leaf.addressable_shards if (s.index[0].start or 0) == place)
    return np.asarray(found)[0]
