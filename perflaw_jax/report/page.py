"""The page of a report: one HTML file that asks nothing of any network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from plotly.graph_objects import Figure
from plotly.offline import get_plotlyjs

from perflaw_jax import __version__
from perflaw_jax.display import compared
from perflaw_jax.figure_style import label
from perflaw_jax.report import charts, html, words
from perflaw_jax.report.charts import cuts_height
from perflaw_jax.report.drawn import curve_panels, frontier_costs, labelled_cuts, shown_costs
from perflaw_jax.report.frames import form_of
from perflaw_jax.report.gather import Gathered
from perflaw_jax.report.html import chart, left_out, paragraph, section, tag, text
from perflaw_jax.spec_toml import write_toml

MODELS = {("all", "all"): "all models"}
Part = tuple[str, dict[str, Figure]]  # HTML and the figures that it names


def page(found: Gathered) -> str:
    """A report as HTML."""
    parts = {
        "frontier": ("Score against cost", _frontier(found)),
        "axes": ("Best score per axis value", _axes(found)),
        "heat": ("Two axes at a time", _heat(found)),
        "iso": ("Iso-FLOP curves", _iso(found)),
        "designs": ("Best designs", _designs(found)),
        "cuts": ("What the limits cut", _cuts(found)),
        "trust": ("How far to trust it", (_trust(found), {})),
        "provenance": ("Provenance", (_provenance(found), {})),
    }
    if found.curve:
        parts = {"curve": ("Best design per budget", _curve(found))} | parts
    figures = {name: figure for _, (_, some) in parts.values() for name, figure in some.items()}
    contents = [tag("li", tag("a", text(title), href=f"#{name}")) for name, (title, _) in parts.items()]
    sections = "".join(section(name, title, markup) for name, (title, (markup, _)) in parts.items())
    name = str(found.manifest["name"])
    header = tag(
        "header",
        tag("h1", text(name)),
        paragraph(words.opening(found), class_="opening"),
        paragraph(words.note(found)),
        tag("nav", tag("ul", *contents), aria_label="Contents"),
    )
    made = f"Made by perflaw_jax {__version__} from {found.kind}. This page asks nothing of any network."
    body = [
        tag("a", "Skip to the content", class_="skip", href="#main"),
        header,
        tag("noscript", paragraph("The charts need JavaScript; the tables do not.")),
        tag("main", sections, id="main"),
        tag("footer", text(made)),
    ]
    return _document(name, "".join(body), figures)


def _document(title: str, body: str, figures: Mapping[str, Figure]) -> str:
    here = files("perflaw_jax.report")
    library, library_source = html.script(get_plotlyjs())
    own, own_source = html.script(here.joinpath("page.js").read_text(encoding="utf-8"))
    policy = (
        f"default-src 'none'; script-src {library_source} {own_source}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )
    drawn = ",".join(f"{json.dumps(name)}:{figure.to_json(remove_uids=True)}" for name, figure in figures.items())
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>{text(title)} - perflaw report</title>"
        f"<style>{here.joinpath('page.css').read_text(encoding='utf-8')}</style></head>"
        f"<body>{body}{html.data('figures', f'{{{drawn}}}')}{library}{own}</body></html>\n"
    )


def _frontier(found: Gathered) -> Part:
    if found.frontier is None:
        return left_out(found.missing["frontier"]), {}
    if not shown_costs(found):
        return left_out("all designs on the frontier have the same training FLOPs and parameters"), {}
    figures, places, exact = {}, [], frontier_costs(found)
    for over in shown_costs(found):
        name = f"frontier-{over}"
        figures[name] = charts.frontier(found.frontier, over, found.score, exact=over in exact, models=found.models)
        no_line = f"This frontier has another cost than {label(over)} (output.frontier), so no line is drawn."
        told = f"{found.score.metric} against {label(over)} on the frontier"
        places.append(chart(name, told, 440, "" if over in exact else no_line))
    costs = " and ".join(label(name) for name in exact) or "its costs"
    said = f"On the frontier are the designs than which no other is better and cheaper in {costs}: {len(found.frontier):,}."
    if found.manifest.get("search", {}).get("method") == "optuna":
        said += " They are the best of the trials, not of the grid."
    real = "Real models stand at their reported MMLU; those reported after post-training are left out."
    told = paragraph(said + (f" {real}" if found.models is not None else ""))
    none = left_out(f"real models: {found.missing['models']}") if found.models is None else ""
    return told + tag("div", *places, class_="pair") + none, figures


def _axes(found: Gathered) -> Part:
    if found.marginals is None:
        return left_out(found.missing["marginals"]), {}
    axes, readings = found.axes, found.readings
    figures = charts.marginals(axes, found.marginals, found.score, readings)
    if not figures:
        return left_out("no axis has more than one value"), {}
    places = [
        chart(
            f"axis-{name}",
            f"Best {found.score.metric} per {axes[name].label}",
            260,
            words.reading_in_words(axes[name], readings[name], found.score) if name in readings else "No value is feasible.",
            title=axes[name].label,
        )
        for name in figures
    ]
    said = [words.flatness(found), words.discount_in_words(found) or "", found.notes.get("marginals", "")]
    near = "Each point is the best design with that value; grey is where the score is next to the best."
    told = "".join(map(paragraph, [near, *said]))
    return told + tag("div", *places, class_="panels"), {f"axis-{name}": f for name, f in figures.items()}


def _heat(found: Gathered) -> Part:
    if not found.heat:
        return left_out(found.missing["heat"]), {}
    figures = {f"heat-{i}": charts.heat_map(heat, found.score) for i, heat in enumerate(found.heat)}
    told = [f"Best {found.score.metric} over {heat.down.label} and {heat.across.label}" for heat in found.heat]
    captions = [
        f"Each cell is {heat.how}. The star is the best; where nothing is feasible there is no colour." for heat in found.heat
    ]
    options = [
        tag("option", text(heat.names), value=f"heat-{i}", data_told=told[i], data_caption=captions[i])
        for i, heat in enumerate(found.heat)
    ]
    chosen = [tag("label", "Axes", for_="heat-pair"), tag("select", *options, id="heat-pair", data_for="heat-map")]
    return tag("div", *chosen, class_="controls") + chart("heat-0", told[0], 480, captions[0], box="heat-map"), figures


def _iso(found: Gathered) -> Part:
    if found.iso is None:
        return left_out(found.missing["iso"]), {}
    said = (
        "Each line is a budget of training FLOPs; each point is the best design in one of twenty bins of sizes, all "
        "axes free under the other limits. Where a line gets worse with size, the budget leaves too few tokens for it."
    )
    told = f"Best {found.score.metric} against parameters at levels of training FLOPs"
    return paragraph(said) + chart("iso-flops", told, 440), {"iso-flops": charts.iso_flops(found.iso, found.score)}


def _designs(found: Gathered) -> Part:
    if found.top.empty:
        return left_out(found.missing.get("designs", "no candidate satisfies the limits")), {}
    top = {name: found.top[name].to_numpy() for name in found.top}
    columns: dict[str, Any] = {"rank": ([*range(1, len(found.top) + 1)], [str(i + 1) for i in range(len(found.top))])}
    if found.curve:
        columns = {"limit": (top["budget"].tolist(), [form_of(found.curve["over"])(v) for v in top["budget"]])}
    for title, (name, form) in compared(top, None, found.score.metric).items():
        columns[title] = (["NaN" if v != v else float(v) for v in top[name]], [form(v) for v in top[name]])
    if "extrapolated" in top:
        columns["extrapolates"] = (top["extrapolation"].tolist(), ["yes" if far else "no" for far in top["extrapolated"]])
    if found.curve:
        columns["binds"] = ([*range(len(found.top))], [str(v) for v in top["binds"]])
    count = len(found.top)
    controls = [
        tag("label", "Filter", for_="filter"),
        f"<input{html.attributes(id='filter', type='search', data_filters='top', autocomplete='off')}>",
        tag("span", f"{count} of {count} designs", id="top-shown", role="status"),
    ]
    return tag("div", *controls, class_="controls") + html.table("top", columns, "The best designs"), {}


def _cuts(found: Gathered) -> Part:
    counts = found.manifest.get("counts") or {}
    said = ""
    if counts.get("feasible") is not None:
        said = f"{counts['feasible']:,} of {counts['candidates']:,} candidates are feasible. "
    if found.cuts is None:
        return paragraph(said) + left_out(found.missing["cuts"]), {}
    said += "One candidate may be cut by several limits."
    figure = charts.cuts(labelled_cuts(found))
    return paragraph(said) + chart("cuts", "Candidates cut by each limit", cuts_height(found.cuts)), {"cuts": figure}


def _curve(found: Gathered) -> Part:
    if found.top.empty or not found.curve:
        return left_out("no candidate satisfies the limits under any of the budgets"), {}
    laws = found.manifest.get("power_laws", {})
    over, figures, places = found.curve["over"], {}, []
    for name, title in curve_panels(found).items():
        figures[f"curve-{name}"] = charts.curve(found.top, over, name, title, laws.get(name))
        caption = (
            f"Power law: {title} is about budget^{law['exponent']:.3f} (± {law['error']:.3f})."
            if (law := laws.get(name))
            else ""
        )
        places.append(chart(f"curve-{name}", f"{title} of the best design against the budget", 280, caption, title=title))
    said = f"The certified best design under each of {len(found.top)} limits on {label(over)}."
    return paragraph(said) + tag("div", *places, class_="panels"), figures


def _trust(found: Gathered) -> str:
    told = "".join(map(paragraph, words.trust(found)))
    if found.errors is None:
        return told
    known = found.errors[["year", "kind", "count", "mean_absolute_error", "bias"]].itertuples(index=False, name=None)
    rows = [
        (MODELS.get((year, kind)) or f"{year} {kind}".replace("moe", "MoE"), (n, f"{mae:.1f}", f"{bias:+.1f}"))
        for year, kind, n, mae, bias in known
    ]
    head = paragraph("The Performance Law against real models, in MMLU points (predicted - reported; nothing refitted):")
    return told + head + html.facts("errors of the law", rows, ["models released", "count", "mean absolute error", "bias"])


def _provenance(found: Gathered) -> str:
    manifest = found.manifest
    law, git = manifest["law"], manifest.get("git") or {}
    coefficients = [
        f"{name} {value:.6g}" if isinstance(value, float | int) else f"{name} ({len(value)} numbers)"
        for name, value in law["coefficients"].items()
    ]
    state = {True: "with uncommitted changes", False: "clean", None: ""}[git.get("dirty")]
    pairs = [
        ("results", f"{found.kind} by perflaw_jax"),
        ("law", words.named_law(found)),
        ("source of the law", law["source"]),
        ("coefficients", ", ".join(coefficients) or "none"),
        *((name, manifest[name]) for name in ("device", "seconds") if name in manifest),
        ("versions", ", ".join(f"{name} {v}" for name, v in (manifest.get("versions") or {}).items())),
        ("git commit", f"{git.get('commit') or 'not a checkout'} {state}".strip()),
        ("SHA-256 of the spec", manifest["spec_sha256"]),
    ]
    shards = [(shard["path"], (f"{shard['rows']:,}", shard["sha256"])) for shard in manifest["shards"]]
    kept = html.facts("files", shards, ["file", "rows", "SHA-256"])
    return "".join(
        [
            html.facts("provenance", [(name, [value]) for name, value in pairs], class_="text"),
            tag("h3", "Spec"),
            tag("pre", text(write_toml(manifest["spec"])), tabindex="0"),
            tag("details", tag("summary", "Files and their SHA-256"), kept),
            paragraph("perflaw verify holds every file against these.", class_="quiet"),
        ]
    )
