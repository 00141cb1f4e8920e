"""The ``[axes]`` of a sweep spec: how an axis is expanded, and whether the grid of all of them makes sense."""

from collections.abc import Iterable, Mapping
from math import ceil, floor, prod
from typing import Any, Literal, Self

import numpy as np
from pydantic import model_validator

from perflaw_jax.design import FLAGS, Design, is_fraction
from perflaw_jax.space import MAX_CANDIDATES, Axis, Space, Table, is_continuous
from perflaw_jax.spec_values import (
    MAX_NUMBER,
    MAX_WHOLE,
    MAY_BE_ZERO,
    Ends,
    FieldName,
    Mistake,
    Number,
    SpecTable,
    Values,
    Whole,
    at,
    field_value,
    number,
    positive,
    show,
    whole,
)

NONE_OF = frozenset({"moe_intermediate_size", "shared_expert_intermediate_size"})  # widths whose ratio may be 0: none of them
MAX_VALUES = 10**7  # of one axis, and of one table of a field that depends on several axes


class AxisSpec(SpecTable):
    """One axis as it is written: ``values``, or ``start, stop, step``, or ``geometric, num``; absolute or relative."""

    values: Values | None = None
    start: Number | None = None
    stop: Number | None = None
    step: Number | None = None
    geometric: Ends | None = None
    num: Whole | None = None
    ratio_to: FieldName | None = None
    offset_to: FieldName | None = None
    multiple_of: Whole | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        forms = (("values",), ("start", "stop", "step"), ("geometric", "num"))
        given = [form for form in forms if any(getattr(self, key) is not None for key in form)]
        if len(given) != 1:
            raise Mistake("needs exactly one of: values; start, stop and step; geometric and num")
        missing = [key for key in given[0] if getattr(self, key) is None]
        if missing:
            raise Mistake(f"needs {' and '.join(missing)} too")
        if self.ratio_to is not None and self.offset_to is not None:
            raise Mistake("has both ratio_to and offset_to; keep one")
        if self.geometric is not None and self.num == 1 and self.geometric[0] != self.geometric[1]:
            raise Mistake("must be >= 2 to reach both ends", "num")
        return self

    @property
    def relation(self) -> Literal["ratio", "offset"] | None:
        """How the values relate to the base field, if to any."""
        return "ratio" if self.ratio_to is not None else "offset" if self.offset_to is not None else None

    def count(self, field: str) -> int:
        """Number of values, by arithmetic alone."""
        if self.values is not None:
            count = len(self.values)
        elif self.num is not None:
            count = self.num
        else:
            count = self._count_steps(field)
        if not 1 <= count <= MAX_VALUES:
            raise Mistake(f"has more than {MAX_VALUES:,} values" if count else "is empty", "values")
        return count

    def axis(self, field: str) -> Axis:
        """The axis of ``field``, every value checked."""
        count, checked = self.count(field), lambda key, value: self._value(field, key, value)
        if self.values is not None:
            values = [checked("values", value) for value in self.values]
        elif self.geometric is not None:
            first, last = (checked("geometric", value) for value in self.geometric)
            spaced = np.geomspace(first, last, count)
            values = (np.floor(spaced + 0.5) if self._exact(field) else spaced).tolist()
        else:
            start, stop, step = (checked(key, getattr(self, key)) for key in ("start", "stop", "step"))
            values = [start + i * step for i in range(count - 1)] + [stop]
        base = self.ratio_to if self.ratio_to is not None else self.offset_to
        return Axis(field, tuple(map(float, values)), self.relation, base, self.multiple_of)

    def _exact(self, field: str) -> bool:
        return not is_continuous(field) and self.relation != "ratio"

    def _value(self, field: str, key: str, value: Any) -> int | float:
        with at(key):
            if key == "step" or self.relation == "offset":  # of either sign
                return whole(value) if self._exact(field) else number(value)
            if self.relation == "ratio" and not (field in NONE_OF and number(value) == 0):
                return positive(value)
            return field_value(field, value)

    def _count_steps(self, field: str) -> int:
        start, stop, step = (self._value(field, key, getattr(self, key)) for key in ("start", "stop", "step"))
        if step == 0 or (stop - start) * step < 0:
            raise Mistake(f"{show(step)} never reaches stop {show(stop)} from start {show(start)}", "step")
        if self._exact(field):
            below, rest = divmod(stop - start, step)
            reached, above = rest == 0, below + 1
        else:
            steps = min((stop - start) / step, 10.0 * MAX_VALUES)  # endless is only too many
            reached = abs(steps - round(steps)) <= 1e-9 * max(1.0, steps)
            below, above = (round(steps), 0) if reached else (floor(steps), ceil(steps))
        if not reached:
            ends = " or ".join(show(start + i * step) for i in (below, above))
            raise Mistake(f"{show(stop)} is not reached from {show(start)} in steps of {show(step)}; nearest: {ends}", "stop")
        return int(below) + 1


def axis_entry(value: Any) -> AxisSpec | Literal["spend"]:
    """An axis from what the file holds: a table, a list of values, or "spend"."""
    if isinstance(value, str) and value == "spend":
        return value
    if isinstance(value, (list, tuple)):
        return AxisSpec.model_validate({"values": value})
    if not isinstance(value, Mapping):
        raise Mistake(f"must be a list or a table such as {{ start = 16, stop = 128, step = 2 }}, not {show(value)}")
    return AxisSpec.model_validate(value)


