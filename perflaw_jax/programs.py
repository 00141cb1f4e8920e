"""The compiled programs of a problem: each is made on first use, and shared by the engines of problems with other numbers."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

import jax
import numpy as np

from perflaw_jax import kernel
from perflaw_jax.bounds import UnboundedPrimitive, bound
from perflaw_jax.intervals import Interval, interval
from perflaw_jax.kernel import Layout
from perflaw_jax.objective import make_design
from perflaw_jax.space import Space

# XLA holds back to 256-bit vectors; twice the width was measured 1.5 to 1.8 times faster here, and is ignored elsewhere.
WIDE = {"xla_cpu_prefer_vector_width": 512}
# Without care for NaN a maximum is one instruction: a third faster, and right for scores that are known to be finite.
WIDE_AND_FINITE = {**WIDE, "xla_cpu_enable_fast_min_max": True}
RUN_ONCE = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}  # compiled in half the time


class Programs:
    """The kernel's functions compiled for one law, space and layout of tiles."""

    def __init__(self, law: Any, space: Space, layout: Layout):
        self._law, self._space, self._layout = law, space, layout

    @cached_property
    def find(self) -> Callable:
        """``kernel.find``."""
        return self._compiled(kernel.find, self._knowing, WIDE_AND_FINITE if self._knowing.finite else WIDE)

    @cached_property
    def census(self) -> Callable:
        """``kernel.census``."""
        return self._compiled(kernel.census, self._knowing, WIDE)

    @cached_property
    def survey(self) -> Callable:
        """``kernel.survey``."""
        return self._compiled(kernel.survey, self._layout, WIDE)

    @cached_property
    def refine(self) -> Callable:
        """``kernel.refine``."""
        return self._compiled(kernel.refine, self._layout, WIDE)

    @cached_property
    def decide(self) -> Callable:
        """``kernel.decide``."""
        return self._compiled(kernel.decide, self._layout, {})

    def _compiled(self, program: Callable, layout: Layout, options: dict[str, Any]) -> Callable:
        return jax.jit(partial(program, layout), compiler_options=options if jax.default_backend() == "cpu" else None)

    @cached_property
    def _knowing(self) -> Layout:
        return self._layout._replace(finite=always_finite(self._law, self._space))


def always_finite(law: Any, space: Space) -> bool:
    """Whether every raw score of the grid is known to be a finite number, in float32 as well: by bounds over the whole grid."""

    def raw(values: dict[str, Any]) -> Any:
        return law.raw(make_design(values, space.spend))

    box = {name: _around(table.values) for name, table in space.tables.items()}
    try:
        found = jax.jit(bound(raw), compiler_options=RUN_ONCE if jax.default_backend() == "cpu" else None)(box)
    except UnboundedPrimitive:
        return False
    return bool(np.isfinite(found.lower) & np.isfinite(found.upper) & ~np.asarray(found.nan))


def _around(values: np.ndarray) -> Interval:
    """The float32 interval that holds float64 values, and what they are in float32."""
    low, high = np.float32(values.min()), np.float32(values.max())
    low = low if low <= values.min() else np.nextafter(low, np.float32(-np.inf))
    high = high if high >= values.max() else np.nextafter(high, np.float32(np.inf))
    return interval(low, high)
