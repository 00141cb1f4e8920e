"""A spec as TOML, read and written, and the overrides of a command line; a mistake in them is a `SpecError` of one line."""

import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from perflaw_jax.spec_values import show


class SpecError(ValueError):
    """A mistake in a spec, in one line: ``<where>: <dotted key>: <what is wrong, what is allowed>``."""


def spec_error(where: str, *parts: str) -> SpecError:
    """The error of ``where``, its parts joined to one line."""
    return SpecError(" ".join(": ".join(filter(None, (where, *parts))).split()))


def read_toml(path: str | PathLike[str]) -> dict[str, Any]:
    """The tables of a TOML file."""
    where = str(path)
    try:
        return tomllib.loads(Path(path).read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise spec_error(where, f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise spec_error(where, f"not UTF-8 text (line {line})") from None
    except (ValueError, RecursionError) as error:
        raise spec_error(where, f"not valid TOML: {error}") from None


def write_toml(spec: Mapping[str, Any]) -> str:
    """A spec as it could stand in a file.

    >>> print(write_toml({"axes": {"hidden_size": [512]}, "name": "tiny", "limits": {"total_params": {"max": 70 * 10**9}}}))
    name = "tiny"
    <BLANKLINE>
    [axes]
    hidden_size = [512]
    <BLANKLINE>
    [limits]
    total_params = { max = 7e+10 }
    """
    return "\n".join(_lines(spec)).strip()


def _lines(spec: Mapping[str, Any]) -> Iterator[str]:
    for name, value in spec.items():
        if not isinstance(value, Mapping):
            yield f"{_key(name)} = {_written(value)}"
    for name, table in spec.items():
        if isinstance(table, Mapping) and table:
            yield f"\n[{_key(name)}]"
            yield from (f"{_key(key)} = {_written(value)}" for key, value in table.items())


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_.-]+", name) else json.dumps(name)


def _written(value: Any) -> str:
    """A value; text and most numbers are written as in JSON, great whole ones as powers of ten where that is exact."""
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{_key(k)} = {_written(v)}' for k, v in value.items())} }}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_written, value))}]"
    great = isinstance(value, int) and abs(value) >= 10**9 and float(f"{value:g}") == value
    return f"{value:g}" if great else json.dumps(value)


def override(data: dict[str, Any], text: str, option: str = "--set", example: str = "output.top=10") -> None:
    """Apply one override such as ``"output.top=10"`` to parsed TOML; its value is TOML, or plain text such as ``15T``."""
    key, equals, value = text.partition("=")
    *tables, last = (part.strip() for part in key.split("."))
    if not (equals and last and all(tables)):
        raise spec_error(option, f"write key=value such as {example}, not {show(text)}")
    for table in tables:
        data = data.setdefault(table, {})
        if not isinstance(data, dict):
            raise spec_error(f"{option} {key}", f"{table} is no table here but {show(data)}; set it as a whole")
    data[last] = _toml_value(key, value.strip())


def locate_law(data: dict[str, Any], spec: str | PathLike[str], *, overridden: bool = False) -> None:
    """Put the paths of its files into the ``law`` of parsed TOML: those that are relative lie beside the spec or here.

    Beside the spec first, unless it was ``overridden`` on a command line. Paths are told from here where they lie below, so
    that a file has one name however the spec was named.
    """
    law = data.get("law")
    if isinstance(law, str):
        parts = (part.strip() for part in law.split(" + "))
        data["law"] = " + ".join(_located(p, Path(spec), overridden) if p.endswith(".json") else p for p in parts)


def _located(file: str, spec: Path, overridden: bool) -> str:
    if os.path.isabs(file):
        return file
    here, beside = os.path.abspath(os.curdir), os.path.abspath(spec.parent)
    for folder in (here, beside) if overridden else (beside, here):
        if os.path.isfile(found := os.path.normpath(os.path.join(folder, file))):
            return os.path.relpath(found, here) if Path(found).is_relative_to(here) else found
    return file  # it may not be there yet: whoever needs the law says so


def _toml_value(key: str, text: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError) as error:
        if text[:1] in ("{", "[", '"', "'"):
            raise spec_error(f"--set {key}", f"not a TOML value: {show(text)} ({error})") from None
        return text
    value = parsed["value"]
    return value if len(parsed) == 1 and isinstance(value, (bool, int, float, str, list, dict)) else text
