"""The sweep spec: a TOML file, checked, as one immutable object.

Whatever is wrong with a spec is a `SpecError` of one line: the file, the dotted key, what is wrong and what is allowed.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, PlainValidator, PrivateAttr, ValidationError, field_validator, model_validator

from perflaw_jax.design import FIELDS, FRACTION, is_fraction
from perflaw_jax.hardware import training_budget
from perflaw_jax.space import Space
from perflaw_jax.spec_axes import AxisSpec, axis_entry, build_space, check_ffn, require
from perflaw_jax.spec_toml import locate_law, override, read_toml, spec_error
from perflaw_jax.spec_values import (
    MAX_WHOLE,
    MAY_BE_ZERO,
    FieldName,
    Mistake,
    Number,
    Size,
    SpecTable,
    Value,
    Whole,
    at,
    field_value,
    number,
    positive,
    quantity_name,
    show,
    whole,
)

MAX_TOP = 10**7
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


class LimitSpec(SpecTable):
    """A hard limit: ``min`` <= value <= ``max``, and a multiple of ``multiple_of``; what is None does not bind."""

    min: Number | None = None
    max: Number | None = None
    multiple_of: Whole | None = None


class Hardware(SpecTable):
    """A training budget in the words of a cluster: ``accelerators`` of ``peak_flops`` (FLOPs/s) for ``days`` at ``mfu``."""

    accelerators: Whole
    peak_flops: Size
    mfu: Size
    days: Size

    @field_validator("mfu")
    @classmethod
    def _fraction(cls, mfu: float) -> float:
        if mfu > 1:
            raise Mistake(f"must be in (0, 1], not {show(mfu)}")
        return mfu


def _limit(value: Any) -> LimitSpec | Hardware:
    if isinstance(value, Mapping):
        return (Hardware if value.keys() & Hardware.model_fields.keys() else LimitSpec).model_validate(value)
    return LimitSpec.model_validate({"max": value})


def _name(value: Any) -> str:
    if not (isinstance(value, str) and _NAME.fullmatch(value)):
        raise Mistake(f"must be at most 100 letters, digits, '-', '_' and '.', not starting with - or ., not {show(value)}")
    return value


def _text(value: Any) -> str:
    if not (isinstance(value, str) and value.strip()):
        raise Mistake(f"must be text, not {show(value)}")
    return value


def _top(value: Any) -> int:
    if not 1 <= (top := whole(value)) <= MAX_TOP:
        raise Mistake(f"must be 1 to {MAX_TOP:,}, not {show(value)}")
    return top


Text = Annotated[str, PlainValidator(_text)]
Cost = Annotated[str, PlainValidator(quantity_name)]
LimitName = Annotated[str, PlainValidator(lambda name: quantity_name(name, ("score",)))]


class Output(SpecTable):
    """What is kept: the best ``top`` designs, the ``frontier`` of score against costs, and which ``rows``; and what ranks."""

    top: Annotated[int, PlainValidator(_top)] = 1000
    frontier: tuple[Cost, ...] = ("training_flops",)
    rows: Literal["none", "feasible", "compact"] = "none"
    rank_by: Literal["score", "score_p05", "score_p50", "score_p95"] = "score"

    @field_validator("frontier")
    @classmethod
    def _few(cls, costs: tuple[str, ...]) -> tuple[str, ...]:
        if len(costs) > 2 or len({*costs}) < len(costs):
            raise Mistake(f"must be at most 2 distinct names, not {show([*costs])}")
        return costs


class SweepSpec(SpecTable):
    """A valid sweep spec: the grid, the limits that bind it and what is kept of it. Made by `load_spec` or `parse_spec`."""

    name: Annotated[str, PlainValidator(_name)] = "sweep"
    law: Text = "performance-dense"
    axes: dict[FieldName, Annotated[AxisSpec | Literal["spend"], PlainValidator(axis_entry)]] = {}
    fixed: dict[FieldName, Value] = {}
    limits: dict[LimitName, Annotated[LimitSpec, PlainValidator(_limit)]] = {}
    law_settings: dict[Text, Number] = {}
    output: Output = Output()
    _space: Space = PrivateAttr()

    @field_validator("fixed")
    @classmethod
    def _fixed_values(cls, fixed: dict[str, Any]) -> dict[str, float]:
        values = {}
        for field, value in fixed.items():
            with at(field):
                values[field] = float(field_value(field, value))
        return values

    @field_validator("limits")
    @classmethod
    def _limits_make_sense(cls, limits: dict[str, LimitSpec | Hardware]) -> dict[str, LimitSpec]:
        checked = {}
        for name, limit in limits.items():
            with at(name):
                checked[name] = _check_limit(name, _bought(name, limit) if isinstance(limit, Hardware) else limit)
        return checked

    @model_validator(mode="after")
    def _grid_makes_sense(self) -> Self:
        axes = {field: axis for field, axis in self.axes.items() if isinstance(axis, AxisSpec)}
        spend = None
        for field in self.axes:
            if field in self.fixed:
                raise Mistake("is also an axis; keep one of the two", "fixed", field)
            if field not in axes:
                spend = self._spend(field)
        for field in ("num_hidden_layers", "hidden_size", "training_tokens"):
            require(field, {*self.axes, *self.fixed})
        self._space = build_space(axes, self.fixed, spend)
        check_ffn(self._space)
        return self

    def _spend(self, field: str) -> float:
        with at("axes", field):
            if field != "training_tokens":
                raise Mistake('only training_tokens can be "spend"')
            if self.budget is None:
                raise Mistake('"spend" needs limits.training_flops with a max')
            return self.budget

    @property
    def budget(self) -> float | None:
        """The training FLOPs allowed, if they are limited."""
        limit = self.limits.get("training_flops")
        return None if limit is None or limit.max is None else float(limit.max)

    def space(self) -> Space:
        """The grid of candidates."""
        return self._space

    def canonical(self) -> str:
        """The spec as JSON, the same text however its numbers and lists were written; itself a spec for `parse_spec`."""
        plain = _plain(self)
        plain["axes"] = {field: _plain(axis) for field, axis in self.axes.items()}  # their order means something
        return json.dumps(plain, separators=(",", ":"))

    def sha256(self) -> str:
        """The SHA-256 of `canonical`, in hexadecimal."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        value = dict(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in sorted(value.items()) if item is not None}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, bool) or (isinstance(value, (int, float)) and value == int(value) and abs(value) <= MAX_WHOLE):
        return int(value)
    return float(value) if isinstance(value, int) else value


