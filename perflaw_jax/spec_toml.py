"""Reading a spec's TOML and the overrides of a command line; whatever is wrong with them is a `SpecError` of one line."""

import os
import tomllib
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


def override(data: dict[str, Any], text: str) -> None:
    """Apply one override such as ``"output.top=10"`` to parsed TOML; its value is TOML, or plain text such as ``15T``."""
    key, equals, value = text.partition("=")
    *tables, last = (part.strip() for part in key.split("."))
    if not (equals and last and all(tables)):
        raise spec_error("--set", f"write key=value such as output.top=10, not {show(text)}")
    for table in tables:
        data = data.setdefault(table, {})
        if not isinstance(data, dict):
            raise spec_error(f"--set {key}", f"{table} is no table here but {show(data)}; set it as a whole")
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
