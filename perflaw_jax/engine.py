"""The engine: one problem's programs compiled, tile values kept on the device, and exact evaluation of chosen blocks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np

from perflaw_jax.asked import Asked, single
from perflaw_jax.devices import Devices
from perflaw_jax.kernel import Decided, Promise, Surveyed, Task
from perflaw_jax.objective import Bound
from perflaw_jax.prices import Scale
from perflaw_jax.programs import Finding, Programs
from perflaw_jax.reduce import Batch
from perflaw_jax.space import Space
from perflaw_jax.tiling import MAX_LANES, Tiling

T = TypeVar("T")
LOOSENING = 4e-6  # relative; counts in float32 are good to 2.4e-7 (measured over 10^6 random architectures)
LARGEST = float(np.finfo(np.float32).max)
LEAST_MARGIN = 2e-6  # of a float32 raw score, relative to 1 + |raw|
SMALL = 2**16  # bytes: handing over a numpy array of this size with the call costs less than a transfer of its own
BATCHES = (256, 4096)  # blocks per call of the deciding program: a trace for each that is used
REFINED = (256, 2**14)  # of the refining program
FEW = 4 * BATCHES[0]  # blocks up to which several small batches take less time than a large one that is mostly filling
FEW_REFINED = 6 * REFINED[0]  # the same for the refining program


@dataclass(frozen=True)
class Problem:
    """What is swept: a space, a law of which more is better, hard limits and the frontier's minimised costs."""

    space: Space
    law: Any
    limits: Mapping[str, Bound] = field(default_factory=dict)
    costs: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()  # further quantities that rows need


Starts = Sequence[tuple[int, ...]]  # of tiles: their first index along each axis of the nest


class Rows(NamedTuple):
    """Candidates with everything known of them: ids int64 [n], index along each axis [n], exact results [n]."""

    ids: np.ndarray
    digits: list[np.ndarray]
    decided: Decided


class Slab(NamedTuple):
    """The feasible candidates of one tile of an engine made with ``in_order``, in the order of their ids."""

    start: tuple[int, ...]  # of the tile
    ids: np.ndarray  # int64 [n]
    place: np.ndarray  # inside the tile, int64 [n]
    surveyed: Surveyed  # of the whole tile


