"""The compiled programs of a problem: each is made on first use, and shared by the engines of problems with other numbers.

Programs are kept for the engines to come: a process that sweeps one spec again, or the same axes under other limits, compiles
once. A law that is a plain function is traced anew each time that it is loaded, since what it reads may have changed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, cached_property, lru_cache, partial
from typing import Any, NamedTuple

import jax
import numpy as np

from perflaw_jax import kernel
from perflaw_jax.bounds import Interval, UnboundedPrimitive, bound, interval
from perflaw_jax.census import census
from perflaw_jax.devices import Devices
from perflaw_jax.kernel import Task
from perflaw_jax.nest import Layout
from perflaw_jax.objective import make_design
from perflaw_jax.prices import prices
from perflaw_jax.space import Space

# XLA holds back to 256-bit vectors; twice the width was measured 1.5 to 1.8 times faster here, and is ignored elsewhere.
WIDE = {"xla_cpu_prefer_vector_width": 512}
# Without care for NaN a maximum is one instruction: a third faster, and right for scores that are known to be finite.
WIDE_AND_FINITE = {**WIDE, "xla_cpu_enable_fast_min_max": True}
MOST_KEPT = 256  # programs; the least recently used are dropped
RUN_ONCE = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}  # compiled in half the time


class Programs:
    """The kernel's functions compiled for one layout of tiles; laws, limits and values are arguments.

    Those that work on whole tiles run on all ``devices``, those that look at chosen blocks on the first.
    """

    def __init__(self, layout: Layout, devices: Devices | None = None):
        self._layout = layout
        self._devices = devices or Devices()

    @cached_property
    def survey(self) -> Callable:
        """``kernel.survey``."""
        return self._over_tiles(kernel.survey, self._layout, (True, True, False, False, True), WIDE)

    @cached_property
    def prices(self) -> Callable:
        """``prices.prices``."""
        return self._over_tiles(prices, self._layout, (True, False, False), WIDE)

    @cached_property
    def refine(self) -> Callable:
        """``kernel.refine``."""
        return _compiled(kernel.refine, self._layout, WIDE)

    @cached_property
    def decide(self) -> Callable:
        """``kernel.decide``."""
        return _compiled(kernel.decide, self._layout, {})

    @cached_property
    def wary(self) -> Finding:
        """``kernel.find`` and ``census`` for scores that may be anything."""
        return self._finding(self._layout, WIDE)

    @cached_property
    def sure(self) -> Finding:
        """The same for scores that are known to be finite."""
        return self._finding(self._layout._replace(finite=True), WIDE_AND_FINITE)

    def finding(self, law: Any, space: Space) -> Finding:
        """``sure`` where bounds over the whole grid show every raw score to be finite, in float32 as well; else ``wary``."""
        box = {name: _around(table.values) for name, table in space.tables.items()}
        try:
            found = _raw_bounds()(box, Task(law, {}, space.spend))
        except UnboundedPrimitive:
            return self.wary
        finite = np.isfinite(found.lower) & np.isfinite(found.upper) & ~np.asarray(found.nan)
        return self.sure if finite else self.wary

    def _finding(self, layout: Layout, options: dict[str, Any]) -> Finding:
        find = self._over_tiles(kernel.find, layout, (True, False, False, True, True), options)
        return Finding(find, self._over_tiles(census, layout, (True, True, False), WIDE))

    def _over_tiles(self, program: Callable, layout: Layout, per_tile: tuple[bool, ...], options: dict[str, Any]) -> Callable:
        return _compiled(program, layout, options, self._devices, per_tile)


class Finding(NamedTuple):
    """The programs that gain from knowing that scores are finite."""

    find: Callable
    census: Callable


def _compiled(
    program: Callable, layout: Layout, options: dict[str, Any], devices: Devices | None = None, per_tile: tuple[bool, ...] = ()
) -> Callable:
    return _kept(program, tuple(layout.dims.items()), layout[1:], tuple(options.items()), devices or Devices(), per_tile)


@lru_cache(MOST_KEPT)
def _kept(
    program: Callable, dims: tuple, rest: tuple, options: tuple, devices: Devices, per_tile: tuple[bool, ...]
) -> Callable:
    return devices.compiled(partial(program, Layout(dict(dims), *rest)), per_tile, dict(options))


@cache
def _raw_bounds() -> Callable:
    def raw(fields: dict[str, Any], task: Task) -> Any:
        return task.law.raw(make_design(fields, task.spend))

    return jax.jit(bound(raw), compiler_options=RUN_ONCE if jax.default_backend() == "cpu" else None)


def _around(values: np.ndarray) -> Interval:
    """The float32 interval that holds float64 values, and what they are in float32."""
    low, high = np.float32(values.min()), np.float32(values.max())
    low = low if low <= values.min() else np.nextafter(low, np.float32(-np.inf))
    high = high if high >= values.max() else np.nextafter(high, np.float32(np.inf))
    return interval(low, high)
