"""Why a design scores as it does, in numbers and in words: the law's terms, what one more of each would give, what binds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from perflaw_jax import accounting
from perflaw_jax.accounting import quantity
from perflaw_jax.design import Design
from perflaw_jax.display import flops, points, short
from perflaw_jax.laws import LawEntry, PerformanceDense, PerformanceMoE, TwoStage
from perflaw_jax.objective import Bound, checks, make_design

TOKENS_PER_PARAM = 1e12 / 1e9  # that the Performance Law counts: trillions of tokens up to billions of parameters
NEAR = 0.02  # a limit binds where a design comes so near to it, relative to the limit: a step of a grid
TERMS = {
    "depth": "layers",
    "width": "hidden size",
    "ffn": "FFN",
    "tokens": "tokens",
    "experts": "experts",
    "constant": "constant",
}
DOUBLED = {  # what is doubled -> the fields that change with it
    "layers": ("num_hidden_layers",),
    "hidden size": ("hidden_size", "num_attention_heads"),
    "FFN": ("intermediate_size", "moe_intermediate_size", "shared_expert_intermediate_size"),
    "experts": ("num_experts",),
    "tokens": ("training_tokens",),
}


@dataclass(frozen=True)
class Explanation:
    """Why a design scores as it does.

    Attributes:
        terms: points by term of the law; they sum to the raw score. Empty where the law is no sum of terms.
        doubled: what is doubled -> by how much the score changes; NaN where the law gives no score then.
        used: limit and its end ("training_flops max") -> the design's value relative to it; 1 is at the limit.
        binding: the ends that the design comes within 2 % of.
        broken: the limits that it does not keep.
        limited_by: what holds the score back by the law itself: size, depth or tokens; "" where the law does not tell.
        sentences: the same in words, one statement each.
    """

    terms: dict[str, float]
    doubled: dict[str, float]
    used: dict[str, float]
    binding: tuple[str, ...]
    broken: tuple[str, ...]
    limited_by: str
    sentences: tuple[str, ...]


def explain(fields: Mapping[str, float], entry: LawEntry, limits: Mapping[str, Bound] | None = None) -> Explanation:
    """Explain one design's score.

    Args:
        fields: its Design fields, ``num_attention_heads`` and ``training_tokens`` included.
        entry: the law.
        limits: hard limits to hold it against; those on "score" are on the raw score.
    """
    limits = limits or {}
    with jax.enable_x64(True), np.errstate(all="ignore"):
        design = make_design({name: np.float64(value) for name, value in fields.items()})
        law = getattr(entry.law, "point", entry.law)
        terms = {name: float(value) for name, value in law.terms(design).items()} if hasattr(law, "terms") else {}
        raw = float(law.raw(design))
        doubled = _doubled(design, law, float(law.clamp(raw)))
        holds = {name: bool(held) for name, held in checks(design, np.float64(raw), limits).items()}
        used = dict(_used(design, raw, limits))
        broken = tuple(name for name in limits if not holds[name])
        kept = {end: share for end, share in used.items() if end.split()[0] not in broken}
        binding = tuple(end for end, share in kept.items() if abs(share - 1) <= NEAR)
        told = [
            *_told_terms(terms, design, law),
            *_told_stages(design, law),
            *_told_clamp(raw, float(law.clamp(raw))),
            *_told_doubled(doubled),
            *_told_limits(design, raw, limits, broken, binding, used),
        ]
    return Explanation(terms, doubled, used, binding, broken, _limited_by(design, law), tuple(told))


def _doubled(design: Design, law: Any, score: float) -> dict[str, float]:
    """The change of the score by doubling one thing, all else as it is; the heads grow with the width."""
    changes = {}
    for what, names in DOUBLED.items():
        if all(not float(getattr(design, name)) for name in names):
            continue
        larger = design._replace(**{name: 2 * getattr(design, name) for name in names})
        changes[what] = float(law.clamp(law.raw(larger))) - score
    return changes


def _used(design: Design, raw: float, limits: Mapping[str, Bound]) -> Iterator[tuple[str, float]]:
    for name, bound in limits.items():
        value = raw if name == "score" else float(quantity(name, design))
        for end, at in (("min", bound.min), ("max", bound.max)):
            if at is not None and np.isfinite(at) and at:
                yield f"{name} {end}", value / float(at)


def _told_terms(terms: Mapping[str, float], design: Design, law: Any) -> Iterator[str]:
    if not terms:
        return
    parts = ", ".join(f"{name} {terms[term]:.2f}" for term, name in TERMS.items() if term in terms)
    yield f"points by term: {parts}, instability {terms['instability']:.2f}"
    if isinstance(law, (PerformanceDense, PerformanceMoE)):
        yield _told_instability(-terms["instability"], design, law)
        yield _told_tokens(design)


def _limited_by(design: Design, law: Any) -> str:
    if not isinstance(law, (PerformanceDense, PerformanceMoE)):
        return ""
    if float(design.training_tokens) > TOKENS_PER_PARAM * float(accounting.total_params(design)):
        return "size: more tokens than it counts"
    deepest = _deepest(design, law)
    if float(design.num_hidden_layers) > deepest:
        return f"depth: beyond {deepest:.0f} layers this width is unstable"
    return f"tokens, and depth up to {deepest:.0f} layers"


def _steepness(design: Design, law: PerformanceDense | PerformanceMoE) -> float:
    """What a layer adds to z, in the discount ``u = exp(-z^2)``."""
    return (10 / float(accounting.ffn_width(design)) + 20 / float(design.hidden_size)) * float(law.gamma)


def _deepest(design: Design, law: PerformanceDense | PerformanceMoE) -> float:
    """The depth from which on a layer takes more by instability than it adds."""
    weight = float(law.layers + law.hidden + law.ffn + law.tokens)
    return (float(law.layers) / (2 * weight)) ** 0.5 / _steepness(design, law)


def _told_instability(cost: float, design: Design, law: PerformanceDense | PerformanceMoE) -> str:
    """What the discount costs, and the depth that it leaves worth while."""
    layers, deepest = float(design.num_hidden_layers), _deepest(design, law)
    discount = float(np.exp(-((_steepness(design, law) * layers) ** 2)))
    here = "more lower the score" if layers > deepest else f"here are {layers:.0f}"
    return (
        f"instability: the discount u = {discount:.3f} costs {cost:.2f}; at this width layers pay up to {deepest:.0f}, {here}"
    )


def _told_tokens(design: Design) -> str:
    """Whether tokens are capped by the size."""
    tokens, size = float(design.training_tokens), TOKENS_PER_PARAM * float(accounting.total_params(design))
    rule = "as many trillions of tokens count as there are billions of parameters"
    if tokens > size:
        return f"tokens: capped by the size, {short(size)} of {short(tokens)} count ({rule})"
    return f"tokens: all {short(tokens)} count; at this size up to {short(size)} would ({rule})"


def _told_stages(design: Design, law: Any) -> Iterator[str]:
    if isinstance(law, TwoStage) and not getattr(law.loss, "losses", ()):
        yield f"by way of a loss of {float(law.loss.raw(design)):.3f}"


def _told_clamp(raw: float, score: float) -> Iterator[str]:
    if abs(raw - score) > 5e-3:
        yield f"the formula gives {points(raw)}; the law's bounds make that {points(score)}"


def _told_doubled(doubled: Mapping[str, float]) -> Iterator[str]:
    known = [f"{what} {change:+.2f}" for what, change in doubled.items() if np.isfinite(change)]
    if known:
        yield f"twice as much of one thing, all else equal: {', '.join(known)}"


def _told_limits(
    design: Design,
    raw: float,
    limits: Mapping[str, Bound],
    broken: tuple[str, ...],
    binding: tuple[str, ...],
    used: Mapping[str, float],
) -> Iterator[str]:
    for name in broken:
        value = raw if name == "score" else float(quantity(name, design))
        yield f"breaks {name}: {_shown(name, value)}, allowed {_allowed(name, limits[name])}"
    for end in binding:
        name, which = end.split()
        yield f"binds: {name} is at {100 * used[end]:.1f}% of its {which}, {_shown(name, getattr(limits[name], which))}"
    if limits and not broken and not binding:
        yield "no limit binds: the design comes within 2% of none"


def _allowed(name: str, bound: Bound) -> str:
    ends = (
        (bound.min, f"at least {_shown(name, bound.min)}"),
        (bound.max, f"at most {_shown(name, bound.max)}"),
        (bound.multiple_of, f"a multiple of {_shown(name, bound.multiple_of)}"),
    )
    return ", ".join(text for end, text in ends if end is not None)


def _shown(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if "flops" in name:
        return flops(float(value))
    return f"{float(value):,.0f}" if float(value) == round(float(value)) and abs(float(value)) < 1e6 else short(float(value))
