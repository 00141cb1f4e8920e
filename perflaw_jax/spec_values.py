"""How the values of a sweep spec are written: numbers such as "15T", field names, tables; and how a mistake is reported.

A user's mistake is raised as `Mistake`: what is wrong, and the key it is about. ``spec`` turns it into one line.
"""

import re
import reprlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, PlainValidator, model_validator

from perflaw_jax.design import FIELDS, FLAGS, FRACTION, QUANTITIES, is_fraction, nearest
from perflaw_jax.space import is_continuous

MAX_WHOLE = 2**53  # beyond it float64 skips whole numbers
MAX_NUMBER = 1e300
MAY_BE_ZERO = frozenset(FLAGS) | {
    "first_k_dense_replace",
    "intermediate_size",  # only in a pure MoE: see spec_axes
    "moe_intermediate_size",
    "num_experts",
    "num_experts_per_tok",
    "shared_expert_intermediate_size",
}

_NUMBER = re.compile(r"([+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+))(?:e([+-]?[0-9]{1,4}))?\s*([kmbgtpe]?)", re.IGNORECASE)
_SHARE = re.compile(re.escape(FRACTION) + r"[A-Za-z0-9_-]{1,60}")
_POWER = {"": 0, "k": 3, "m": 6, "b": 9, "g": 9, "t": 12, "p": 15, "e": 18}


class Mistake(ValueError):
    """What is wrong with a spec, and the key it is about, outermost part first."""

    def __init__(self, what: str, *key: Any):
        """``what`` is a phrase without the key; ``key`` its parts."""
        super().__init__(what)
        self.key = key


@contextmanager
def at(*key: str) -> Iterator[None]:
    """Every `Mistake` raised inside is about something under ``key``."""
    try:
        yield
    except Mistake as mistake:
        raise Mistake(str(mistake), *key, *mistake.key) from None


def show(value: object) -> str:
    """A value as an error message shows it: short, and on one line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and value.bit_length() > 1000:
        return "a huge number"
    if isinstance(value, float):
        short = f"{value:g}"
        return short if float(short) == value else f"{value:.12g}"
    brief = reprlib.Repr()
    brief.maxlevel, brief.maxdict, brief.maxlist, brief.maxstring, brief.maxlong, brief.maxother = 2, 4, 4, 40, 40, 40
    try:
        return brief.repr(value)
    except ValueError:  # Python prints no integer of more than 4300 digits, wherever it is nested
        return f"a {type(value).__name__}"


def number(value: Any) -> int | float:
    """A finite number from an int, a float or text such as "15T"."""
    match = _NUMBER.fullmatch(value.strip()) if isinstance(value, str) else None
    if match:
        mantissa, exponent, suffix = match.groups()
        result = float(f"{mantissa}e{int(exponent or 0) + _POWER[suffix.lower()]}")
    elif isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        result = int(value)
    elif isinstance(value, (float, np.floating)):
        result = float(value)
    else:
        raise Mistake(f'must be a number such as 4096, 1.5e12 or "15T", not {show(value)}')
    if not abs(result) <= MAX_NUMBER:
        raise Mistake(f"must be a finite number, not {show(value)}")
    return result


def whole(value: Any) -> int:
    """A whole number that float64 holds exactly."""
    result = number(value)
    if result != int(result):
        raise Mistake(f"must be a whole number, not {show(value)}")
    if abs(result) > MAX_WHOLE:
        raise Mistake(f"must be at most 2^53, not {show(value)}")
    return int(result)


def positive(value: Any, kind=number) -> int | float:
    """A number > 0; of ``kind`` `whole` a whole one."""
    result = kind(value)
    if result <= 0:
        raise Mistake(f"must be > 0, not {show(value)}")
    return result


def flag_or_number(value: Any) -> int | float:
    """A number, or true or false as it is: which of the two is right depends on the field."""
    return value if isinstance(value, bool) else number(value)


def flags_or_numbers(value: Any) -> tuple[int | float, ...]:
    """A list of them."""
    if not isinstance(value, (list, tuple)):
        raise Mistake(f"must be a list, not {show(value)}")
    return tuple(map(flag_or_number, value))


def two_ends(value: Any) -> tuple[int | float, int | float]:
    """The first and the last of a geometric axis."""
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise Mistake(f"must be two numbers, [first, last], not {show(value)}")
    return positive(value[0]), positive(value[1])


def number_range(text: str, where: str) -> tuple[str, float, float]:
    """``QUANTITY=LOW:HIGH`` -> its parts; a ValueError that begins with ``where`` for anything else.

    >>> number_range("training_flops=1e21:1e26", "--over")
    ('training_flops', 1e+21, 1e+26)
    """
    name, equals, ends = text.partition("=")
    low, colon, high = ends.partition(":")
    if not (name and equals and colon):
        raise ValueError(f"{where}: must be QUANTITY=LOW:HIGH, such as training_flops=1e21:1e26, not {text!r}")
    try:
        first, last = float(positive(low.strip())), float(positive(high.strip()))
    except Mistake as mistake:
        raise ValueError(f"{where}: {mistake}") from None
    if first > last:
        raise ValueError(f"{where}: the range goes from {low} down to {high}; give the lower budget first")
    return name.strip(), first, last


def field_value(field: str, value: Any) -> int | float:
    """One value of a Design field, checked: a flag, a whole number or a token count."""
    if field in FLAGS:
        if value not in (0, 1):
            raise Mistake(f"must be true or false (or 1 or 0), not {show(value)}")
        return int(value)
    result = number(value) if is_continuous(field) else whole(value)
    if is_fraction(field):
        if not 0 <= result <= 1:
            raise Mistake(f"must be in [0, 1], not {show(value)}")
        return result
    if result < 0 or (result == 0 and field not in MAY_BE_ZERO):
        raise Mistake(f"must be {'>= 0' if field in MAY_BE_ZERO else '> 0'}, not {show(value)}")
    return result


def field_name(name: Any) -> str:
    """The name of a Design field that is one number, or ``data_fraction.<domain>``."""
    return name if isinstance(name, str) and _SHARE.fullmatch(name) else known(name, FIELDS)


def quantity_name(name: Any, others: tuple[str, ...] = ()) -> str:
    """The name of a field or of anything that is counted from a design, or one of ``others``."""
    return name if isinstance(name, str) and _SHARE.fullmatch(name) else known(name, (*QUANTITIES, *others))


def known(name: Any, allowed) -> str:
    """``name`` if it is allowed; otherwise the error names the nearest one."""
    if name not in allowed:
        text = name if isinstance(name, str) else show(name)
        raise Mistake(f"unknown field; {nearest(text[:60], allowed)}")
    return name


Number = Annotated[Any, PlainValidator(number)]
Size = Annotated[Any, PlainValidator(positive)]
Whole = Annotated[Any, PlainValidator(lambda value: positive(value, whole))]
Value = Annotated[Any, PlainValidator(flag_or_number)]
Ends = Annotated[tuple[Any, Any], PlainValidator(two_ends)]
Values = Annotated[tuple[Any, ...], PlainValidator(flags_or_numbers)]
FieldName = Annotated[str, PlainValidator(field_name)]


class SpecTable(BaseModel):
    """A table of the spec: immutable, and no key but its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            raise Mistake(f"must be a table, not {show(data)}")
        for key in data:
            if key not in cls.model_fields:
                text = key if isinstance(key, str) else show(key)
                raise Mistake(f"unknown key; {nearest(text[:60], cls.model_fields)}", key)
        return data
