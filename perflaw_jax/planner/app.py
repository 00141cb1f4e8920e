"""The page: inputs at the side, the best designs, why they are the best, and how that moves with the inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import streamlit as st

from perflaw_jax import display
from perflaw_jax.bounds import UnboundedPrimitive
from perflaw_jax.configs import FORMATS, write_config
from perflaw_jax.explain import explain
from perflaw_jax.figure_style import label
from perflaw_jax.objective import make_design
from perflaw_jax.planner import as_spec, charts, tables, words
from perflaw_jax.planner.inputs import InputError, Inputs, check
from perflaw_jax.planner.sidebar import ask, show_messages
from perflaw_jax.planner.solve import Plan, by_layers, frontier, sensitivity, solve
from perflaw_jax.planner.solvers import COSTS, TooSlow
from perflaw_jax.planner.warm_up import warm_up
from perflaw_jax.prediction import nearest_models
from perflaw_jax.report.charts import frontier as frontier_chart
from perflaw_jax.report.charts import marginal
from perflaw_jax.report.frames import Score, axis_view, read_axis
from perflaw_jax.report.gather import real_models

KEPT = 32  # answers of which the page need not ask again
DOWNLOAD: Any = {"width": "stretch", "on_click": "ignore"}  # running the page anew could withdraw the file under the browser


def page() -> None:
    """The whole page, from the top."""
    st.set_page_config(page_title="perflaw planner", layout="wide")
    st.title("What to train", anchor=False)
    if "asked" not in st.session_state and not _restored():
        return
    with st.sidebar:
        values, places = ask(st.session_state.asked)
    try:
        inputs = check(values)
    except InputError as error:
        show_messages(error, places)
        st.error("Nothing is shown until the inputs make sense: see the messages beside them.")
        return
    st.session_state.asked = inputs
    st.query_params.from_dict(inputs.link())
    _answer(inputs)


def _restored() -> bool:
    """Take the inputs from the link; False where it makes no sense, which is said."""
    try:
        st.session_state.asked = check(st.query_params.to_dict())
    except InputError as error:
        st.error(f"This link cannot be used: {error}")
        st.button("Start from the defaults", on_click=_forget)
        return False
    return True


def _forget() -> None:
    st.query_params.clear()


def _answer(inputs: Inputs) -> None:
    st.caption(words.budget(inputs))
    if inputs.entry.note:
        st.info(f"{inputs.law_name}: {inputs.entry.note}")
    with st.spinner("Looking for the best designs; the first time, programs are compiled"):
        plan = _kept("plan", solve, inputs)
    if plan.note:
        st.warning(plan.note)
    if plan.table.empty:
        st.error(words.nothing(plan))
    else:
        with st.container(horizontal=True, gap="medium"):
            for name, value in words.best(plan).items():
                st.metric(name, value, width="content")
        _designs(plan)
        _one_design(plan)
        _how_it_moves(plan)
    _link(inputs)
    _warmed_up()


def _designs(plan: Plan) -> None:
    st.subheader("The best designs", anchor=False)
    st.caption(words.found(plan))
    formats = {name: st.column_config.NumberColumn(format=form) for name, form in tables.formats(plan).items()}
    st.dataframe(
        tables.shown(plan),
        column_config=formats,
        hide_index=True,
        height=387,
        key="table",
        on_select=_choose,
        selection_mode="single-row",
    )
    csv, parquet, toml = st.columns(3)
    csv.download_button("Table as CSV", tables.as_csv(plan), "designs.csv", "text/csv", **DOWNLOAD)
    parquet.download_button("Table as Parquet", tables.as_parquet(plan), "designs.parquet", **DOWNLOAD)
    try:
        text = as_spec.spec_text(plan.inputs)
    except ValueError as error:
        toml.error(str(error))
    else:
        toml.download_button("Sweep spec (TOML)", text, "planner.toml", "application/toml", **DOWNLOAD)


def _choose() -> None:
    rows = st.session_state.table["selection"]["rows"]
    if rows:
        st.session_state.rank = rows[0] + 1


def _one_design(plan: Plan) -> None:
    st.subheader("Why this one", anchor=False)
    most = len(plan.table)
    st.session_state.rank = min(st.session_state.get("rank", 1), most)
    rank = st.number_input("Rank", 1, most, key="rank", help="Of the design to explain; or choose a row of the table.")
    fields = tables.design(plan, rank)
    told = explain(fields, plan.inputs.entry, tables.limits_for_a_reader(plan))
    sentences = (*told.sentences, display.nearest(nearest_models(make_design(fields))))
    st.markdown("\n".join(f"- {words.plain(sentence)}" for sentence in sentences))
    choice, button = st.columns([1, 2], vertical_alignment="bottom")
    form = choice.selectbox("Config for", list(FORMATS), key="format", help="The tool that is to train this design.")
    try:
        config = write_config(fields, form)
    except ValueError as error:
        button.error(f"{form} cannot hold this design: {error}")
    else:
        name, kind = tables.SUFFIXES[form]
        button.download_button(f"Config of rank {rank}", config, name, kind, on_click="ignore")


def _how_it_moves(plan: Plan) -> None:
    score = Score(plan.inputs.entry.metric, plan.inputs.entry.higher_is_better)
    st.subheader("Score against cost", anchor=False)
    over = st.radio("Cost", COSTS, format_func=label, horizontal=True, key="cost", label_visibility="collapsed")
    models = _models() if score.metric == "MMLU" else None
    _drawn(lambda: frontier_chart(_kept(over, lambda _: frontier(plan, over), plan.inputs), over, score, models=models))
    st.subheader("What holds the score back", anchor=False)
    st.caption("The best score when one limit is moved. Accelerators, days, MFU and peak move it as the training budget does.")
    _drawn(lambda: _sensitivity(plan))
    st.subheader("Best score by number of layers", anchor=False)
    st.caption("The grey band is as good as the best: within half a point, or half a per cent of a loss.")
    _drawn(lambda: _layers(plan, score))


def _sensitivity(plan: Plan) -> Any:
    shifts = _kept("sensitivity", lambda _: sensitivity(plan), plan.inputs)
    st.markdown(words.binding(shifts))
    return charts.sensitivity(shifts, plan.inputs.entry.metric)


def _layers(plan: Plan, score: Score) -> Any:
    frame = _kept("layers", lambda _: by_layers(plan), plan.inputs).rename(columns={"num_hidden_layers": "value"})
    reading = read_axis(frame["value"].to_numpy(float), frame["score"].to_numpy(float), score)
    return marginal(axis_view("num_hidden_layers"), frame, score, reading)


def _drawn(figure: Callable[[], Any]) -> None:
    try:
        with st.spinner("Drawing"):
            drawn = figure()
    except (TooSlow, UnboundedPrimitive):
        st.info("This law is too slow to search for this figure. A coarser grid, or narrower ranges, would do.")
    else:
        st.plotly_chart(drawn, theme=None, config={"displayModeBar": False, "responsive": True})


def _link(inputs: Inputs) -> None:
    st.subheader("Link to these inputs", anchor=False)
    address = (st.context.url or "").partition("?")[0].rstrip("/") + "/"
    query = urlencode(inputs.link())
    st.code(f"{address}?{query}" if query else address, language=None, wrap_lines=True)


def _kept(what: str, answer: Callable[[Inputs], Any], inputs: Inputs) -> Any:
    """An answer, from memory where it was given before."""
    return _remembered(what, tuple(inputs.link().items()), answer, inputs)


@st.cache_resource(max_entries=KEPT, show_spinner=False)
def _remembered(what: str, link: tuple, _answer: Callable[[Inputs], Any], _inputs: Inputs) -> Any:
    return _answer(_inputs)


@st.cache_resource(show_spinner=False)  # once per process; at the end of a page, of which it takes nothing then
def _warmed_up() -> None:
    warm_up()


@st.cache_resource(show_spinner=False)
def _models() -> Any:
    return real_models()