def build_space(specs: Mapping[str, AxisSpec], fixed: Mapping[str, float], spend: float | None) -> Space:
    """The grid of the axes, after every check that one candidate, one field or the whole grid can fail."""
    counts = {}
    for field, spec in specs.items():
        with at("axes", field):
            counts[field] = spec.count(field)
    total = prod(counts.values())
    if total > MAX_CANDIDATES:
        biggest = sorted(counts, key=counts.__getitem__, reverse=True)[:3]
        sizes = ", ".join(f"{field} ({counts[field]:,})" for field in biggest)
        raise Mistake(f"{total:.1e} candidates, more than {MAX_CANDIDATES:.1e}; the biggest are {sizes}", "axes")
    axes = {}
    for field, spec in specs.items():
        with at("axes", field):
            axes[field] = spec.axis(field)
    _check_bases(axes, fixed)
    space = Space(tuple(axes.values()), dict(fixed), spend)
    with np.errstate(all="ignore"):  # what overflows is reported by name
        for position, axis in enumerate(space.axes):
            if axis.base is not None or axis.multiple_of is not None:
                with at("axes", axis.field):
                    free = axis.field in MAY_BE_ZERO or is_fraction(axis.field)
                    used = not free or (axis.field == "intermediate_size" and not _moe_only(space))
                    _check_results(space, position, may_be_zero=not used)
    return space


def _check_bases(axes: Mapping[str, Axis], fixed: Mapping[str, float]) -> None:
    """Every base must be known, lead to no circle, and keep the table of the field that depends on it small."""

    def bases(field: str) -> tuple[str, ...]:
        if field in axes:
            base = axes[field].base
            return () if base is None else (base,)
        return ("hidden_size", "head_dim") if field == "num_attention_heads" and field not in fixed else ()

    def depends_on(field: str, path: tuple[str, ...] = ()) -> set[str]:
        if field in path:
            circle = " -> ".join((*path[path.index(field) :], field))
            raise Mistake(f"goes in a circle: {circle}", "axes", path[0])
        found = {field} & axes.keys()
        for base in bases(field):
            found |= depends_on(base, (*path, field))
        return found

    for field, axis in axes.items():
        known = {*axes, *fixed, *Design._field_defaults, "num_attention_heads"}
        if axis.base is not None and axis.base not in known:
            what = f"{axis.base} is neither an axis with values of its own nor fixed, and has no default"
            raise Mistake(what, "axes", field, f"{axis.relation}_to")
    for field in (*axes, "num_attention_heads"):
        over = depends_on(field)
        if len(over) > 1 and (size := prod(len(axes[name].values) for name in over)) > MAX_VALUES:
            names = ", ".join(name for name in axes if name in over)
            raise Mistake(f"{field} depends on {names}: {size:.1e} combinations, more than {MAX_VALUES:,}", "axes")


def spread(table: Table, dims: tuple[int, ...]) -> np.ndarray:
    """The values of a table, with one array axis for each of ``dims``."""
    return table.values.reshape([table.values.shape[table.dims.index(d)] if d in table.dims else 1 for d in dims])


def _check_results(space: Space, position: int, *, may_be_zero: bool) -> None:
    """The values of a relative or rounded axis must stay in range; the error names the first combination that leaves it."""
    axis, table = space.axes[position], space.tables[space.axes[position].field]
    exact = spread(Table((position,), np.asarray(axis.values)), table.dims)
    if axis.base is not None:
        base = spread(space.tables[axis.base], table.dims)
        exact = base * exact if axis.relation == "ratio" else base + exact
    high = 1 if axis.field in FLAGS or is_fraction(axis.field) else MAX_NUMBER if is_continuous(axis.field) else MAX_WHOLE
    lost = (table.values == 0) & ((exact != 0) | (not may_be_zero))
    bad = lost | ~((table.values >= 0) & (table.values <= high))  # NaN is bad too
    if not bad.any():
        return
    index = tuple(np.argwhere(bad)[0])
    others = [(space.axes[dim], i) for dim, i in zip(table.dims, index, strict=True)]
    where = ", ".join(" ".join(filter(None, (a.field, a.relation, show(a.values[i])))) for a, i in others)
    allowed = f"must be at most {high:g}" if table.values[index] > high else "must be > 0"
    raise Mistake(f"comes to {show(float(table.values[index]))} at {where}; {allowed}")


def require(field: str, given: Iterable[str], why: str = "") -> None:
    """``field`` must be among ``given``."""
    if field not in given:
        raise Mistake(f"{field} is missing{why}: give it under [axes] or [fixed]")


def _moe_only(space: Space) -> bool:
    """Whether no layer of any candidate has a dense FFN."""
    experts, leading = space.tables.get("num_experts"), space.tables.get("first_k_dense_replace")
    return experts is not None and experts.values.min() > 0 and (leading is None or leading.values.max() == 0)


def check_ffn(space: Space) -> None:
    """An FFN width of 0 or none is right only where no layer uses it; experts need a number and a width."""
    if not _moe_only(space):
        require("intermediate_size", {axis.field for axis in space.axes} | space.fixed.keys())
        if space.tables["intermediate_size"].values.min() == 0:
            raise Mistake("intermediate_size must be > 0 unless every candidate is an MoE with first_k_dense_replace 0")
    experts = space.tables.get("num_experts")
    if experts is None or experts.values.max() == 0:
        return
    for field in ("num_experts_per_tok", "moe_intermediate_size"):
        require(field, {axis.field for axis in space.axes} | space.fixed.keys(), " and num_experts is > 0")
        chosen = space.tables[field]
        if chosen.values.min() > 0:
            continue
        dims = tuple(sorted({*experts.dims, *chosen.dims}))
        if np.any((spread(experts, dims) > 0) & (spread(chosen, dims) == 0)):
            raise Mistake(f"{field} must be > 0 where num_experts is > 0")