class Engine:
    """The compiled programs of one problem and their exact counterparts on the host.

    Args:
        problem: what is swept.
        target: candidates per tile.
        in_order: keep the space's last axis innermost and take each candidate for a block, so that the places in a tile
            count its candidates in the order of their ids.
        devices: how many of this host's devices work on tiles, one tile each at a time.
    """

    def __init__(self, problem: Problem, *, target: int = 2**25, in_order: bool = False, devices: int = 1):
        self.problem = problem
        self.devices = Devices(devices)
        self.tiling = Tiling(problem.space, target, max_lanes=1 if in_order else MAX_LANES, in_order=in_order)
        self.layout = self.tiling.layout(problem.costs, problem.inputs)
        self.programs = Programs(self.layout, self.devices)
        self._device_values: dict[tuple, Any] = {}
        self._by_block: dict[tuple, np.ndarray] = {}
        self._priced: tuple[Any, ...] = (None, None, None)
        self._task = Task(problem.law, dict(problem.limits), problem.space.spend)
        self.margin = LEAST_MARGIN

    def at(self, problem: Problem) -> Engine:
        """An engine with the same compiled programs for a problem with other numbers in its limits, its law or ``spend``."""
        other = self.on(problem.space)
        other.problem = problem
        other._task = Task(problem.law, dict(problem.limits), problem.space.spend)
        return other

    def on(self, space: Space) -> Engine:
        """An engine with the same compiled programs for another space: axes of the same fields, lengths and relations."""
        other = copy(self)
        other.problem = replace(self.problem, space=space)
        other.tiling = replace(self.tiling, space=space)
        other._device_values, other._by_block, other._priced = {}, {}, (None, None, None)
        other.__dict__.pop("_finding", None)  # what is known of the scores of one space says nothing of another's
        if space is not self.problem.space:
            for known in ("_tables", "_rates"):
                other.__dict__.pop(known, None)
        return other

    @property
    def finite(self) -> bool:
        """Whether every raw score of the grid is known to be a finite number."""
        return self._finding is self.programs.sure

    @cached_property
    def _finding(self) -> Finding:
        return self.programs.finding(self.problem.law, self.problem.space)

    def _finding_task(self) -> Task:
        """Limits loosened for float32: counts by ``LOOSENING``, the score by its measured error."""
        limits = {name: bound.loosened(LOOSENING) for name, bound in self.problem.limits.items()}
        if "score" in limits:
            low, high, *_ = self.problem.limits["score"]
            limits["score"] = Bound(
                None if low is None else low - self.margin * (1 + abs(low)),
                None if high is None else high + self.margin * (1 + abs(high)),
            )
        return Task(self.problem.law, {name: _as_single(b) for name, b in limits.items()}, self.problem.space.spend)

    # --- device programs -------------------------------------------------------------------------------------------

    # Each takes the starts of at most as many tiles as there are devices; ``devices.of_tile`` picks one tile's results.

    def find(self, starts: Starts, asked: Asked) -> Any:
        """Dispatch the float32 program on tiles (asynchronous): which of their blocks any reducer may want."""
        floors = self.devices.stacked([asked.of_tile(start) for start in starts])
        values = self._tile_values(starts, np.float32)
        prices = self._prices(starts, values["training_tokens"], asked) if self.layout.rates else None
        return self._finding.find(values, self._finding_task(), asked.screen, floors, prices)

    def _prices(self, starts: Starts, tokens: Any, asked: Asked) -> Any:
        """What is asked of the rows of tiles, the same for all tiles of one settlement that have the same tokens."""
        places = [start[-1] for start in starts]
        if self._priced[0] is not asked or self._priced[1] != places:
            self._priced = asked, places, self.programs.prices(tokens, asked.screen, self._rates)
        return self._priced[-1]

    @cached_property
    def _rates(self) -> Scale:
        """Buckets for what a token costs, between the corners of the grid."""
        decided, _, _ = self.decide(corners(self.tiling.blocks))
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            rates = (decided.costs[0] / decided.training_tokens).astype(np.float32)
        known = rates[np.isfinite(rates) & (rates > 0)]
        known = known if len(known) else np.ones(1)
        return Scale.over(float(known.min()), float(known.max()), self.layout.rates)

    def census(self, starts: Starts) -> dict[str, Any]:
        """Dispatch the float64 counts of tiles (asynchronous): check -> how many candidates it holds for."""
        with jax.enable_x64(True):
            return self._finding.census(*self._tiles(starts), self._task)

    def survey(self, starts: Starts, asked: Asked) -> Surveyed:
        """Dispatch the float64 program on tiles (asynchronous); only for an engine made with ``in_order``."""
        floors = self.devices.stacked([asked.of_tile(start) for start in starts])
        with jax.enable_x64(True):
            return self.programs.survey(*self._tiles(starts), self._task, asked.screen, floors)

    def _tiles(self, starts: Starts) -> tuple[dict[str, Any], dict[str, Any]]:
        """Exact field values inside tiles, and per axis of the nest which indices lie inside the grid."""
        inside = {
            f"inside{i}": self._on_devices(("inside", i), (i,), starts, partial(self.tiling.inside, i))
            for i in range(self.layout.depth)
        }
        return self._tile_values(starts, np.float64), inside

    def decide(
        self, coordinates: list[np.ndarray], dtype: type = np.float64, size: int | None = None
    ) -> tuple[Decided, np.ndarray, np.ndarray]:
        """Evaluate blocks exactly.

        Args:
            coordinates: of the blocks, per axis of the nest, int64 [m].
            dtype: float64, or float32 to measure the float32 error.
            size: blocks per call of the program; what fits best of ``BATCHES`` if not given.

        Returns:
            Decided with numpy leaves [m, lanes], candidate ids [m, lanes], and which of them are real [m, lanes].
        """
        count = len(coordinates[0])
        if not count:  # evaluate any block, return none
            decided, ids, real = self.decide([np.zeros(1, np.int64)] * self.layout.depth, dtype)
            return jax.tree.map(lambda leaf: leaf[:0], decided), ids[:0], real[:0]
        parts, task = [], self._task if dtype == np.float64 else self._finding_task()
        with jax.enable_x64(dtype == np.float64):
            for some in _batches(coordinates, (size, size) if size else BATCHES, FEW):
                digits, real = self.tiling.members(some)
                decided = self.programs.decide(self._fields(some, dtype), task, dtype(min(self.margin, LARGEST)))
                parts.append((decided, np.broadcast_to(self.problem.space.ids(digits), real.shape), real))
            return _joined(parts, count)

    def refine(self, coordinates: list[np.ndarray], asked: Asked) -> Promise:
        """What blocks may hold, candidate by candidate in float32: leaves [m], see ``kernel.refine``.

        Compiled anew, like ``find``, where the axes have other lengths.
        """
        parts, task = [], self._finding_task()
        for some in _batches([c.astype(np.int32) for c in coordinates], REFINED, FEW_REFINED):
            parts.append(self.programs.refine(self._tables, some, task, asked.screen, asked.floors))
        return _joined(parts, len(coordinates[0]))

    @cached_property
    def _tables(self) -> dict[str, Any]:
        """Field values of all blocks, float32 on the device."""
        return {name: jax.device_put(self.tiling.by_block(name).astype(np.float32)) for name in self.tiling.dims}

    def _fields(self, coordinates: list[np.ndarray], dtype: type) -> dict[str, Any]:
        """Field values of blocks: [m], or [m, lanes] where the innermost axis sets them."""
        found = {}
        for name, dims in self.tiling.dims.items():
            if (name, dtype) not in self._by_block:
                self._by_block[name, dtype] = self.tiling.by_block(name).astype(dtype, copy=False)
            found[name] = self._by_block[name, dtype][tuple(coordinates[d] for d in dims)]
        return found

    def _tile_values(self, starts: Starts, dtype: type) -> dict[str, Any]:
        """Values of the fields inside tiles."""

        def values(name: str, start: tuple[int, ...]) -> np.ndarray:
            return self.tiling.values(name, start).astype(dtype)

        dims = self.tiling.dims
        return {name: self._on_devices((name, dtype), dims[name], starts, partial(values, name)) for name in dims}

    def _on_devices(
        self, key: tuple, dims: tuple[int, ...], starts: Starts, values: Callable[[tuple[int, ...]], np.ndarray]
    ) -> Any:
        """Values of tiles, kept on the devices from one round to the next while they stay the same.

        They depend on where a tile starts along ``dims``, positions in the nest.
        """
        places = [tuple(start[d] for d in dims) for start in starts]
        if self._device_values.get(key, (None,))[0] != places:
            found = self.devices.stacked([values(start) for start in starts])
            small = self.devices.count == 1 and found.nbytes < SMALL
            self._device_values[key] = places, found if small else self.devices.placed(found)
        return self._device_values[key][1]


