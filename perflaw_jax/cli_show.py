"""The commands that show and hand over results."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from perflaw_jax import answers
from perflaw_jax.cli_common import Json, Place


def report(
    directory: Place,
    out: Annotated[Path | None, typer.Option(metavar="DIR", readable=False, help="Where to write; DIR if not given.")] = None,
    heat: Annotated[
        str | None, typer.Option(metavar="AXIS,AXIS", help="The axes of the heat map; layers and hidden size if not given.")
    ] = None,
    models: Annotated[
        Path | None,
        typer.Option("--models", exists=True, dir_okay=False, help="A table of real models in place of the shipped one."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a page and figures that show a result: the frontier, trade-offs, the best designs, where they come from."""
    from perflaw_jax.files import as_place, is_local

    for package in ("plotly", "matplotlib"):
        if find_spec(package) is None:
            raise ValueError(f"perflaw report needs {package}: pip install 'perflaw_jax[plot]'")
    place = as_place(directory)
    where = out or place
    if not is_local(where):
        raise ValueError(f"--out: name a local directory to write to, as {directory} is none")
    pair = None if heat is None else [part.strip() for part in heat.split(",")]
    from perflaw_jax.report.writer import write_report

    written = write_report(place, where, pair, models)
    if as_json:
        return answers.machine({"files": [str(path) for path in written]})
    print("\n".join(map(str, written)))


def export(
    directory: Place,
    format: Annotated[str, typer.Option("--format", help="hf, megatron, torchtitan or maxtext.")],
    rank: Annotated[int, typer.Option(help="Which design, from 1, the best.")] = 1,
    family: Annotated[
        str | None, typer.Option(help="With --format hf: the model_type; if not given, one that holds the design.")
    ] = None,
    out: Annotated[
        str | None, typer.Option(metavar="FILE", help="Where to write it; the standard output if not given.")
    ] = None,
    table: Annotated[str, typer.Option("--from", help="The list that is ranked: top, frontier or curve.")] = "top",
) -> None:
    """Write a design as another tool's configuration, with exactly its parameters."""
    from perflaw_jax.configs.ranked import ranked_config
    from perflaw_jax.files import as_place, write_atomic

    text = ranked_config(as_place(directory), table, rank, format, family)
    if out is None:
        sys.stdout.write(text)
    else:
        write_atomic(as_place(out), lambda temporary: temporary.write_text(text, encoding="utf-8"))


def planner(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Of the page on 127.0.0.1.")] = 8501,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Open no browser, only print the address.")] = False,
) -> None:
    """Open the web planner on this machine: what to train on so many accelerators in so many days."""
    for package in ("streamlit", "plotly"):
        if find_spec(package) is None:
            raise ValueError(f"perflaw planner needs {package}: pip install 'perflaw_jax[planner]'")
    from perflaw_jax.planner.serve import serve

    serve(port, browser=not no_browser)
