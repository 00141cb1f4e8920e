"""What the commands share: exit codes, how a failure is told, and options that mean the same everywhere."""

import sys
from pathlib import Path
from typing import Annotated

import typer

DONE, FAILED, WRONG_INPUT, INFEASIBLE = 0, 1, 2, 3

Place = Annotated[str, typer.Argument(metavar="DIR", help="A result directory, or the URL of one.")]
Spec = Annotated[Path, typer.Argument(metavar="SPEC", help="A sweep spec (TOML).")]
Settings = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the spec.")]
Law = Annotated[str | None, typer.Option(help="A law of `perflaw laws`, or your own as package.module:object.")]
Json = Annotated[bool, typer.Option("--json", help="Print machine-readable results.")]


def fail(message: str, code: int) -> int:
    """Say in one line on stderr what went wrong."""
    print(f"perflaw: {' '.join(message.split())}", file=sys.stderr)
    return code