def _as_single(bound: Bound) -> Bound:
    """A bound as float32 holds it: what is infinite there passes an end beyond the largest number."""
    with np.errstate(over="ignore"):
        low = None if bound.min is None else float(single(bound.min))
        return bound._replace(min=low, max=None if bound.max is None else float(np.float32(bound.max)))


def _batches(coordinates: list[np.ndarray], sizes: tuple[int, int], few: int) -> Iterator[list[np.ndarray]]:
    """Cut coordinates of blocks into batches of the larger size, a rest of up to a ``few`` blocks into those of the smaller.

    Hence two traces. The last block is repeated as filling.
    """
    first, count = 0, len(coordinates[0])
    while first < count:
        size = sizes[0] if count - first <= few else sizes[1]
        place = np.minimum(np.arange(first, first + size), count - 1)
        yield [c[place] for c in coordinates]
        first += size


def _joined(parts: list[T], count: int) -> T:
    """The results of some batches, without the filling, on the host."""

    def joined(*leaves: Any) -> np.ndarray:
        there = [np.asarray(leaf) for leaf in leaves]
        return (there[0] if len(there) == 1 else np.concatenate(there))[:count]

    return jax.tree.map(joined, *parts)


def as_batch(decided: Decided, ids: np.ndarray, real: np.ndarray) -> Batch:
    """The feasible candidates among exactly evaluated blocks, flat."""
    place = np.flatnonzero(decided.feasible & real)  # twice as fast as a mask

    def flat(values: np.ndarray) -> np.ndarray:
        return np.ravel(values)[place]

    d = decided
    costs = np.stack([flat(c) for c in d.costs], axis=1) if d.costs else np.empty((len(place), 0))
    return Batch(flat(ids), flat(d.score), flat(d.training_flops), flat(d.total_params), flat(d.low), flat(d.high), costs)


def spread(shape: tuple[int, ...], count: int) -> list[np.ndarray]:
    """Coordinates of about ``count`` points spread evenly over every axis of a grid (a Latin hypercube), and its corners."""
    size = math.prod(shape)
    if size <= count:
        return list(np.unravel_index(np.arange(size), shape))
    random = np.random.default_rng(0)  # fixed: the same sweep takes the same steps
    columns = [random.permutation(np.arange(count) * n // count) for n in shape]
    return [np.concatenate([column, corner]) for column, corner in zip(columns, corners(shape), strict=True)]


def corners(shape: tuple[int, ...]) -> list[np.ndarray]:
    """Coordinates of a grid's corners."""
    return list(np.array(np.meshgrid(*((0, n - 1) for n in shape), indexing="ij")).reshape(len(shape), -1))
