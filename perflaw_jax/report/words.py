"""What a report says in sentences: plain text, to be escaped where it is shown."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from perflaw_jax.accounting import ffn_width
from perflaw_jax.design import FIELDS, Design
from perflaw_jax.display import beyond, points, power, short, whole
from perflaw_jax.figure_style import label
from perflaw_jax.report.frames import AxisView, Reading, Score, ends, form_of
from perflaw_jax.report.gather import PERFORMANCE_LAWS, Gathered


def named_law(found: Gathered) -> str:
    """The law, with what must be said wherever it is shown."""
    law = found.manifest["law"]
    return f"{law['name']} ({law['note']})" if law["note"] else str(law["name"])


def note(found: Gathered) -> str:
    """What must be said wherever the law is shown; nothing for most laws."""
    law = found.manifest["law"]
    return f"A note on {law['name']}: {law['note']}." if law["note"] else ""


def opening(found: Gathered) -> str:
    """The best design and the budget, in one or two sentences."""
    best, limits = found.best, limits_in_words(found.manifest["spec"].get("limits", {}))
    candidates = (found.manifest.get("counts") or {}).get("candidates")
    among = f"{candidates:,} candidates" if candidates else "the candidates"
    if best is None:
        return f"Under the limits ({limits or 'none'}) none of {among} is feasible."
    shares = [f"{form_of(n)(v)} {n.split('.', 1)[1]}" for n, v in best.items() if n.startswith("data_fraction.") and v > 0]
    mixture = f" on {', '.join(shares)}" if shares else ""
    what = f"{shape(best)}, trained on {short(best['training_tokens'])} tokens{mixture}"
    counted = f"{short(best['total_params'])} parameters{_active(best)} and {power(best['training_flops'])} training FLOPs"
    law = found.manifest["law"]["name"]
    scored = f"{found.score.metric} {points(best['score'])}"
    if found.curve:
        over = found.curve["over"]
        under = f"Under the greatest budget, {form_of(over)(best['budget'])} {label(over)},"
        return f"{under} the best of {among} has {what}: {counted}. {law} gives it {scored}."
    under = f"With {limits}, the" if limits else "The"
    proved = "best found of" if found.manifest.get("search", {}).get("method") == "optuna" else "best of"
    return f"{under} {proved} {among} has {what}: {counted}. {law} gives it {scored}."


def _active(design: Mapping[str, Any]) -> str:
    return f" ({short(design['active_params'])} active)" if design["active_params"] != design["total_params"] else ""


def shape(design: Mapping[str, Any]) -> str:
    """Layers and widths of a design."""
    parts = [f"{whole(design['num_hidden_layers'])} layers", f"hidden size {whole(design['hidden_size'])}"]
    if design["num_experts"] > 0:
        parts.append(
            f"{whole(design['num_experts'])} experts of size {whole(design['moe_intermediate_size'])}, "
            f"{whole(design['num_experts_per_tok'])} chosen per token"
        )
        if design["shared_expert_intermediate_size"] > 0:
            parts.append(f"shared experts of {whole(design['shared_expert_intermediate_size'])}")
    else:
        parts.append(f"FFN size {whole(design['intermediate_size'])}")
    return ", ".join(parts)


def limits_in_words(limits: Mapping[str, Mapping[str, Any]]) -> str:
    """All limits of a spec in a few words each; those on FLOPs and sizes first."""
    first = ("training_flops", "total_params", "active_params")
    ranked = sorted(limits, key=lambda name: first.index(name) if name in first else len(first))
    return ", ".join(limit_in_words(name, limits[name]) for name in ranked)


def limit_in_words(name: str, limit: Mapping[str, Any]) -> str:
    """One limit.

    >>> limit_in_words("total_params", {"min": 10**10, "max": 10**11})
    '10B to 100B parameters'
    >>> limit_in_words("aspect_ratio", {"min": 32}), limit_in_words("training_flops", {"max": 1e24})
    ('hidden size / layers at least 32', 'at most 1.0e24 training FLOPs')
    """
    low, high, multiple = (limit.get(key) for key in ("min", "max", "multiple_of"))
    form, called = form_of(name), label(name)
    counted = name.endswith(("_params", "_flops", "_tokens", "_layers")) or name in ("num_experts", "vocab_size")
    told = []
    if low is not None and high is not None:
        told.append(f"{form(low)} to {form(high)}")
    elif low is not None:
        told.append(f"at least {form(low)}")
    elif high is not None:
        told.append(f"at most {form(high)}")
    if multiple is not None:
        told.append(f"a multiple of {multiple:g}")
    return f"{' and '.join(told)} {called}" if counted and multiple is None else f"{called} {' and '.join(told)}"


def reading_in_words(axis: AxisView, reading: Reading, score: Score) -> str:
    """What one axis says of the trade-off: where the best lies, what half and twice as much cost, how flat it is."""
    where = ", the least on the grid" if reading.at_start else ", the most on the grid" if reading.at_end else ""
    told = [f"Best at {axis.form(reading.value)}{where}."]
    far = ("Half", reading.half), ("Twice", reading.double)
    costs = [f"{word} ({axis.form(at[0])}) {points_lost(at[1])}." for word, at in far if at]
    near = score.near_words(reading.best)
    if reading.low == reading.high:
        flat = f"No other value comes within {near}."
    else:
        flat = f"Within {near} of the best: {axis.form(reading.low)} to {axis.form(reading.high)}."
    return " ".join([*told, *costs, flat])


def points_lost(lost: float) -> str:
    """What is lost, in two digits.

    >>> points_lost(5.0), points_lost(0.00742), points_lost(0.0), points_lost(float("nan"))
    ('loses 5.0', 'loses 0.0074', 'loses nothing', 'leaves nothing feasible')
    """
    if lost != lost:
        return "leaves nothing feasible"
    return f"loses {lost:.1f}" if lost >= 1 else f"loses {lost:.2g}" if lost else "loses nothing"


def discount_in_words(found: Gathered) -> str | None:
    """What the Performance Law's instability discount costs the best design; None for other laws."""
    best, law = found.best, found.manifest["law"]
    if best is None or law["name"] not in PERFORMANCE_LAWS:
        return None
    w = law["coefficients"]
    width = float(ffn_width(Design(**{name: best[name] for name in FIELDS})))
    z = (10 / width + 20 / best["hidden_size"]) * w["gamma"] * best["num_hidden_layers"]
    lost = (w["layers"] + w["hidden"] + w["ffn"] + w["tokens"]) * z**2
    return (
        f"Depth pays until the law's instability discount bites: it takes {lost:.1f} points from the best design, and "
        "grows with the square of layers / width. Width pays little by itself, but makes depth affordable."
    )


