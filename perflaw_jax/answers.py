"""What the commands print of their results: tables and sentences for people, or with --json the same for machines."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from perflaw_jax import display

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from perflaw_jax.curve_runner import CurveOutcome
    from perflaw_jax.fit_runner import Stage
    from perflaw_jax.fitted import FittedLaw
    from perflaw_jax.laws import LawEntry
    from perflaw_jax.runner import Outcome
    from perflaw_jax.scoreboard import Scoreboard
    from perflaw_jax.searched import Searched

SHOWN = 10  # of the best designs


def predicted(result: Mapping[str, Any], as_json: bool) -> None:
    """One design."""
    if as_json:
        return machine(result)
    counts = result["counts"]
    for note in result.get("import_notes", ()):
        print(f"NOTE, {result['family']}: {note}")
    print(
        f"{result['metric']} {display.points(result['score'])} by {result['law']}"
        + (f" ({result['note']})" if result["note"] else "")
    )
    judged = result["confidence"]
    if (low := judged.get("score_p05")) is not None:
        high = judged["score_p95"]
        print(f"nine of ten between {display.points(low)} and {display.points(high)}, by what the law knows of its errors")
    if judged.get("extrapolated"):
        print(display.beyond(judged["extrapolation"]))
    if result["limited_by"]:
        print(f"limited by {result['limited_by']}")
    print("\n".join(f"  {sentence}" for sentence in result["explanation"]["sentences"]))
    parts = ", ".join(f"{name} {display.short(n)}" for name, n in result["parameters"].items() if n)
    print(f"parameters {display.short(counts['total_params'])}, active {display.short(counts['active_params'])}: {parts}")
    exactly = display.flops(counts["exact_training_flops"])
    print(f"training {display.flops(counts['training_flops'])} FLOPs (exactly counted {exactly})")
    print(f"inference {display.flops(counts['inference_flops_per_token'])} FLOPs per token")
    memory = ("weights", "weight_bytes"), ("KV cache of one sequence", "kv_cache_bytes"), ("optimizer state", "optimizer_bytes")
    print(", ".join(f"{name} {display.gibibytes(counts[key])}" for name, key in memory))
    print("ratios: " + ", ".join(f"{name} {value:.4g}" for name, value in result["ratios"].items()))
    print(display.nearest(result["nearest"]))


def laws(entries: Sequence[LawEntry], as_json: bool) -> None:
    """The registry."""
    told = ("name", "metric", "unit", "source", "valid", "experts", "higher_is_better", "note")
    if as_json:
        return machine([{name: getattr(e, name) for name in told} | {"coefficients": e.quoted} for e in entries])
    for e in entries:
        print(f"{e.name}: {e.metric} ({e.unit}), {'more' if e.higher_is_better else 'less'} is better")
        if e.note:
            print(f"  NOTE: {e.note}")
        print(f"  holds for: {e.valid}\n  source: {e.source}")
        numbers = {name: value for name, value in e.quoted.items() if isinstance(value, float)}
        lists = [name for name in e.quoted if name not in numbers]
        more = f"; lists of numbers (--json): {', '.join(lists)}" if lists else ""
        print("  coefficients: " + ", ".join(f"{name} {value:.6g}" for name, value in numbers.items()) + more + "\n")


def fitted(law: FittedLaw, stages: Sequence[Stage], path: Path, as_json: bool) -> None:
    """A fitted law: its coefficients with their errors, how the fit went, and where it lies."""
    if as_json:
        return machine(law.model_dump(mode="json", exclude={"sample"}) | {"out": str(path), "resamples": law.resamples})
    for stage in stages:
        print(f"{(stage.prefix or law.name + '.')[:-1]}: {len(stage.rows.target):,} rows of {len({*stage.rows.run}):,} runs")
    if law.covariance:
        _coefficients(law)
    for stage in stages:
        size = float((stage.found.errors**2).mean() ** 0.5)
        unit = "of ln " if stage.recipe.logarithmic else "of the "
        print(f"root mean square error {unit}{stage.recipe.target}: {size:.4g}")
    if law.note:
        print(f"NOTE: {law.note}")
    print(f"holds for {law.valid}\nthe law is in {path}")


def _coefficients(law: FittedLaw) -> None:
    """What was fitted, and how well it is known."""
    found = law.entry().quoted
    free = law.covariance.names if law.covariance else ()
    columns = {
        "coefficient": [*free],
        "value": [f"{found[name]:.6g}" for name in free],
    }
    if law.sample:
        low, high = law.quantiles(0.05), law.quantiles(0.95)
        columns["90 % of resamples"] = [f"{low[name]:.5g} to {high[name]:.5g}" for name in free]
    else:
        columns["standard error"] = [f"{error:.2g}" for error in law.errors()]
    print()
    display.table(columns)


def models(scored: pd.DataFrame, errors: pd.DataFrame, notes: Mapping[str, str], as_json: bool) -> None:
    """Real models against their predictions."""
    if as_json:
        columns = ["name", "released", "kind", "total_params", "tokens_t", "law", "mmlu", "predicted", "score_is_post_trained"]
        tables = {"models": scored[columns], "errors": errors}
        return machine({**{name: json.loads(t.to_json(orient="records") or "") for name, t in tables.items()}, "notes": notes})
    shown = scored.dropna(subset=["mmlu", "predicted"]).sort_values("released", kind="stable")
    display.table(
        {
            "model": list(shown["name"]),
            "released": list(shown["released"].astype(str)),
            "params": [display.short(v) for v in shown["total_params"]],
            "tokens": [display.short(1e12 * v) for v in shown["tokens_t"]],
            "reported": [f"{v:.1f}" for v in shown["mmlu"]],
            "predicted": [f"{v:.1f}" for v in shown["predicted"]],
            "error": [f"{v:+.1f}" for v in shown["predicted"] - shown["mmlu"]],
        }
    )
    text = {name: [_cell(v) for v in errors[name]] for name in errors.columns}
    display.table(text, title="MMLU points, predicted - reported (post-trained scores left out)")
    print("Dense models by performance-dense as published, MoE models by performance-moe (a reconstruction); nothing refitted.")


def validated(board: Scoreboard, as_json: bool) -> None:
    """The scoreboard: every law under every protocol, and with --json every model."""
    from perflaw_jax.scoreboard import CHANCE, measures

    measured = [(result, measures(result, board.models)) for result in board.results]
    guessed = sum(mmlu <= CHANCE for mmlu in board.models["mmlu"])
    if as_json:
        left_out = {"post_trained": board.post_trained, "unknown": board.unknown}
        about = {"models_scored": len(board.models), "at_chance": guessed, "left_out": left_out, "notes": board.notes}
        laws = [{"law": result.law, "protocol": result.protocol} | numbers for result, numbers in measured]
        return machine({**about, "laws": laws, "models": _by_model(board)})
    display.table(
        {
            "law": [result.law for result, _ in measured],
            "protocol": [result.protocol for result, _ in measured],
            "models": [str(numbers["count"]) for _, numbers in measured],
            "error": [_cell(numbers["mean_absolute_error"]) for _, numbers in measured],
            "no guess": [_cell(numbers["mean_absolute_error_above_chance"]) for _, numbers in measured],
            "dense": [_cell(numbers["mean_absolute_error_dense"]) for _, numbers in measured],
            "MoE": [_cell(numbers["mean_absolute_error_moe"]) for _, numbers in measured],
            "bias": [_cell(numbers["bias"]) for _, numbers in measured],
            "rank": ["-" if (r := numbers["rank_correlation"]) is None else f"{r:.3f}" for _, numbers in measured],
            "90 % holds": ["-" if (c := numbers["coverage"]) is None else display.share(c) for _, numbers in measured],
            "width": [_cell(numbers["width"]) for _, numbers in measured],
        },
        title=f"MMLU points on {len(board.models)} base models, mean absolute error and predicted - reported",
    )
    print(f"{guessed} models at chance ({CHANCE:g} or less) count like the others; the column 'no guess' is without them.")
    print("mmlu-calibrated and compute-sigmoid as published were fitted on data/models.csv: trust the other protocols there.")
    left_out = {"post-trained": board.post_trained, "MMLU or training tokens unknown": board.unknown}
    for why, names in left_out.items():
        if names:
            print(f"left out, {why}: {len(names)} ({', '.join(names)})")
    for note in board.notes:
        print(f"NOTE: {note}")


def _by_model(board: Scoreboard) -> list[dict[str, Any]]:
    """Every model with what each law says of it under each protocol, and the ends of its 90 % interval."""
    models = json.loads(board.models.to_json(orient="records") or "")
    models = [model | {"predicted": {}, "intervals": {}} for model in models]
    for result in board.results:
        for i, place in enumerate(result.rows):
            model = models[place]
            model["predicted"].setdefault(result.law, {})[result.protocol] = float(result.predicted[i])
            if result.intervals is not None:
                ends = [float(end[i]) for end in result.intervals]
                model["intervals"].setdefault(result.law, {})[result.protocol] = ends
    return models


def swept(outcome: Outcome, as_json: bool) -> None:
    """A sweep, or one shard of it."""
    counts = outcome.counts
    if as_json:
        summary = {"candidates": counts.candidates, "feasible": counts.feasible, "cut_by_limit": counts.cut}
        shard = {"shard": str(outcome.portion), "missing": [*outcome.missing]} if outcome.portion else {}
        machine({**_about(outcome), **shard, "counts": summary, "best": _best(outcome.top)})
    elif outcome.missing:
        print(f"shard {outcome.portion} is done: {counts.feasible:,} of {counts.candidates:,} candidates are feasible")
        print(f"{outcome.seconds:.1f} s; {outcome.directory} still lacks {_few(outcome.missing)}")
    elif counts.feasible:
        _show_best(outcome, f"{outcome.name}: the best")
        print(f"{counts.feasible:,} of {counts.candidates:,} candidates are feasible")
        print(f"frontier of {outcome.frontier_points:,} points")
        _show_where(outcome)


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def searched(found: Searched, as_json: bool) -> None:
    """A search, exact or by a sampler."""
    exact = found.by == "exact"
    if as_json:
        machine({**_about(found), **found.account, "best": _best(found.top)})
    elif len(found.top["score"]):
        _show_best(found, f"{found.name}: the best" if exact else f"{found.name}: the best found")
        told = display.certificate(found.account, found.entry.metric) if exact else display.trials(found.account, found.by)
        print("\n".join(told))
        print(f"frontier of {found.frontier_points:,} points")
        _show_where(found)


def curve(outcome: CurveOutcome, as_json: bool) -> None:
    """A curve over budgets."""
    columns = outcome.columns
    if as_json:
        points = {name: _plain(values) for name, values in columns.items()}
        fitted = {name: law._asdict() if law else None for name, law in outcome.laws.items()}
        return machine(
            {**_about(outcome), "over": outcome.over, "points": points, "power_laws": fitted, "without": outcome.without}
        )
    if not len(columns["budget"]):
        return
    form = display.flops if "flops" in outcome.over else display.short
    shown = {"limit": [form(v) for v in columns["budget"]], **display.designs(columns, None, outcome.entry.metric)}
    title = f"the best by {_named(outcome.entry)} under limits on {outcome.over}"
    display.table({**shown, "binds": list(columns["binds"])}, title=title)
    for name, law in outcome.laws.items():
        if law is None:
            print(f"{name}: no power law, see README")
        else:
            through = f"(± {law.error:.3f}, through {law.points} budgets)"
            print(f"{name}: {law.coefficient:.3g} x limit^{law.exponent:.3f} {through}")
    if outcome.without:
        print(f"no candidate satisfies the limits under {', '.join(map(form, outcome.without))}")
    if not outcome.picture:
        print("no picture: pip install 'perflaw_jax[plot]'")
    _show_where(outcome)


def machine(value: Any) -> None:
    """Anything as JSON."""
    print(json.dumps(value, indent=2, allow_nan=False))


def _about(outcome: Outcome | Searched | CurveOutcome) -> dict[str, Any]:
    law = {"law": outcome.entry.name, "note": outcome.entry.note}
    return {"out": str(outcome.directory), "seconds": outcome.seconds, **law}


def _show_best(outcome: Outcome | Searched, what: str) -> None:
    table = display.designs(outcome.top, SHOWN, outcome.entry.metric)
    display.table(table, title=f"{what} by {_named(outcome.entry)}")
    far = [bool(flag) for flag in outcome.top.get("extrapolated", ())[:SHOWN]]
    if any(far):
        most = display.beyond(max(outcome.top["extrapolation"][: len(far)]))
        print(f"{sum(far)} of these {len(far)} extrapolate, by up to {most}")


def _show_where(outcome: Outcome | Searched | CurveOutcome) -> None:
    print(f"{outcome.seconds:.1f} s; results in {outcome.directory}")


def _named(entry: LawEntry) -> str:
    """The law, with what must be said wherever it is shown."""
    return f"{entry.name} ({entry.note})" if entry.note else entry.name


def _best(top: Mapping[str, Any]) -> dict[str, list[Any]]:
    return {name: _plain(values[:SHOWN]) for name, values in top.items()}


def _plain(values: Any) -> list[Any]:
    return [None if v != v else v for v in values.tolist()]


def _cell(value: Any) -> str:
    if value is None or value != value:
        return "-"
    return f"{value:.1f}" if isinstance(value, float) else str(value)
