"""How wrong every MMLU law is on real base models: as published, refitted without the organisation, and before a date."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
from scipy.stats import rankdata

from perflaw_jax import datasets
from perflaw_jax.held_out import Intervals, Refit, Rows, intervals, left_out, left_out_intervals, own_intervals, reach, scores
from perflaw_jax.laws import LAWS, LawEntry, MmluCalibrated
from perflaw_jax.objective import make_design
from perflaw_jax.recipes import SCORE_LAWS

if TYPE_CHECKING:
    from pandas import DataFrame

CHANCE = 28.0  # points: a model up to here has guessed
LEAST_ORGANISATIONS = 3
PUBLISHED, LEFT_OUT = "as published", "organisation left out"
BASELINES = ("performance-moe", "mmlu-calibrated", "compute-sigmoid")  # performance-moe scores dense models as the dense law
METRICS = ("mmlu", "score")  # in small letters; a user's own function predicts a score, as far as is known

_REFITTED = [SCORE_LAWS[name] for name in ("performance-dense", "performance-moe", "mmlu-calibrated", "compute-sigmoid")]
FREE = {type(recipe.law): (*recipe.spread,) for recipe in _REFITTED}  # form of a law -> what its refit may change
FREE[MmluCalibrated] += ("progress",)  # these models are of several years


class Contender(NamedTuple):
    """A law and the models that it is held against."""

    name: str
    law: Any
    rows: np.ndarray  # bool, over the table's scored models
    free: tuple[str, ...] = ()  # what its refit may change; empty for a law that is not refitted


class Result(NamedTuple):
    """What one law said of some models under one protocol."""

    law: str
    protocol: str
    rows: np.ndarray  # places of the models in the table
    predicted: np.ndarray
    intervals: Intervals | None = None

    def where(self, chosen: np.ndarray) -> Result:
        """The result for some of its models."""
        ends = None if self.intervals is None else Intervals(*(end[chosen] for end in self.intervals))
        return self._replace(rows=self.rows[chosen], predicted=self.predicted[chosen], intervals=ends)


class Scoreboard(NamedTuple):
    """Every law's predictions of the models that can be scored."""

    models: DataFrame  # name, organization (where the table has it), released, kind, mmlu
    results: list[Result]
    post_trained: list[str]  # names of the models left out for that
    unknown: list[str]  # names of those without MMLU or training tokens
    notes: list[str]  # which protocols were skipped, and why


def scoreboard(table: DataFrame, chosen: LawEntry | None = None, before: str = "2024-07") -> Scoreboard:
    """Hold laws against the models of a table.

    Args:
        table: as ``datasets.load_models`` reads it; column ``organization`` is needed to leave organisations out.
        chosen: score this law beside the baselines; every MMLU law of the registry if None.
        before: year and month; the last protocol fits to what was released before, and tests on the rest.

    Raises:
        ValueError: the law does not predict MMLU or cannot score these models, or there is nothing to hold it against.
    """
    year_of(before, "--before")
    known, post_trained = datasets.scored_rows(table), np.asarray(table["score_is_post_trained"], bool)
    names = np.asarray(table["name"], object)
    models = table.loc[known & ~post_trained].reset_index(drop=True)
    rows = _rows(models)
    groups, notes = _organisations(models)
    results = []
    for contender in _contenders(rows, np.asarray(models["kind"] == "moe"), chosen):
        held, skipped = _held(contender, rows, groups, before)
        results, notes = results + held, notes + skipped
    kept = [name for name in ("name", "organization", "released", "kind", "mmlu") if name in models]
    return Scoreboard(models.loc[:, kept], results, names[known & post_trained].tolist(), names[~known].tolist(), notes)


def year_of(released: str, where: str) -> float:
    """A year and month as a number of years; a year alone is its January.

    >>> year_of("2024-07", ""), year_of("2023", "")
    (2024.5, 2023.0)
    """
    found = re.fullmatch(r"(\d{4})(?:-(0[1-9]|1[0-2])(-\d\d)?)?", released)
    if not found:
        raise ValueError(f"{where}: must be a year and month such as 2024-07, not {released}")
    return int(found[1]) + (int(found[2] or 1) - 1) / 12