def _bought(name: str, hardware: Hardware) -> LimitSpec:
    if name != "training_flops":
        raise Mistake(f"{', '.join(Hardware.model_fields)} give training_flops only; here a number, or min, max, multiple_of")
    return LimitSpec(max=number(training_budget(**dict(hardware))))


def _check_limit(name: str, limit: LimitSpec) -> LimitSpec:
    low, high = limit.min, limit.max
    if low is None and high is None and limit.multiple_of is None:
        raise Mistake("must be a number (= max) or hold at least one of: min, max, multiple_of")
    if limit.multiple_of is not None and name not in FIELDS:
        raise Mistake("only fields of the design have multiples, not counts, ratios or the score", "multiple_of")
    if name != "score":
        if low is not None and low < 0:
            raise Mistake(f"must be >= 0, not {show(low)}", "min")
        if high is not None and name not in MAY_BE_ZERO and not is_fraction(name):
            with at("max"):
                positive(high)
        if high is not None and high < 0:
            raise Mistake(f"must be >= 0, not {show(high)}", "max")
    if low is not None and high is not None and low > high:
        raise Mistake(f"min {show(low)} is above max {show(high)}")
    return limit


def parse_spec(mapping: Mapping[str, Any], *, where: str = "spec") -> SweepSpec:
    """The spec that a mapping (a parsed TOML file) describes; ``where`` opens the message of a `SpecError`."""
    mapping = _shares_named_in_full(mapping)
    try:
        return SweepSpec.model_validate(mapping)
    except ValidationError as error:
        raise spec_error(where, *_explain(error, mapping)) from None


def _shares_named_in_full(mapping: Mapping[str, Any]) -> Mapping[str, Any]:
    """TOML takes ``data_fraction.code = 0.5`` for a table in a table; here it is one key."""
    if not isinstance(mapping, Mapping):
        return mapping
    named = dict(mapping)
    for table in {"axes", "fixed", "limits"} & named.keys():
        if isinstance(named[table], Mapping) and isinstance(named[table].get(FRACTION[:-1]), Mapping):
            entries: dict[Any, Any] = {}
            for key, value in named[table].items():
                entries |= {f"{FRACTION}{domain}": v for domain, v in value.items()} if key == FRACTION[:-1] else {key: value}
            named[table] = entries
    return named


def load_spec(path: str | PathLike[str], overrides: Iterable[str] = ()) -> SweepSpec:
    """The spec in a TOML file, with ``overrides`` such as ``"limits.training_flops=1e24"`` applied in order.

    The file of a law is looked for beside the spec, then in the current directory; of an override the other way round.

    Raises:
        SpecError: the file cannot be read, is not TOML, or does not describe a sweep.
    """
    data = read_toml(path)
    written = data.get("law")
    for text in overrides:
        override(data, text)
    locate_law(data, path, overridden=data.get("law") != written)
    stem = re.sub(r"[^A-Za-z0-9_.-]+", "-", Path(path).stem).lstrip("-.")[:100]
    return parse_spec({"name": stem or "sweep", **data}, where=str(path))


_PYDANTIC = {  # what pydantic itself finds wrong, in our words
    "missing": "{name} is missing",
    "dict_type": "must be a table, not {input}",
    "tuple_type": "must be a list, not {input}",
    "literal_error": "must be {expected}, not {input}",
}


def _explain(error: ValidationError, data: Any) -> tuple[str, str]:
    """The first problem: the dotted key, as far as the user wrote it, and what is wrong there."""
    problem = error.errors(include_url=False)[0]
    context = problem.get("ctx", {})
    mistake, words = context.get("error"), _PYDANTIC.get(problem["type"])
    what = str(mistake or problem["msg"])
    if words is not None:
        what = words.format(name=problem["loc"][-1], input=show(problem["input"]), **context)
    key = ""
    for part in (*problem["loc"], *getattr(mistake, "key", ())):
        if isinstance(data, Mapping) and part in data:
            text = part if isinstance(part, str) and re.fullmatch(r"[\w.-]{1,80}", part) else show(part)
            key, data = f"{key}.{text}" if key else text, data[part]
        elif isinstance(data, (list, tuple)) and isinstance(part, int):
            key, data = f"{key}[{part}]", data[part]
    return key, what
