"""One design, or the table of real models, against a law: exact counts, score, and how far the design is from what exists."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import numpy as np

from perflaw_jax import accounting, datasets
from perflaw_jax.accounting import quantity
from perflaw_jax.catalogue import find_law
from perflaw_jax.confidence import Confidence
from perflaw_jax.design import COUNTS, FIELDS, FRACTION, RATIOS, Design, is_fraction
from perflaw_jax.explain import Explanation, explain
from perflaw_jax.laws import LAWS, LawEntry
from perflaw_jax.objective import WHOLE_TOLERANCE, Bound, as_limits, make_design, possible_shape
from perflaw_jax.spec import parse_spec

NUMBERS = ("terms", "doubled", "used")  # of an explanation
COMPARED = ("num_hidden_layers", "hidden_size", "ffn_width", "training_tokens")  # in what two models are near or far


def predict_one(
    fields: Mapping[str, Any], law: str | None, settings: Mapping[str, float], limits: Mapping[str, Any]
) -> dict[str, Any]:
    """``predict`` for values as a user writes them, checked as those of a spec; without a law, a Performance Law."""
    for name in ("num_hidden_layers", "hidden_size", "training_tokens"):
        if name not in fields:
            raise ValueError(f"{name} is missing")
    fixed = {"intermediate_size": 0, **fields}
    dense = str(fields.get("num_experts", 0)) in ("0", "0.0")
    chosen = law or ("performance-dense" if dense else "performance-moe")
    document = {"law": chosen, "fixed": fixed, "law_settings": dict(settings), "limits": dict(limits)}
    checked = parse_spec(document, where="predict")
    entry = find_law(chosen).with_settings(checked.law_settings)
    return predict(checked.fixed, entry, as_limits(checked.limits))


def predict(fields: Mapping[str, float], entry: LawEntry, limits: Mapping[str, Bound] | None = None) -> dict[str, Any]:
    """Everything said of one design.

    Args:
        fields: Design fields; ``num_attention_heads`` defaults to hidden_size / head_dim.
        entry: the law.
        limits: hard limits to hold the design against.

    Returns:
        Plain Python values: "score", "raw_score", "counts", "ratios", "parameters" (by component), "limited_by" (words),
        "explanation" (see ``explain``), "confidence", and "nearest" (the three nearest real models with their reported scores).

    Raises:
        ValueError: the law cannot score the design, or the design makes no sense.
    """
    given = dict(fields)
    head_dim = given.get("head_dim", float(Design._field_defaults["head_dim"]))
    given.setdefault("num_attention_heads", given["hidden_size"] / head_dim)
    if (rest := entry.open_share(given)) is not None:
        given[rest] = 1 - sum(share for name, share in given.items() if is_fraction(name))
    with jax.enable_x64(True), np.errstate(all="ignore"):  # a score that is not finite is told below
        design = make_design({name: np.float64(value) for name, value in given.items()})
        entry.check(entry.law.raw, design, experts=given.get("num_experts", 0) > 0)
        shares = sum(map(float, design.data_fraction.values()))
        if design.data_fraction and abs(shares - 1) > WHOLE_TOLERANCE:
            raise ValueError(f"data_fraction: the shares must sum to 1, not {shares:g}")
        if not possible_shape(design):
            raise ValueError("num_experts_per_tok must be 1 to num_experts, first_k_dense_replace at most num_hidden_layers")
        raw = float(entry.law.raw(design))
        result = {
            "law": entry.name,
            "metric": entry.metric,
            "note": entry.note,
            "design": {name: float(getattr(design, name)) for name in FIELDS}
            | {FRACTION + name: float(share) for name, share in design.data_fraction.items()},
            "score": float(entry.law.clamp(raw)),
            "raw_score": raw,
            "counts": {name: float(quantity(name, design)) for name in COUNTS},
            "ratios": {name: float(quantity(name, design)) for name in RATIOS},
            "parameters": {name: float(value) for name, value in accounting.parameters(design)._asdict().items()},
        }
        result["nearest"] = nearest_models(design)
        judged = Confidence(entry).columns({name: np.array([value]) for name, value in given.items()})
        result["confidence"] = {name: column[0].item() for name, column in judged.items()}
    if not np.isfinite(raw):
        raise ValueError(f"{entry.name} gives no finite score for this design; are FFN width and tokens positive?")
    why = explain(given, entry, limits)
    return result | {"limited_by": why.limited_by, "explanation": _plain(why)}


def _plain(why: Explanation) -> dict[str, Any]:
    """An explanation as JSON has it: what is no number is None."""
    numbers = {name: {key: v if np.isfinite(v) else None for key, v in getattr(why, name).items()} for name in NUMBERS}
    return {**numbers, "binding": [*why.binding], "broken": [*why.broken], "sentences": [*why.sentences]}


def nearest_models(design: Design, count: int = 3) -> list[dict[str, Any]]:
    """The real models nearest to a design: root mean square of the log ratios of layers, width, FFN width and tokens."""
    models = datasets.load_models()
    real = _designs(models)
    keys = [np.log(_compare(real, name) / float(_compare(design, name))) for name in COMPARED]
    distance = np.sqrt(np.mean(np.square(keys), axis=0))
    distance[~np.isfinite(distance)] = np.inf
    order = np.argsort(distance, kind="stable")[:count]
    return [
        {
            "name": str(models["name"].iloc[i]),
            "distance": float(distance[i]),
            "reported": None if np.isnan(models["mmlu"].iloc[i]) else float(models["mmlu"].iloc[i]),
        }
        for i in order
    ]


def score_models(path: str | None = None) -> Any:
    """The table of real models (pandas) with ``total_params``, ``law`` and ``predicted`` added; NaN for unknown tokens."""
    models = datasets.load_models(path)
    moe = (models["kind"] == "moe").to_numpy()
    names = ("performance-dense", "performance-moe")
    dense, sparse = (_evaluated(models, partial(_score, LAWS[name].law)) for name in names)
    total = _evaluated(models, accounting.total_params)
    predicted = np.where(moe, sparse, dense)
    predicted = np.where(np.isfinite(predicted) & np.isfinite(models["tokens_t"]), predicted, np.nan)
    return models.assign(total_params=total, law=np.where(moe, *names[::-1]), predicted=predicted)


def model_counts(models: Any) -> dict[str, np.ndarray]:
    """``total_params`` and ``training_flops`` of every row of the table of real models, float64 [rows]."""
    return {name: _evaluated(models, partial(quantity, name)) for name in ("total_params", "training_flops")}


def _score(law: Any, design: Design) -> Any:
    return law.clamp(law.raw(design))


def _evaluated(models: Any, function: Callable[[Design], Any]) -> np.ndarray:
    """What a function of one design gives for every row of the table of real models, float64 [rows]."""
    with jax.enable_x64(True):
        return np.asarray(jax.jit(jax.vmap(function))(_designs(models)))


def _designs(models: Any) -> Design:
    design = make_design(datasets.model_fields(models))
    return jax.tree.map(lambda leaf: np.broadcast_to(np.asarray(leaf, np.float64), len(models)), design)


def _compare(design: Design, name: str) -> Any:
    with np.errstate(divide="ignore"):
        return np.asarray(accounting.ffn_width(design) if name == "ffn_width" else getattr(design, name), np.float64)
