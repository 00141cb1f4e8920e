"""A mixture law (FLP-M) fitted in its two stages on a table of runs, ready to be written as a file.

The first stage is fitted on every run at its end, the second on all rows. How far to trust it is measured by fitting both
again without the runs of the largest budgets, or without every fifth run where there is one budget.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np

from perflaw_jax.distance import support_of
from perflaw_jax.fit import resampled_runs
from perflaw_jax.fit_domains import LossFit, fit_domain_losses, resampled_domain_losses
from perflaw_jax.fit_network import CHOSEN, NetworkSettings, fit_network, resampled_networks
from perflaw_jax.fit_table import full_score
from perflaw_jax.fitted import DataRecord, FittedLaw, SupportRecord
from perflaw_jax.law_forms import as_record
from perflaw_jax.laws import TwoStage
from perflaw_jax.laws.entry import coefficients
from perflaw_jax.laws.mixture import WeightedLoss
from perflaw_jax.mixture_table import MixtureTable, checked

HELD_OUT = 5  # one run in so many
CRITERIA = "Huber of ln L, ridge on the sources' weights; Adam on the squared error of the score"


class MixtureOptions(NamedTuple):
    """What may be chosen of a fit."""

    form: str = "ces"  # of the first stage, see ``fit_domains``
    irreducible: bool | None = None  # a loss that no compute takes away; None: where there are three budgets or more
    chance: float = 0.0
    top: float | None = None  # the best score there is; None: 1, or 100 where a score is above 1.5
    network: NetworkSettings = CHOSEN
    seed: int = 0
    held_out: bool = True  # whether to fit again without some runs
    bootstrap: int = 0  # resamples of whole runs


DEFAULT = MixtureOptions()


def fit_mixture(
    table: MixtureTable,
    options: MixtureOptions = DEFAULT,
    *,
    name: str = "flp-m",
    metric: str = "",
    source: str = "fitted by the user",
) -> FittedLaw:
    """Fit a law from training FLOPs and the shares of data sources to a score, or to the mean loss where there is none.

    Args:
        table: the rows (see ``mixture_table``); scores may be fractions or points.
        options: how to fit.
        name: of the law.
        metric: what it predicts; the table's target if not given.
        source: whose runs these are, and under which licence.

    Raises:
        ValueError: in one line, what is wrong with which rows, or why they do not suffice.
    """
    table = checked(table)
    options = (
        options if options.top is not None else options._replace(top=1.0 if table.scores is None else full_score(table.scores))
    )
    ends = table.take(table.ends())
    stage, law = _fit(table, options)
    sample, lost = _bootstrap(table, options, stage) if options.bootstrap else ({}, [])
    measured = _held_out(table, options) if options.held_out else {}
    predicts_loss = table.scores is None
    budgets = np.unique(ends.flops)
    support = support_of((table.counted,), budgets[:, None]) if len(budgets) > 1 else None
    return FittedLaw(
        name=name,
        metric=metric or (f"mean loss over {len(ends.domains)} domains" if predicts_loss else table.target),
        unit="nats/token" if predicts_loss else "points" if options.top == 100 else "fraction",
        higher_is_better=not predicts_loss,
        source=source,
        valid=_valid(ends),
        note="; ".join([*stage.open, *lost, *_said(measured)]),
        law=as_record(law),
        sample=sample,
        support=None if support is None else SupportRecord(**_plain(support._asdict())),
        data=DataRecord(file=table.file, sha256=table.sha256, rows=len(table.flops), runs=len(ends.flops)),
        fit={
            "options": _plain(options._asdict() | {"network": options.network._asdict()}),
            "criteria": CRITERIA,
            "rms_error_of_ln_loss": dict(zip(ends.names, stage.errors.round(5).tolist(), strict=True)),
            "not_identified": list(stage.open),
            "held_out": measured,
        },
    )


def _fit(table: MixtureTable, options: MixtureOptions) -> tuple[LossFit, TwoStage]:
    ends = table.take(table.ends())
    stage = fit_domain_losses(
        ends.flops,
        ends.shares,
        ends.losses,
        sources=table.sources,
        domains=table.names,
        form=options.form,
        irreducible=options.irreducible,
        counted=table.counted,
    )
    if table.scores is None:
        count = table.losses.shape[1]
        return stage, TwoStage(stage.law, WeightedLoss(weights=np.full(count, 1 / count), losses=table.names))
    return stage, TwoStage(stage.law, fit_network(table.losses, table.scores, **_network_options(table, options)))


def _network_options(table: MixtureTable, options: MixtureOptions) -> dict[str, Any]:
    return {
        "chance": options.chance,
        "top": 1.0 if options.top is None else options.top,
        "domains": table.names,
        "settings": options.network,
        "seed": options.seed,
    }


def _bootstrap(table: MixtureTable, options: MixtureOptions, stage: LossFit) -> tuple[dict[str, list[Any]], list[str]]:
    """Coefficients on resamples of whole runs, both stages together, as a file holds them; and what went wrong, in words."""
    run = np.arange(len(table.flops)) if table.run is None else table.run
    runs = np.unique(run)
    draws = np.zeros((options.bootstrap, runs.max() + 1), np.int64)
    draws[:, runs] = resampled_runs(len(runs), options.bootstrap, options.seed)
    at_end = table.ends()
    ends = table.take(at_end)
    law, kept = resampled_domain_losses(stage, ends.flops, ends.shares, ends.losses, draws[:, run[at_end]], form=options.form)
    parts: dict[str, Any] = {"loss.": law}
    if table.scores is not None:
        network, trained = resampled_networks(table.losses, table.scores, draws[:, run], **_network_options(table, options))
        parts["score."], kept = network, kept & trained
    if not kept.any():
        return {}, ["no resample has enough runs for the coefficients: no uncertainty is known"]
    sample = {}
    for prefix, part in parts.items():
        for name, values in coefficients(part).items():
            if np.ndim(values) and len(values) == len(kept) and name not in ("center", "spread"):
                sample[prefix + name] = np.asarray(values)[kept].tolist()
    lost = f"{int((~kept).sum())} of {len(kept)} resamples had too few runs for the coefficients and are left out"
    return sample, [] if kept.all() else [lost]


def _held_out(table: MixtureTable, options: MixtureOptions) -> dict[str, Any]:
    """Errors on runs that both stages have not seen; only "why_not" where too few are left."""
    ends = table.ends()
    flops = table.flops[ends]
    several = len(np.unique(flops)) > 1
    if several:
        out = ends[flops >= np.sort(flops)[-max(1, len(ends) // HELD_OUT)]]
    else:
        out = ends[HELD_OUT - 1 :: HELD_OUT]
    test = table.take(out)
    run = np.arange(len(table.flops)) if table.run is None else table.run
    try:
        _, law = _fit(table.take(~np.isin(run, run[out])), options)
    except ValueError as error:
        return {"why_not": str(error)}
    with jax.enable_x64(True):
        losses = np.asarray(jax.jit(jax.vmap(law.loss.at))(test.flops, test.shares))
        scores = np.asarray(jax.jit(jax.vmap(lambda loss: law.clamp(law.score.of_loss(loss))))(losses))
    relative = np.abs(losses / test.losses - 1)
    measured: dict[str, Any] = {
        "runs": len(out),
        "which": f"those of {flops[np.isin(ends, out)].min():.3g} FLOPs and more" if several else f"every {HELD_OUT}th",
        "relative_error_of_loss": dict(zip(table.names, relative.mean(axis=0).round(5).tolist(), strict=True)),
    }
    if not several and len(out) > 2:
        ranks = [_rank_correlation(losses[:, i], test.losses[:, i]) for i in range(losses.shape[1])]
        measured["rank_correlation"] = dict(zip(table.names, np.round(ranks, 4).tolist(), strict=True))
    if test.scores is not None and not np.isnan(test.scores).all():
        measured["mean_absolute_error"] = round(float(np.nanmean(np.abs(scores - test.scores))), 5)
    return measured


def _said(measured: dict[str, Any]) -> list[str]:
    """The held-out errors in words."""
    if "why_not" in measured:
        return [f"not checked on held-out runs: {measured['why_not']}"]
    if not measured:
        return []
    error = float(np.mean(list(measured["relative_error_of_loss"].values())))
    words = f"held out {measured['runs']} runs ({measured['which']}): losses wrong by {error:.1%}"
    if "rank_correlation" in measured:
        words += f", rank correlation {np.mean(list(measured['rank_correlation'].values())):.3f}"
    if "mean_absolute_error" in measured:
        words += f", score by {measured['mean_absolute_error']:.3g} on average"
    return [words]


def _valid(ends: MixtureTable) -> str:
    low, high = ends.flops.min(), ends.flops.max()
    spent = f"{low:.3g} training FLOPs" if low == high else f"{low:.3g} to {high:.3g} training FLOPs"
    if not ends.sources:
        return f"{len(ends.flops)} runs of {spent}, one training mixture"
    ranges = zip(ends.sources, ends.shares.min(axis=0), ends.shares.max(axis=0), strict=True)
    return f"{len(ends.flops)} runs of {spent}; shares " + ", ".join(f"{name} {a:.2g} to {b:.2g}" for name, a, b in ranges)


def _rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    from scipy.stats import spearmanr

    return float(np.asarray(spearmanr(a, b))[0])


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in values.items()}
