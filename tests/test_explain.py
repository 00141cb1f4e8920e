"""What is said of a score: terms that add up, doublings that are real, limits that are told as they are."""

import json
import sys

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perflaw_jax import cli
from perflaw_jax.catalogue import all_laws, find_law
from perflaw_jax.explain import DOUBLED, explain
from perflaw_jax.objective import Bound, make_design
from perflaw_jax.prediction import predict

LLAMA = {"num_hidden_layers": 32, "hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32}
DENSE = LLAMA | {"training_tokens": 15e12}
MOE = DENSE | {"num_experts": 64, "num_experts_per_tok": 8, "moe_intermediate_size": 2048, "first_k_dense_replace": 1}
LAWS = [*all_laws()]
sizes = st.integers(1, 2**15)


@given(
    moe=st.booleans(), layers=st.integers(1, 300), hidden=sizes, ffn=sizes, tokens=st.floats(1e9, 1e14), gamma=st.floats(1, 3)
)
def test_the_terms_add_up(moe, layers, hidden, ffn, tokens, gamma):
    fields = (MOE if moe else DENSE) | {"num_hidden_layers": layers, "hidden_size": hidden, "intermediate_size": ffn}
    entry = find_law("performance-moe" if moe else "performance-dense").with_settings({"gamma": gamma})
    with jax.enable_x64(True):
        design = make_design({name: np.float64(value) for name, value in (fields | {"training_tokens": tokens}).items()})
        raw, terms = float(entry.law.raw(design)), {name: float(points) for name, points in entry.law.terms(design).items()}
    assert sum(terms.values()) == pytest.approx(raw, rel=1e-12, abs=1e-9)
    assert terms["instability"] <= 0
    assert ("experts" in terms) == moe


@pytest.mark.parametrize("entry", LAWS, ids=lambda entry: entry.name)
def test_every_law_can_be_explained(entry):
    fields = DENSE | {name: 0.0 for name in map("data_fraction.{}".format, entry.domains or ())}
    if entry.domains:
        fields[f"data_fraction.{entry.domains[0]}"] = 1.0
    why = explain(fields, entry, {"training_flops": Bound(max=1e24)})
    assert why.sentences and all("\n" not in sentence for sentence in why.sentences)
    assert why.doubled and why.used["training_flops max"] == pytest.approx(0.7387, rel=1e-3)


@pytest.mark.parametrize("what", ["layers", "hidden size", "FFN", "tokens"])
def test_doublings_are_predictions(what):
    entry = find_law("performance-dense")
    larger = DENSE | {name: 2 * DENSE[name] for name in DOUBLED[what] if name in DENSE}
    change = predict(larger, entry)["score"] - predict(DENSE, entry)["score"]
    assert explain(DENSE, entry).doubled[what] == pytest.approx(change, abs=1e-9)


@pytest.mark.parametrize(("tokens", "words"), [(15e12, "capped by the size, 8.21T of 15T count"), (5e12, "all 5T count")])
def test_the_cap_on_tokens_is_told(tokens, words):
    why = explain(DENSE | {"training_tokens": tokens}, find_law("performance-dense"))
    assert any(words in sentence for sentence in why.sentences)
    assert why.limited_by.startswith("size" if tokens == 15e12 else "tokens")


def test_too_deep_a_design_is_told():
    why = explain(DENSE | {"num_hidden_layers": 150, "training_tokens": 1e12}, find_law("performance-dense"))
    assert why.limited_by == "depth: beyond 108 layers this width is unstable"
    assert why.doubled["layers"] < 0


def test_limits_bind_break_or_do_neither():
    limits = {
        "training_flops": Bound(max=7.4e23),
        "total_params": Bound(min=1e10, max=1e11),
        "score": Bound(min=50),
        "num_attention_heads": Bound(multiple_of=8),
    }
    why = explain(DENSE, find_law("performance-dense"), limits)
    assert why.binding == ("training_flops max",)
    assert why.broken == ("total_params",)
    assert "breaks total_params: 8.21B, allowed at least 10B, at most 100B" in why.sentences
    assert explain(DENSE, find_law("performance-dense"), {"score": Bound(min=10)}).sentences[-1].startswith("no limit binds")


def test_the_command_says_why_and_fails_where_a_limit_is_broken(monkeypatch, capsys):
    options = "predict --layers 32 --hidden 4096 --ffn 14336 --tokens 15T --limit total_params=8B --json"
    monkeypatch.setattr(sys, "argv", ["perflaw", *options.split()])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    out, err = capsys.readouterr()
    assert stop.value.code == 3
    assert err == "perflaw: the design breaks limits on total_params\n"
    told = json.loads(out)["explanation"]
    assert told["broken"] == ["total_params"] and set(told["terms"]) >= {"depth", "instability"}