def measures(result: Result, models: DataFrame) -> dict[str, float | None]:
    """How wrong a result is, in points; None where a measure is not known.

    Args:
        result: of one law under one protocol.
        models: those of the scoreboard.
    """
    truth, moe = np.asarray(models["mmlu"], float)[result.rows], np.asarray(models["kind"] == "moe")[result.rows]
    errors = result.predicted - truth
    ranks = rankdata([result.predicted, truth], axis=1)
    ranked = len(errors) > 2 and np.ptp(ranks, axis=1).all()
    lower, upper = result.intervals or (np.array([]), np.array([]))
    covered = (lower <= truth) & (truth <= upper) if result.intervals else lower
    return {
        "count": len(errors),
        "mean_absolute_error": _mean(np.abs(errors)),
        "mean_absolute_error_above_chance": _mean(np.abs(errors[truth > CHANCE])),
        "mean_absolute_error_dense": _mean(np.abs(errors[~moe])),
        "mean_absolute_error_moe": _mean(np.abs(errors[moe])),
        "bias": _mean(errors),
        "rank_correlation": float(np.corrcoef(ranks)[0, 1]) if ranked else None,
        "coverage": _mean(covered),
        "width": _mean(upper - lower),
    }


def _mean(values: np.ndarray) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _rows(models: DataFrame) -> Rows:
    reported, tokens = (np.asarray(models[name], float) for name in ("mmlu", "tokens_t"))
    if not len(models):
        raise ValueError("no model of the table has both MMLU and training tokens (tokens_t), and is not post-trained")
    for name, values, wrong, what in (
        ("mmlu", reported, ~((reported >= 0) & (reported <= 100)), "must be 0 to 100 points"),
        ("mmlu", reported, np.full(len(models), reported.max() <= 1), "must be in points, 0 to 100, not a fraction"),
        ("tokens_t", tokens, ~((tokens > 0) & np.isfinite(tokens)), "must be > 0"),
    ):
        if wrong.any():
            raise ValueError(f"{name}: {what}, not {values[wrong][0]:g} (row {models['name'].iloc[int(wrong.argmax())]})")
    years = [year_of(d, f"released (row {n})") for n, d in zip(models["name"], models["released"], strict=True)]
    return Rows(datasets.model_fields(models), np.array(years), reported)


def _organisations(models: DataFrame) -> tuple[np.ndarray | None, list[str]]:
    """The organisation of each model, or why they cannot be left out one by one."""
    skipped = "organisations were not left out one by one:"
    if "organization" not in models:
        return None, [f"{skipped} the table has no column organization"]
    blank = np.asarray(models["organization"].isna())
    if blank.any():
        return None, [f"{skipped} organization is blank (row {models['name'].iloc[int(blank.argmax())]})"]
    return np.asarray(models["organization"], str), []


def _contenders(rows: Rows, moe: np.ndarray, chosen: LawEntry | None) -> list[Contender]:
    """The laws, each with all models or, where it knows no experts, the dense ones."""
    laws = {entry.name: entry for entry in LAWS.values() if entry.metric == "MMLU"}
    if chosen is not None:
        _refuse_other_metrics(chosen, rows)
        others = {name: laws[name] for name in BASELINES if laws[name] is not chosen}
        laws = {f"{chosen.name} (yours)" if chosen.name in others else chosen.name: chosen} | others
    shown = []
    for name, entry in laws.items():
        free = FREE.get(type(getattr(entry.law, "point", entry.law)), ())
        shown.append(Contender(name, entry.law, np.ones(len(moe), bool) if entry.experts else ~moe, free))
    return [contender for contender in shown if contender.rows.any()]


