"""The commands that hand results over."""

from __future__ import annotations

import sys
from typing import Annotated

import typer


def export(
    directory: Annotated[str, typer.Argument(metavar="DIR", help="A result directory, or the URL of one.")],
    format: Annotated[str, typer.Option("--format", help="hf, megatron, torchtitan or maxtext.")],
    rank: Annotated[int, typer.Option(help="Which design, from 1, the best.")] = 1,
    family: Annotated[
        str | None, typer.Option(help="With --format hf: the model_type; if not given, one that holds the design.")
    ] = None,
    out: Annotated[
        str | None, typer.Option(metavar="FILE", help="Where to write it; the standard output if not given.")
    ] = None,
    table: Annotated[str, typer.Option("--from", help="The list that is ranked: top or frontier.")] = "top",
) -> None:
    """Write a design as another tool's configuration, with exactly its parameters."""
    from perflaw_jax.configs.ranked import ranked_config
    from perflaw_jax.files import as_place, write_atomic

    text = ranked_config(as_place(directory), table, rank, format, family)
    if out is None:
        sys.stdout.write(text)
    else:
        write_atomic(as_place(out), lambda temporary: temporary.write_text(text, encoding="utf-8"))
