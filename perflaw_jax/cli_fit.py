"""The command that fits a law on the user's own runs."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer


def fit(
    law: Annotated[str, typer.Argument(metavar="LAW", help="A law of `perflaw laws`, or LOSS + SCORE such as 'flp'.")],
    data: Annotated[Path, typer.Argument(metavar="DATA", help="The runs, a row per run or checkpoint: CSV or Parquet.")],
    out: Annotated[Path | None, typer.Option(help="The fitted law; <law>.json if not given.")] = None,
    target: Annotated[str | None, typer.Option(metavar="COLUMN", help="The score.")] = None,
    loss: Annotated[
        str | None, typer.Option(metavar="COLUMN[,COLUMN]", help="The loss, averaged; `loss` if not given.")
    ] = None,
    runs: Annotated[str | None, typer.Option(metavar="COLUMN", help="What tells runs apart; `run` if there is one.")] = None,
    where: Annotated[list[str] | None, typer.Option(metavar="COLUMN=VALUE", help="Rows to fit on; may be repeated.")] = None,
    column: Annotated[list[str] | None, typer.Option(metavar="NAME=COLUMN", help="The column that is a quantity.")] = None,
    chance: Annotated[
        float | None, typer.Option(help="Score of a guess: checkpoints within 5 points of it are left out.")
    ] = None,
    local: Annotated[
        float | None, typer.Option(min=0, help="Fit the score only where the loss is so near to the least, in nats.")
    ] = None,
    huber: Annotated[float | None, typer.Option(help="Residual from which errors count in proportion; inf: squares.")] = None,
    hold: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="Hold a coefficient.")] = None,
    free: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="Fit one that is held, from a value.")] = None,
    form: Annotated[str, typer.Option(help="flp-m: ces, product or mixing: how the loss depends on the mixture.")] = "ces",
    bootstrap: Annotated[
        int | None, typer.Option(help="Resamples of whole runs, 1,000 unless given, for flp-m 100; 0 for none.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the starts and the resamples.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print machine-readable results.")] = False,
) -> None:
    """Fit a law on your own runs, with its uncertainty; the file is a law: law = "FILE.json" in a spec."""
    for package in ("optimistix", "optax"):
        if find_spec(package) is None:
            raise ValueError(f"perflaw fit needs {package}: pip install 'perflaw_jax[fit]'")
    from perflaw_jax.fit_runner import Wanted, fit_law, plan_of

    plan_of(law)  # before anything is read
    wanted = Wanted(
        target=target,
        loss=tuple(part.strip() for part in loss.split(",")) if loss else (),
        runs=runs,
        chance=chance,
        local=local,
        huber=_threshold(huber),
        hold=_values("--hold", hold or ()),
        free=_values("--free", free or ()),
        form=form,
        bootstrap=bootstrap,
        seed=seed,
    )
    from perflaw_jax import answers
    from perflaw_jax.fit_table import read_table
    from perflaw_jax.fitted import save_fitted

    fitted, stages = fit_law(law, read_table(data).where(where or ()).renamed(column or ()), wanted)
    path = out or Path(f"{law.replace(' + ', '-')}.json")
    save_fitted(fitted, path)
    answers.fitted(fitted, stages, path, as_json)


def _threshold(huber: float | None) -> float | None:
    if huber is not None and not huber > 0:
        raise ValueError(f"--huber: must be > 0, not {huber:g}")
    return huber


def _values(option: str, settings: Iterable[str]) -> dict[str, float]:
    values = {}
    for setting in settings:
        name, equals, text = (part.strip() for part in setting.partition("="))
        try:
            values[name] = float(text)
        except ValueError:
            equals = ""
        if not (name and equals):
            raise ValueError(f"{option}: must be NAME=VALUE, such as irreducible=1.7, not {setting!r}")
    return values