def _refuse_other_metrics(entry: LawEntry, rows: Rows) -> None:
    if entry.metric.casefold() not in METRICS or not entry.higher_is_better:
        allowed = ", ".join(name for name, law in LAWS.items() if law.metric == "MMLU")
        what = entry.metric if entry.higher_is_better else f"{entry.metric}, of which less is better"
        raise ValueError(f"law: {entry.name} predicts {what}, not MMLU; laws that do: {allowed}, or your own")
    design = make_design({name: values[0] for name, values in rows.fields.items()})
    with jax.enable_x64(True):
        entry.check(lambda design: entry.law.clamp(entry.law.raw(design)), design, experts=False)


def _held(contender: Contender, rows: Rows, groups: np.ndarray | None, before: str) -> tuple[list[Result], list[str]]:
    """A law under every protocol that it and the models allow, and why it is not under the others."""
    name, law, _, free = contender
    said = scores(law, rows)
    places = np.flatnonzero(contender.rows & np.isfinite(said))
    missed = int(contender.rows.sum()) - len(places)
    notes = [f"{name} gives no finite score for {missed} of these models"] if missed else []
    if not len(places):
        return [], notes
    rows, said, groups = rows.where(places), said[places], None if groups is None else groups[places]
    own = own_intervals(law, rows) if hasattr(law, "quantile") else None
    late = rows.years >= year_of(before, "--before")
    results = [Result(name, PUBLISHED, places, said, own)]
    if late.any() and not late.all():
        results.append(Result(name, f"{PUBLISHED}, from {before}", places, said, own).where(late))
    if free:
        refit = Refit(getattr(law, "point", law), free, rows)
        trials = {f"fitted before {before}": lambda: _by_date(refit, groups, late)}
        trials = trials if groups is None else {LEFT_OUT: lambda: _by_organisation(refit, groups)} | trials
        for protocol, trial in trials.items():
            try:
                predicted, ends = trial()
            except _TooFew as reason:
                notes.append(f"{name}, {protocol}: {reason}")
            else:
                results.append(Result(name, protocol, places, predicted, ends).where(np.isfinite(predicted)))
        if refit.stuck:
            notes.append(f"{name}: {refit.stuck} refits did not converge")
    return results, notes


class _TooFew(Exception):
    """A protocol leaves too few models to fit to."""


def _by_organisation(refit: Refit, groups: np.ndarray) -> tuple[np.ndarray, Intervals | None]:
    left, least = _left(groups, 1), len(refit.free) + 2
    if left < least or len(np.unique(groups)) < LEAST_ORGANISATIONS:
        told = f"{left} models of {len(np.unique(groups)) - 1} organisations without the largest"
        raise _TooFew(f"{told}; needs {least} of {LEAST_ORGANISATIONS - 1}")
    predicted = left_out(refit, groups, np.ones(len(groups), bool))
    if not hasattr(refit.law, "interval") or _left(groups, 2) < least:
        return predicted, None
    return predicted, left_out_intervals(refit, groups, predicted)


def _by_date(refit: Refit, groups: np.ndarray | None, late: np.ndarray) -> tuple[np.ndarray, Intervals | None]:
    """What the law fitted to earlier models says of the later ones; NaN for the earlier."""
    early, least = int((~late).sum()), len(refit.free) + 2
    if early < least or not late.any():
        raise _TooFew(f"{early} models before and {late.sum()} after; needs {least} before and one after")
    values = refit.fit(~late)
    predicted = np.where(late, refit.scores(values), np.nan)
    if groups is None or not hasattr(refit.law, "interval") or _left(groups[~late], 1) < least:
        return predicted, None
    below, above = reach(refit.law, left_out(refit, groups, ~late), refit.rows.reported)
    return predicted, intervals(refit.law, predicted, below, above)


def _left(groups: np.ndarray, number: int) -> int:
    """Models that are left when some organisations are not there, at worst."""
    return int(np.sort(np.unique(groups, return_counts=True)[1])[:-number].sum())
