"""A law fitted on a table of runs: in one stage or two, bootstrapped over whole runs, as a file that can be swept with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import numpy as np

from perflaw_jax.design import nearest
from perflaw_jax.distance import support_of
from perflaw_jax.fit import Fit, Rows, fit, refit, resampled_runs, rows_of, summary
from perflaw_jax.fit_mixture import MixtureOptions, fit_mixture
from perflaw_jax.fit_table import Table, full_score
from perflaw_jax.fitted import CovarianceRecord, DataRecord, FittedLaw, SupportRecord, stacked
from perflaw_jax.law_forms import as_record
from perflaw_jax.laws import LAWS, TwoStage
from perflaw_jax.laws.entry import coefficients, with_coefficients
from perflaw_jax.mixture_table import mixture_table
from perflaw_jax.recipes import LOSS_LAWS, RECIPES, SCORE_LAWS, SCORE_MAPS, Recipe

ABOVE_CHANCE = 0.05  # of the full score: checkpoints closer to chance say nothing of the slope
NAMED = {"flp": "power-law + linear", "flp-logistic": "power-law-irreducible + logistic"}
MIXTURE = "flp-m"
RESAMPLES, RESAMPLES_OF_MIXTURE = 1000, 100  # where networks are trained on each
LOCAL = {"flp-logistic": 0.3}  # nats; chosen on the OLMo ladder by what runs up to 1.3B say of those of 3.2B


@dataclass(frozen=True)
class Wanted:
    """What is to be fitted, and on which columns.

    Attributes:
        target: column of the score; None for a law of the loss.
        loss: columns of the loss, averaged; ``loss`` if none is named.
        runs: column that tells runs apart; ``run`` if there is one.
        chance: score of a guess: checkpoints within 5 points of it are left out of the second stage.
        local: only checkpoints whose loss is so close to the least enter the second stage, in nats.
        huber: threshold of the residual in place of the law's own.
        hold: coefficients held at a value.
        free: coefficients fitted from a value, which are held otherwise.
        form: of the losses of a mixture law, see ``fit_domains``.
        bootstrap: resamples of whole runs; 0 for none; 1,000 if not given, of a mixture law 100.
        seed: of the starts and the resamples.
    """

    target: str | None = None
    loss: tuple[str, ...] = ()
    runs: str | None = None
    chance: float | None = None
    local: float | None = None
    huber: float | None = None
    hold: Mapping[str, float] = field(default_factory=dict)
    free: Mapping[str, float] = field(default_factory=dict)
    form: str = "ces"
    bootstrap: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class Stage:
    """One fit among several: where it goes in the law, its recipe and rows, and what came of it."""

    prefix: str  # of the names of its coefficients
    recipe: Recipe
    rows: Rows
    found: Fit


def fit_law(name: str, table: Table, wanted: Wanted) -> tuple[FittedLaw, list[Stage]]:
    """Fit a law by name.

    Args:
        name: of the registry; or "LOSS + SCORE", one of ``recipes.LOSS_LAWS`` and one of ``recipes.SCORE_MAPS``.
        table: the runs.
        wanted: columns and choices.

    Returns:
        The law as its file holds it, and the fits that it is made of.

    Raises:
        ValueError: there is no such law, or the table does not do; one line.
    """
    if wanted.bootstrap is None:
        wanted = replace(wanted, bootstrap=RESAMPLES_OF_MIXTURE if name == MIXTURE else RESAMPLES)
    elif wanted.bootstrap < 0:
        raise ValueError(f"--bootstrap: must be >= 0, not {wanted.bootstrap}")
    if name == MIXTURE:
        return _mixture(table, wanted), []
    plan = plan_of(name)
    if wanted.form != Wanted.form:
        raise ValueError(f"--form: only {MIXTURE} has forms")
    if wanted.local is None:
        wanted = replace(wanted, local=LOCAL.get(name))
    recipes = _recipes(plan, table, wanted)
    columns = _columns(recipes, table, wanted)
    run = table.runs(wanted.runs)
    stages, notes = [], list(table.notes)
    for prefix, (part, recipe) in zip(("loss.", "score.") if len(plan) > 1 else ("",), recipes.items(), strict=True):
        if part in SCORE_MAPS:
            chosen = _checkpoints(columns, table, wanted, notes)
            table.no_duplicates(chosen, [run, *columns.values()], "checkpoints")
        else:
            chosen = _ends(recipe, columns, run, table, notes)
            table.no_duplicates(chosen, [columns[n] for n in (*recipe.inputs, recipe.target)], "runs")
        rows = Rows({n: columns[n][chosen] for n in recipe.inputs}, columns[recipe.target][chosen], run[chosen])
        stages.append(Stage(prefix, recipe, rows, fit(recipe, rows, wanted.seed)))
        notes += [f"{prefix}{note}" if prefix else note for note in stages[-1].found.notes]
    return _record(name, stages, _Bootstrap.of(stages, wanted, notes), notes, table, wanted), stages


def _mixture(table: Table, wanted: Wanted) -> FittedLaw:
    """The law of a mixture of data: it has no coefficients that could be held."""
    for option in ("local", "huber", "hold", "free"):
        if getattr(wanted, option):
            raise ValueError(f"--{option}: not for {MIXTURE}")
    rows = mixture_table(table, target=wanted.target, losses=wanted.loss, runs=wanted.runs)
    resamples = wanted.bootstrap or 0
    options = MixtureOptions(form=wanted.form, chance=wanted.chance or 0.0, seed=wanted.seed, bootstrap=resamples)
    fitted = fit_mixture(rows, options, source=f"fitted on {table.file}")
    return fitted.model_copy(update={"note": "; ".join(filter(None, (*table.notes, fitted.note)))})


def plan_of(name: str) -> tuple[str, ...]:
    """The recipes that a name stands for: of a law of designs, or of a loss and a score."""
    if name == MIXTURE:
        return (MIXTURE,)
    spelled = NAMED.get(name, name)
    loss, plus, score = (part.strip() for part in spelled.partition(" + "))
    if plus:
        for part, allowed in ((loss, LOSS_LAWS), (score, SCORE_MAPS)):
            if part not in allowed:
                raise ValueError(f"nothing named {part!r} can be fitted here; {nearest(part, allowed)}")
        return loss, score
    if name in LOSS_LAWS or name in SCORE_LAWS:
        return (name,)
    if name in LAWS:  # another of the same form: the recipes of its parts
        law = LAWS[name].law
        parts = law if isinstance(law, TwoStage) else (law,)
        return tuple(next(known for known, recipe in RECIPES.items() if type(recipe.law) is type(part)) for part in parts)
    raise ValueError(
        f"no law named {name!r} can be fitted; {nearest(name, (*LAWS, *LOSS_LAWS, *SCORE_LAWS, MIXTURE))}, or LOSS + SCORE"
    )


def _recipes(plan: tuple[str, ...], table: Table, wanted: Wanted) -> dict[str, Recipe]:
    recipes = {part: RECIPES[part] for part in plan}
    for kind in ("hold", "free"):
        for name in getattr(wanted, kind):
            if not any(name in coefficients(recipe.law) for recipe in recipes.values()):
                known = [known for recipe in recipes.values() for known in coefficients(recipe.law)]
                raise ValueError(f"--{kind}: no coefficient named {name!r}; {nearest(name, known)}")
    for part, recipe in recipes.items():
        if hasattr(recipe.law, "flops"):
            recipe = replace(recipe, law=replace(recipe.law, flops=table.flops_name()))
        if recipe.target == "score" and not recipe.clamped:
            recipe = replace(recipe, law=_with_ends(recipe.law, table, wanted))
        recipe = recipe.holding({n: v for n, v in wanted.hold.items() if n in coefficients(recipe.law)})
        recipe = recipe.freeing({n: v for n, v in wanted.free.items() if n in coefficients(recipe.law)})
        recipes[part] = recipe if wanted.huber is None else replace(recipe, delta=wanted.huber)
    return recipes


def _with_ends(law: Any, table: Table, wanted: Wanted) -> Any:
    """The law with the ends of its scores: a guess, and the most there is in the unit of the target."""
    full = full_score(table.column(_named(table, wanted)))
    ends = {"top": full, "ceiling": full, "chance": wanted.chance or 0.0}
    return with_coefficients(law, {name: value for name, value in ends.items() if name in coefficients(law)})


def _named(table: Table, wanted: Wanted) -> str:
    if wanted.target is None:
        raise ValueError(f"--target: name the column of the score; there are {', '.join(map(str, table.frame.columns))}")
    return wanted.target


def _columns(recipes: Mapping[str, Recipe], table: Table, wanted: Wanted) -> dict[str, np.ndarray]:
    """Everything that the recipes need of the table, by name: inputs, the loss and the score; blank where it is not known."""
    columns = {}
    for part, recipe in recipes.items():
        for name in (recipe.target, *recipe.inputs):
            if name == "loss":
                columns[name] = _loss(table, wanted, part)
            elif name == "score":
                columns[name] = _score(table, wanted, recipe)
            else:
                columns[name] = table.quantity(name)
    return columns


def _loss(table: Table, wanted: Wanted, part: str) -> np.ndarray:
    if "bits_per_character" in table.frame and not wanted.loss and part == "compression":
        return table.positive("bits_per_character") * np.log(2.0) * RECIPES[part].law.characters_per_token
    return np.mean([table.positive(name) for name in wanted.loss or ("loss",)], axis=0)


def _score(table: Table, wanted: Wanted, recipe: Recipe) -> np.ndarray:
    name = _named(table, wanted)
    score = table.positive(name) if recipe.logarithmic else table.column(name)
    if recipe.clamped and "score_is_post_trained" in table.frame:  # says little about pre-training
        score = np.where([str(cell) == "True" for cell in table.frame["score_is_post_trained"]], np.nan, score)
    return score


def _ends(recipe: Recipe, columns: Mapping[str, np.ndarray], run: np.ndarray, table: Table, notes: list[str]) -> np.ndarray:
    """The rows that a law of designs is fitted on: the last of each run, where nothing is blank."""
    order = columns[recipe.inputs[0] if len(recipe.inputs) == 1 else "training_tokens"]
    needed = np.stack([columns[name] for name in (*recipe.inputs, recipe.target)])
    ends, blank = table.final(run, order), np.isnan(needed).any(axis=0)
    chosen = ends & ~blank
    if (ends & blank).any():
        notes.append(f"{int((ends & blank).sum())} of {int(ends.sum())} runs left out: blank {recipe.target} or input")
    if not chosen.any():
        raise ValueError(f"{table.file}: no run has {', '.join((*recipe.inputs, recipe.target))}")
    return chosen


def _checkpoints(columns: Mapping[str, np.ndarray], table: Table, wanted: Wanted, notes: list[str]) -> np.ndarray:
    """The rows that a map from loss to score is fitted on: all checkpoints above chance, near enough to the least loss."""
    loss, score = columns["loss"], columns["score"]
    chosen = ~np.isnan(loss) & ~np.isnan(score)
    if wanted.chance is None:
        notes.append("score.no --chance was given: checkpoints at chance were not left out")
    else:
        floor = wanted.chance + ABOVE_CHANCE * full_score(score)
        chosen &= score > floor
        if not chosen.any():
            best = np.nanmax(score)
            raise ValueError(
                f"{table.file}: {wanted.target}: no checkpoint is above {floor:g} (chance + 5 points); best {best:g}"
            )
    if wanted.local is not None:
        chosen &= loss <= np.min(loss[chosen]) + wanted.local
    return chosen


@dataclass(frozen=True)
class _Bootstrap:
    """What resampling whole runs does to the coefficients."""

    sample: dict[str, list[Any]]
    kept: int

    @classmethod
    def of(cls, stages: list[Stage], wanted: Wanted, notes: list[str]) -> _Bootstrap:
        if not wanted.bootstrap:
            return cls({}, 0)
        runs = np.unique(np.concatenate([stage.rows.run for stage in stages]))
        draws = np.zeros((wanted.bootstrap, runs.max() + 1), np.int64)
        draws[:, runs] = resampled_runs(len(runs), wanted.bootstrap, wanted.seed)
        laws, good = zip(*(refit(s.recipe, s.rows, s.found, draws) for s in stages), strict=True)
        kept = np.logical_and.reduce(good)
        if not kept.any():
            notes.append("no resample has enough runs for the coefficients: no uncertainty is known")
            return cls({}, 0)
        if not kept.all():
            notes.append(
                f"{int((~kept).sum())} of {len(kept)} resamples had too few runs for the coefficients and are left out"
            )
        sample = {}
        for stage, law in zip(stages, laws, strict=True):
            drawn = stacked(jax.tree.map(lambda leaf: leaf[kept], law))
            sample |= {stage.prefix + name: drawn[name] for name in stage.found.free}
        return cls(sample, int(kept.sum()))


def _record(name: str, stages: list[Stage], drawn: _Bootstrap, notes: list[str], table: Table, wanted: Wanted) -> FittedLaw:
    """The fitted law as its file holds it."""
    first, last = stages[0], stages[-1]
    law = TwoStage(first.found.law, last.found.law) if len(stages) == 2 else first.found.law
    points = np.unique(rows_of(first.rows), axis=0)
    support = support_of(first.recipe.inputs, points)
    ranges = ", ".join(
        f"{n} {low:.3g} to {high:.3g}" for n, low, high in zip(support.inputs, points.min(0), points.max(0), strict=True)
    )
    free = [stage.prefix + name for stage in stages for name in stage.found.free]
    matrix = np.cov(np.array([drawn.sample[name] for name in free])) if drawn.kept > 1 else _joined(stages)
    worse_is_more = last.recipe.target == "loss" or "error" in (wanted.target or "")
    return FittedLaw(
        name=name,
        metric="loss" if last.recipe.target == "loss" else wanted.target or "score",
        unit="nats/token" if last.recipe.target == "loss" else "",
        higher_is_better=not worse_is_more,
        experts="active_params" in support.inputs or _has_experts(table),
        source=f"fitted on {table.file}",
        valid=ranges,
        note="; ".join(notes),
        law=as_record(law),
        sample=drawn.sample,
        covariance=CovarianceRecord(names=tuple(free), matrix=np.nan_to_num(np.atleast_2d(matrix)).tolist()),
        support=SupportRecord(inputs=support.inputs, low=support.low.tolist(), reach=support.reach),
        data=DataRecord(file=table.file, sha256=table.sha256, rows=len(table.frame), runs=len(np.unique(first.rows.run))),
        fit={(stage.prefix or "law.")[:-1]: summary(stage.found) | {"rows": len(stage.rows.target)} for stage in stages},
    )


def _has_experts(table: Table) -> bool:
    return "num_experts" in table.frame and bool(np.nanmax(table.column("num_experts"), initial=0.0) > 0)


def _joined(stages: list[Stage]) -> np.ndarray:
    """The covariances of the stages, as if one said nothing of the other."""
    sizes = [len(stage.found.free) for stage in stages]
    whole, place = np.zeros((sum(sizes),) * 2), 0
    for stage, size in zip(stages, sizes, strict=True):
        whole[place : place + size, place : place + size] = stage.found.covariance
        place += size
    return whole
