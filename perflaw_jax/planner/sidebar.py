"""The inputs of the page, in groups; what they hold is checked by ``inputs.check``, not here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from perflaw_jax.hardware import ACCELERATORS
from perflaw_jax.planner import words
from perflaw_jax.planner.grids import HIDDEN_STEPS
from perflaw_jax.planner.inputs import OWN, PERFORMANCE_LAW, RANKING_WORDS, InputError, Inputs, check, offered

KINDS = {"dense": "dense", "moe": "mixture of experts"}
GRIDS = {"authors": "the authors' rules", "fine": "fine: a billion designs"}


class Form:
    """Widgets by field name: what they hold, and a place below each for a message."""

    def __init__(self, asked: Inputs):
        self.asked = asked
        self.values: dict[str, Any] = {}
        self.places: dict[str, Any] = {}

    def number(self, field: str, at: Any = st, title: str | None = None) -> None:
        """A number."""
        about = Inputs.model_fields[field]
        kind = int if about.annotation is int else float
        st.session_state.setdefault(field, kind(getattr(self.asked, field)))
        written = {"step": 1} if kind is int else {"format": "%.12g"}
        self.values[field] = at.number_input(title or about.title or field, key=field, help=about.description, **written)
        self.places[field] = at.empty()

    def pair(self, low: str, high: str) -> None:
        """Two ends of a range, side by side."""
        for column, field in zip(st.columns(2), (low, high), strict=True):
            self.number(field, column)

    def choice(self, field: str, options: Sequence[Any], format_func: Any = str) -> Any:
        """One of several; the first where what was asked for is none of them."""
        about, asked = Inputs.model_fields[field], getattr(self.asked, field)
        if st.session_state.get(field) not in options:
            st.session_state[field] = asked if asked in options else options[0]
        self.values[field] = st.selectbox(
            about.title or field, options, key=field, format_func=format_func, help=about.description
        )
        self.places[field] = st.empty()
        return self.values[field]


def ask(asked: Inputs) -> tuple[dict[str, Any], dict[str, Any]]:
    """Show the inputs, at first as ``asked``; gives what they hold now, and the places for messages."""
    form = Form(asked)
    st.subheader("Training budget", anchor=False)
    accelerator = form.choice("accelerator", [OWN, *ACCELERATORS])
    if accelerator == OWN:
        form.number("peak_tflops")
    else:
        peak = ACCELERATORS[accelerator]
        st.caption(f"{peak.peak_flops / 1e12:,g} TFLOP/s. {peak.source}.")
    form.pair("count", "days")
    form.number("mfu")
    _candidates(form)
    _scoring(form)
    st.button("Back to the authors' defaults", on_click=_reset, width="stretch")
    return form.values, form.places


def _candidates(form: Form) -> None:
    st.subheader("Designs", anchor=False)
    kind = form.choice("kind", list(KINDS), KINDS.__getitem__)
    grid = form.choice("grid", ["fine"] if kind == "moe" else list(GRIDS), GRIDS.__getitem__)
    form.pair("min_layers", "max_layers")
    form.pair("min_size", "max_size")
    form.pair("min_tokens", "max_tokens")
    if grid == "fine":
        form.choice("hidden_step", HIDDEN_STEPS)
    if kind == "moe":
        st.subheader("Experts", anchor=False)
        form.pair("min_experts", "max_experts")
        form.pair("min_chosen", "max_chosen")
        form.pair("min_expert_ratio", "max_expert_ratio")
        form.pair("shared", "leading")


def _scoring(form: Form) -> None:
    st.subheader("Score", anchor=False)
    kind = form.values["kind"]
    laws = offered(kind)
    usual = PERFORMANCE_LAW[kind]
    law = form.choice("law", [None, *(name for name in laws if name != usual)], lambda name: name or usual)
    entry = laws[law or usual]
    st.caption(f"{entry.metric}{f' in {entry.unit}' if entry.unit else ''}. Holds for {entry.valid}.")
    if "gamma" in entry.settings:
        form.number("gamma")
    rankings = [name for name in RANKING_WORDS if name != "balance" or entry.higher_is_better]
    form.choice("ranking", rankings, RANKING_WORDS.__getitem__)
    form.number("min_score", title="Least score" if entry.higher_is_better else f"Greatest {entry.metric} accepted")


def _reset() -> None:
    for field in Inputs.model_fields:
        st.session_state.pop(field, None)
    st.session_state.asked = check({})


def show_messages(error: InputError, places: dict[str, Any]) -> None:
    """Each message below the input that it is about, or on the page."""
    for field, message in error.messages.items():
        if field in places:
            places[field].error(words.sentence(message))
        else:
            st.error(words.sentence(f"{field}: {message}" if field else message))
