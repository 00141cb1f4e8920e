"""How numbers and tables look in a terminal: 7.2B, 15T, 1.0e24."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import exp
from typing import Any

from perflaw_jax.design import FRACTION, is_fraction

SUFFIXES = (("T", 1e12), ("B", 1e9), ("M", 1e6), ("K", 1e3))
GIBI = 2**30


def short(value: float | None) -> str:
    """A count in three or four digits.

    >>> short(7.24e9), short(15e12), short(128), short(None)
    ('7.24B', '15T', '128', '-')
    """
    if value is None or value != value:
        return "-"
    for suffix, unit in SUFFIXES:
        if abs(value) >= 0.9995 * unit:
            return f"{value / unit:.3g}{suffix}" if abs(value) < 999.5 * unit else f"{value / unit:,.0f}{suffix}"
    return f"{value:.4g}"


def flops(value: float | None) -> str:
    """FLOPs in powers of ten.

    >>> flops(3.99e23)
    '3.99e+23'
    """
    return "-" if value is None or value != value else f"{value:.3g}"


def power(value: float, digits: int = 1) -> str:
    """A great number as a power of ten, as text and ticks have it.

    >>> power(1e24), power(3.99e23), power(3e23, 0)
    ('1.0e24', '4.0e23', '3e23')
    """
    mantissa, _, exponent = f"{value:.{digits}e}".partition("e")
    return f"{mantissa}e{int(exponent)}"


def gibibytes(value: float) -> str:
    """Bytes in GiB.

    >>> gibibytes(2**30)
    '1.0 GiB'
    """
    return f"{value / GIBI:,.1f} GiB"


def table(columns: Mapping[str, Sequence[str]], title: str | None = None) -> None:
    """Print a table of ready-made strings to stdout: words to the left, numbers to the right, nothing cut or wrapped."""
    aligned = []
    for name, values in columns.items():
        side = "<" if any(v[:1].isalpha() for v in values) else ">"
        width = max(map(len, (name, *values)))
        aligned.append([f"{cell:{side}{width}}" for cell in (name, "-" * width, *values)])
    if title:
        print(f"{title}\n")
    for row in zip(*aligned, strict=True):
        print("  ".join(row).rstrip())
    print()


def designs(top: Mapping[str, Any], count: int | None, metric: str) -> dict[str, list[str]]:
    """The first ``count`` designs, or all, as columns of strings: what a reader compares."""
    return {name: [form(v) for v in top[field][:count]] for name, (field, form) in compared(top, count, metric).items()}


def compared(top: Mapping[str, Any], count: int | None, metric: str) -> dict[str, tuple[str, Callable[[float], str]]]:
    """Title of a column -> its field and how it is written: what a reader compares, experts where there are any.

    Of the shares of data domains those that differ between designs, or all that are above 0 where none does.
    """
    experts = any(v > 0 for v in top["num_experts"][:count])
    spec = {
        "layers": ("num_hidden_layers", short),
        "hidden": ("hidden_size", whole),
        "FFN": ("intermediate_size", whole),
        "experts": ("num_experts", whole),
        "chosen": ("num_experts_per_tok", whole),
        "expert FFN": ("moe_intermediate_size", whole),
        "shared FFN": ("shared_expert_intermediate_size", whole),
        "tokens": ("training_tokens", short),
        "params": ("total_params", short),
        "active": ("active_params", short),
        "FLOPs": ("training_flops", flops),
        "budget": ("budget_used", share),
        **{name.removeprefix(FRACTION): (name, share) for name in _shares(top)},
        metric: ("score", points),
        "5 %": ("score_p05", points),
        "95 %": ("score_p95", points),
    }
    only_moe = {"experts", "chosen", "expert FFN", "shared FFN", "active"}
    shown = {name: c for name, c in spec.items() if (experts or name not in only_moe) and c[0] in top}
    if experts and not any(v > 0 for v in top["intermediate_size"][:count]):
        del shown["FFN"]
    return shown


def _shares(top: Mapping[str, Any]) -> list[str]:
    ranges = {name: (min(values), max(values)) for name, values in top.items() if is_fraction(name) and len(values)}
    return [name for name, (low, high) in ranges.items() if low < high] or [
        name for name, (_, high) in ranges.items() if high > 0
    ]


def trials(account: Mapping[str, Any], sampler: str) -> list[str]:
    """What came of a search's trials, and how far the best is from the optimum."""
    counts, optimum = account["trials"], account["optimum"]
    told = f"{counts['finished']:,} trials by {sampler}, {counts['feasible']:,} feasible"
    if "skipped" in optimum:
        off = f"distance from the certified optimum unknown: {optimum['skipped']}"
    else:
        distance = f"{optimum['distance']:.3g}" if optimum["distance"] else "nothing"
        off = f"{distance} away from the certified optimum, {optimum['score']:.2f}"
    return [f"{told}, {counts['distinct']:,} distinct candidates", off]


def certificate(account: Mapping[str, Any], metric: str) -> list[str]:
    """What proves the result of an exact search."""
    proof = account["certificate"]
    left = f"at most {proof['gap']:.3g} {metric} better" if proof["gap"] else "certified"
    counts = f"{proof['candidates']:,} candidates, with {proof['evaluated']:,} evaluations of single ones"
    return [f"{left}: {proof['boxes']:,} boxes bounded over {counts}"]


def points(value: float) -> str:
    """A score: in hundredths, below 10 (a loss, a fraction) in ten-thousandths."""
    return f"{value:.2f}" if abs(value) >= 10 else f"{value:.4f}"


def beyond(distance: float) -> str:
    """How far a design lies from what a law was fitted on.

    >>> beyond(4.4)
    'a factor of 81 beyond the data that the law was fitted on'
    """
    return f"a factor of {exp(distance):.2g} beyond the data that the law was fitted on"


def whole(value: float) -> str:
    """A size, digit by digit."""
    return f"{value:.0f}"


def share(value: float) -> str:
    """A share in per cent."""
    return "-" if value != value else f"{100 * value:.1f}%"


def nearest(models: Sequence[Mapping[str, Any]]) -> str:
    """Real models that lie near a design: how near, and what they report."""
    told = (
        f"{m['name']} (distance {m['distance']:.2f}, "
        + (f"reported {m['reported']:.1f})" if m["reported"] is not None else "none reported)")
        for m in models
    )
    return f"nearest real models: {'; '.join(told)}"