def flatness(found: Gathered) -> str:
    """The trade-off between depth, width and FFN in one sentence, as the data have it."""
    wanted = ("num_hidden_layers", "hidden_size", "intermediate_size", "moe_intermediate_size")
    axes, readings = found.axes, found.readings
    ranges = [
        f"{axes[name].label} from {axes[name].form(r.low)} to {axes[name].form(r.high)}"
        for name, r in readings.items()
        if name in wanted and name in axes and r.low < r.high
    ]
    if not ranges:
        return ""
    near = found.score.near_words(next(iter(readings.values())).best)
    return f"Within {near} of the best lie designs with {', '.join(ranges)}: one at a time, the rest chosen to suit."


def trust(found: Gathered) -> list[str]:
    """How far the scores can be trusted, a paragraph each."""
    law, told = found.manifest["law"], []
    if law["note"]:
        told.append(note(found))
    if found.entry is not None:
        told.append(f"It holds for: {found.entry.valid}.")
    if "extrapolated" in found.top and len(found.top):
        far = found.top["extrapolated"].to_numpy(bool)
        if far.any():
            most = beyond(ends(found.top, "extrapolation")[1])
            told.append(f"{far.sum()} of the {len(far)} designs listed extrapolate, by up to {most}.")
        else:
            told.append(f"None of the {len(far)} designs listed lies outside the data that the law was fitted on.")
    if "score_p05" in found.top:
        told.append("The columns 5 % and 95 % say how well the law's own coefficients are known, not how far models scatter.")
    if found.errors is None and found.score.metric == "MMLU":
        told.append(f"How far the law is off on real models: perflaw validate --law {json.dumps(law['name'])}.")
    told.append(
        "A law is a regression on other people's models. Evaluation harnesses alone differ by 1 to 4 points: compare designs "
        "with each other, and do not promise a score."
        if found.score.metric == "MMLU"
        else "A law is a regression on other people's models: compare designs with each other, and do not promise a score."
    )
    return told
