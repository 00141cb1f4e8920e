"""The commands. They parse, call and print; heavy imports wait until a command runs, so that --help is instant."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from perflaw_jax import answers
from perflaw_jax.cli_common import DONE, FAILED, INFEASIBLE, WRONG_INPUT, Json, Law, Settings, Spec, fail
from perflaw_jax.cli_fit import fit
from perflaw_jax.cli_predict import predict
from perflaw_jax.cli_show import planner, report
from perflaw_jax.cli_sweep import merge, sweep, verify

INTERRUPTED = 130  # what typer returns after Ctrl-C

app = typer.Typer(
    name="perflaw",
    help="Pick the shape of a language model before training it.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Models = Annotated[
    Path | None,
    typer.Option("--models", exists=True, dir_okay=False, help="A table of the same columns in place of the shipped one."),
]


def main() -> None:
    """Run a command; every expected failure is one line on stderr and an exit code."""
    arguments = sys.argv[1:] or ["--help"]
    sys.path.append(str(Path.cwd()))  # where a user's own law lies
    try:
        code = app(arguments, prog_name="perflaw", standalone_mode=False)
        if code == INTERRUPTED:
            code = fail("stopped", FAILED)
    except MemoryError:
        code = fail("out of memory", FAILED)
    except Exception as error:
        code = _expected(error)
        if code is None:
            raise
    sys.exit(code or DONE)


def _expected(error: Exception) -> int | None:
    """The exit code of a failure that a user can understand, after saying it; None for a defect of the program."""
    told = getattr(error, "format_message", None)  # of a mistake on the command line
    if told is not None:
        return fail(told(), WRONG_INPUT)
    if isinstance(error, ValueError):
        return fail(str(error), WRONG_INPUT)
    if isinstance(error, OSError) or type(error).__name__ in ("StoreError", "Stopped"):
        return fail(str(error), FAILED)
    if type(error).__name__ == "JaxRuntimeError" and "RESOURCE_EXHAUSTED" in str(error):
        return fail(f"the device is out of memory: {str(error).splitlines()[0]}", FAILED)
    return None


app.command()(predict)


@app.command()
def laws(as_json: Json = False) -> None:
    """List the laws with their sources and the range that they hold for."""
    from perflaw_jax.catalogue import all_laws

    answers.laws([*all_laws()], as_json)


@app.command()
def models(
    models_file: Models = None,
    as_json: Json = False,
) -> None:
    """Show real models against the Performance Law, with errors per year and kind."""
    from perflaw_jax import datasets
    from perflaw_jax.laws import LAWS
    from perflaw_jax.prediction import score_models

    scored = score_models(None if models_file is None else str(models_file))
    answers.models(scored, datasets.errors(scored), {name: LAWS[name].note for name in sorted({*scored["law"]})}, as_json)


app.command()(fit)


@app.command()
def validate(
    models_file: Models = None,
    law: Law = None,
    before: Annotated[str, typer.Option(metavar="YYYY-MM", help="Fit to earlier models, test on the later ones.")] = "2024-07",
    as_json: Json = False,
) -> None:
    """Hold every MMLU law, or one beside the baselines, against real models: as published, and refitted without them."""
    from perflaw_jax import datasets
    from perflaw_jax.catalogue import find_law

    chosen = None if law is None else find_law(law)
    from perflaw_jax.scoreboard import scoreboard

    answers.validated(scoreboard(datasets.load_models(models_file), chosen, before), as_json)


app.command()(sweep)
app.command()(merge)


@app.command()
def search(
    spec_file: Spec,
    method: Annotated[str, typer.Option(help="exact: the certified optimum; optuna: trials under a budget.")] = "exact",
    out: Annotated[
        Path | None, typer.Option(readable=False, help="Result directory; results/<name>-<method> if not given.")
    ] = None,
    settings: Settings = None,
    gap: Annotated[float, typer.Option(help="exact: stop when nothing left out can be better by more than this.")] = 0.0,
    trials: Annotated[int, typer.Option(help="Trials in the whole study, earlier runs and other processes included.")] = 1000,
    sampler: Annotated[
        str | None, typer.Option(help="random, qmc, tpe, cmaes, gp, nsgaii, nsgaiii or rustuna; by default what suits.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the sampler; a search in memory can be repeated.")] = 0,
    cell: Annotated[
        str | None, typer.Option(metavar="AXIS[,AXIS]", help="Axes that a trial leaves open: all their values are evaluated.")
    ] = None,
    multi: Annotated[bool, typer.Option("--multi", help="Search for the frontier: the score and output.frontier.")] = False,
    storage: Annotated[
        str | None, typer.Option(help="sqlite:///FILE, postgresql://USER@HOST/DATABASE or journal:FILE; memory if not given.")
    ] = None,
    study: Annotated[str | None, typer.Option(help="The study's name in the storage; the spec's if not given.")] = None,
    as_json: Json = False,
) -> None:
    """Search a grid that is too large to sweep: for its certified optimum, or with Optuna under a budget of trials."""
    from perflaw_jax.design import nearest
    from perflaw_jax.spec import load_spec

    if method not in (methods := ("exact", "optuna")):
        raise ValueError(f"--method: no method named {method!r}; {nearest(method, methods)}")
    spec = load_spec(spec_file, settings or ())
    where = out or Path("results") / f"{spec.name}-{method}"
    from perflaw_jax import progress

    with progress.shown(spec.name, spec.space().size) as tick:
        if method == "exact":
            from perflaw_jax.exact_runner import run_exact

            found = run_exact(spec, where, gap, tick)
        else:
            from perflaw_jax.optuna_runner import Plan, run_optuna

            axes = tuple(part.strip() for part in cell.split(",")) if cell is not None else ()
            plan = Plan(trials=trials, sampler=sampler, seed=seed, cell=axes, multi=multi, storage=storage, study=study)
            found = run_optuna(spec, where, plan, tick)
    answers.searched(found, as_json)
    if not len(found.top["score"]):
        trials_made, candidates = found.account.get("trials"), found.account["counts"]["candidates"]
        tried = f"{trials_made['finished']:,} trials" if trials_made else f"{candidates:,} candidates"
        raise typer.Exit(fail(f"none of {tried} satisfies the limits", INFEASIBLE))


@app.command()
def curve(
    spec_file: Spec,
    over: Annotated[str, typer.Option(metavar="QUANTITY=LOW:HIGH", help="What is limited, and the budgets' range.")],
    num: Annotated[int, typer.Option(min=1, help="Budgets, in equal ratios.")] = 26,
    out: Annotated[
        Path | None, typer.Option(readable=False, help="Result directory; results/<name>-curve if not given.")
    ] = None,
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """Find the certified optimum under each of several budgets, the power laws through them, and what binds where."""
    from perflaw_jax.spec import load_spec
    from perflaw_jax.spec_values import number_range

    spec = load_spec(spec_file, settings or ())
    quantity, low, high = number_range(over, "--over")
    where = out or Path("results") / f"{spec.name}-curve"
    import numpy as np

    from perflaw_jax import progress
    from perflaw_jax.curve_runner import run_curve

    with progress.shown(spec.name, spec.space().size) as tick:
        outcome = run_curve(spec, where, quantity, np.geomspace(low, high, num).tolist(), tick)
    answers.curve(outcome, as_json)
    if not len(outcome.columns["budget"]):
        raise typer.Exit(fail("no candidate satisfies the limits under any of the budgets", INFEASIBLE))


app.command()(report)
app.command()(planner)
app.command()(verify)
