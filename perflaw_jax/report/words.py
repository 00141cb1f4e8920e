"""What a report says in sentences: plain text, to be escaped where it is shown."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from perflaw_jax.accounting import ffn_width
from perflaw_jax.design import FIELDS, Design
from perflaw_jax.display import beyond, points, power, short, whole
from perflaw_jax.figure_style import label
from perflaw_jax.report.frames import AxisView, Reading, Score, form_of
from perflaw_jax.report.gather import PERFORMANCE_LAWS, Gathered


def named_law(found: Gathered) -> str:
    """The law, with what must be said wherever it is shown."""
    law = found.manifest["law"]
    return f"{law['name']} ({law['note']})" if law["note"] else str(law["name"])


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
    scored = f"{found.score.metric} {points(best['score'])}"
    if found.curve:
        over = found.curve["over"]
        under = f"Under the greatest budget, {form_of(over)(best['budget'])} {label(over)},"
        return f"{under} the best of {among} has {what}: {counted}. {named_law(found)} gives it {scored}."
    under = f"With {limits}, the" if limits else "The"
    proved = "best found of" if found.manifest.get("search", {}).get("method") == "optuna" else "best of"
    return f"{under} {proved} {among} has {what}: {counted}. {named_law(found)} gives it {scored}."


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
    ('hidden size / layers at least 32', 'at most 1.00e24 training FLOPs')
    """
    low, high, multiple = (limit.get(key) for key in ("min", "max", "multiple_of"))
    form, called = form_of(name), label(name)
    counted = name.endswith(("_params", "_flops", "_tokens", "_layers")) or name in ("num_experts", "vocab_size")
    ends = []
    if low is not None and high is not None:
        ends.append(f"{form(low)} to {form(high)}")
    elif low is not None or high is not None:
        ends.append(f"at least {form(low)}" if low is not None else f"at most {form(high)}")
    if multiple is not None:
        ends.append(f"a multiple of {multiple:g}")
    return f"{' and '.join(ends)} {called}" if counted and multiple is None else f"{called} {' and '.join(ends)}"


def reading_in_words(axis: AxisView, reading: Reading, score: Score) -> str:
    """What one axis says of the trade-off: where the best lies, what half and twice as much cost, how flat it is."""
    end = ", the least on the grid" if reading.at_start else ", the most on the grid" if reading.at_end else ""
    told = [f"Best at {axis.form(reading.value)}{end}."]
    ends = ("Half", reading.half), ("Twice", reading.double)
    costs = [f"{word} ({axis.form(at[0])}) loses {points_lost(at[1])}." for word, at in ends if at]
    near = score.near_words(reading.best)
    if reading.low == reading.high:
        flat = f"No other value comes within {near}."
    else:
        flat = f"Within {near} of the best: {axis.form(reading.low)} to {axis.form(reading.high)}."
    return " ".join([*told, *costs, flat])


def points_lost(lost: float) -> str:
    """A difference between scores, in two digits.

    >>> points_lost(5.734), points_lost(0.00742), points_lost(0.0)
    ('5.7', '0.0074', 'nothing')
    """
    return f"{lost:.2g}" if lost else "nothing"


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
        f"Depth pays until the law's instability discount bites: it takes {points_lost(lost)} points from the best design, and "
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
    return f"Designs within {near} of the best are to be had with {', with '.join(ranges)}, the rest chosen to suit."


def trust(found: Gathered) -> list[str]:
    """How far the scores can be trusted, a paragraph each."""
    law, told = found.manifest["law"], []
    if law["note"]:
        told.append(f"Note on the law: {law['note']}.")
    if found.entry is not None:
        told.append(f"It holds for: {found.entry.valid}.")
    if "extrapolated" in found.top and len(found.top):
        far = found.top["extrapolated"]
        if far.any():
            most = beyond(float(found.top["extrapolation"].max()))
            told.append(f"{int(far.sum())} of the {len(far)} designs listed extrapolate, by up to {most}.")
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


def toml(spec: Mapping[str, Any]) -> str:
    """A spec as it could be written in a file."""
    return "\n".join(_lines(spec)).strip()


def _lines(spec: Mapping[str, Any]) -> Iterator[str]:
    for name, value in spec.items():
        if not isinstance(value, Mapping):
            yield f"{_key(name)} = {_value(value)}"
    for name, table in spec.items():
        if isinstance(table, Mapping) and table:
            yield f"\n[{_key(name)}]"
            yield from (f"{_key(key)} = {_value(value)}" for key, value in table.items())


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_.-]+", name) else json.dumps(name)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{_key(k)} = {_value(v)}' for k, v in value.items())} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    return (
        f"{value:g}" if isinstance(value, int) and abs(value) >= 10**9 and float(f"{value:g}") == value else json.dumps(value)
    )
