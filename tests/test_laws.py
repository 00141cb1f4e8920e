import math
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import forms

from perflaw_jax.catalogue import find_law
from perflaw_jax.design import FIELDS, Design
from perflaw_jax.laws import LAWS, FunctionLaw, LawEntry, Negated, PerformanceDense, PerformanceMoE

# Printed by the authors' program (plan.png: gamma 1, the default page, "Balance"): N, h, d, size, T, MMLU, utilisation.
PRINTED = [
    (62, 4096, 8192, 10.07, 6.5, 71.69, 0.9838),
    (63, 4096, 8192, 10.21, 6.5, 71.82, 0.9978),
    (46, 4096, 12288, 10.1, 6.5, 68.75, 0.9871),
    (63, 4096, 8192, 10.21, 6.0, 71.39, 0.921),
    (62, 4096, 8192, 10.07, 6.0, 71.25, 0.9082),
    (38, 6144, 8192, 10.93, 6.0, 66.7, 0.9855),
    (47, 4096, 12288, 10.3, 6.0, 68.56, 0.9286),
    (46, 4096, 12288, 10.1, 6.0, 68.32, 0.9112),
    (55, 4096, 12288, 11.84, 5.5, 69.78, 0.9788),
    (63, 4096, 8192, 10.21, 5.5, 70.92, 0.8443),
]
# Best and other rows of whole pages, computed once in float64 from the formula: N, h, d, T, gamma, MMLU.
KNOWN = [
    (95, 4096, 8192, 4.5, 1, 71.97),
    (94, 4096, 8192, 4.5, 1, 71.96),
    (79, 4096, 8192, 5.0, 1, 71.95),
    (78, 4096, 8192, 5.0, 1, 71.88),
    (95, 6144, 8192, 2.5, 1, 71.86),
    (22, 16384, 16384, 1.5, 1, 52.0),
    (22, 12288, 12288, 1.5, 1, 52.05),
    (79, 4096, 4096, 7.5, 1, 72.52),
    (71, 4096, 4096, 8.0, 1, 72.45),
    (71, 4096, 4096, 8.5, 1, 72.45),  # more tokens (trillions) than parameters (billions) add nothing
    (63, 4096, 8192, 6.5, 1.2, 70.58),
    (54, 6144, 8192, 4.5, 2, 66.14),
]

ENTRIES = pytest.mark.parametrize("entry", forms(), ids=lambda entry: entry.name)
PERFORMANCE = pytest.mark.parametrize(
    "entry", [LAWS["performance-dense"], LAWS["performance-moe"]], ids=lambda entry: entry.name
)
FEW = settings(max_examples=40)

RAW = jax.jit(lambda law, design: law.raw(design))
CLAMP = jax.jit(lambda law, raw: law.clamp(raw))
VMAPPED = jax.jit(jax.vmap(lambda law, design: law.raw(design), in_axes=(None, 0)))
GRADIENT = jax.jit(jax.grad(lambda law, design: law.raw(design), argnums=(0, 1)))


@st.composite
def configs(draw, experts: bool = True) -> dict[str, int]:
    """Every field of a design that someone might train, as an int."""

    def whole(low: int, high: int) -> int:
        return draw(st.integers(low, high))

    heads, number = whole(4, 160), draw(st.sampled_from((0, 1, 8, 64))) if experts else 0
    config = Design(whole(4, 128), 128 * heads, whole(512, 65536), heads, whole(10**10, 10**14))._asdict()
    if number:
        config |= {"num_experts": number, "num_experts_per_tok": whole(1, min(8, number)), "first_k_dense_replace": whole(0, 4)}
        config |= {"moe_intermediate_size": whole(256, 16384), "shared_expert_intermediate_size": whole(0, 8192)}
    return config


def of(entry: LawEntry):
    return configs(experts=entry.experts)


def floats(config) -> Design:
    return Design(**{name: float(value) for name, value in config.items() if name in FIELDS})


def raw(law, config) -> float:
    with jax.enable_x64(True):
        return float(RAW(law, floats(config)))


def planner_design(layers: int, hidden: int, ffn: int, trillions: float) -> Design:
    return Design(layers, hidden, ffn, hidden / 128, trillions * 1e12)


# --- the Performance Law ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", PRINTED)
def test_rows_that_the_authors_planner_prints(row):
    layers, hidden, ffn, size, trillions, mmlu, utilisation = row
    law, design = PerformanceDense(), planner_design(layers, hidden, ffn, trillions)
    with jax.enable_x64(True):
        params = float(reference.planner_size(layers, hidden, ffn))
        assert round(float(CLAMP(law, RAW(law, floats(design._asdict())))), 2) == mmlu
    assert round(params / 1e9, 2) == size
    assert round(6 * params * trillions * 1e12 / 3.991928832e23, 4) == utilisation


@pytest.mark.parametrize(("layers", "hidden", "ffn", "trillions", "gamma", "mmlu"), KNOWN)
def test_known_scores(layers, hidden, ffn, trillions, gamma, mmlu):
    law = PerformanceDense(gamma=float(gamma))
    assert round(raw(law, planner_design(layers, hidden, ffn, trillions)._asdict()), 2) == mmlu


@PERFORMANCE
@given(data=st.data(), gamma=st.floats(1, 10))
def test_the_formula_as_it_reads(entry, data, gamma):
    config = data.draw(of(entry))
    expected = reference.raw(config, config["training_tokens"] / 1e12, gamma)
    assert raw(entry.law._replace(gamma=gamma), config) == pytest.approx(expected, rel=1e-11, abs=1e-9)


def test_no_underflow_where_the_discount_is_extreme():
    thin = planner_design(2000, 128, 128, 1.0)  # z = 469: u = exp(-219727) is 0 in any float
    expected = reference.raw(thin._asdict() | {"num_attention_heads": 1}, 1.0)
    assert raw(PerformanceDense(), thin._asdict()) == pytest.approx(expected, rel=1e-12)
    assert math.isfinite(float(RAW(PerformanceDense(), floats(thin._asdict()))))


@given(configs(experts=False))
def test_one_expert_of_one_scores_as_the_dense_law(config):
    experts = {"num_experts": 1, "num_experts_per_tok": 1, "moe_intermediate_size": config["intermediate_size"]}
    expected = raw(PerformanceDense(), config)
    assert raw(PerformanceMoE(), config) == pytest.approx(expected, rel=1e-13)
    assert raw(PerformanceMoE(), config | experts | {"intermediate_size": 0}) == pytest.approx(expected, rel=1e-13)


@given(configs(), st.floats(0, 2))
def test_the_exponent_of_the_expansion_is_a_coefficient(config, exponent):
    total, active = reference.total_params(config), reference.active_params(config)
    law = PerformanceMoE()
    gained = raw(law._replace(expansion_exponent=exponent), config) - raw(law._replace(expansion_exponent=0.0), config)
    assert gained == pytest.approx(law.tokens * exponent * math.log(total / active), abs=1e-9)


@PERFORMANCE
@FEW
@given(data=st.data())
def test_more_tokens_are_never_worse(entry, data):
    config = data.draw(of(entry))
    more = config | {"training_tokens": config["training_tokens"] + data.draw(st.integers(0, 10**14))}
    assert raw(entry.law, more) >= raw(entry.law, config)


@given(st.lists(st.floats(-1e6, 1e6), min_size=20, max_size=20))
def test_the_performance_laws_stay_within_their_bounds(raws):
    with jax.enable_x64(True):
        scores = np.asarray(CLAMP(PerformanceDense(), np.sort(raws)))
    assert ((scores >= 25) & (scores <= 100)).all()
    assert scores.tolist() == pytest.approx([reference.clamp(value) for value in sorted(raws)], rel=1e-14)


@pytest.mark.parametrize(
    ("value", "score"), [(24.9, 25), (90, 90), (91, 90.9967), (95, 94.6212), (100, 97.6159), (110, 99.6403)]
)
def test_the_clamp_bends_above_90(value, score):
    with jax.enable_x64(True):
        assert round(float(CLAMP(PerformanceDense(), value)), 4) == score


# --- every law ----------------------------------------------------------------------------------------------------------


@ENTRIES
@FEW
@given(data=st.data())
def test_jit_equals_eager(entry, data):
    config = data.draw(of(entry))
    with jax.enable_x64(True):
        eager = float(entry.law.raw(floats(config)))
    assert raw(entry.law, config) == pytest.approx(eager, rel=1e-12, abs=1e-10)


@ENTRIES
@FEW
@given(data=st.data())
def test_vmap_equals_loop(entry, data):
    many = data.draw(st.lists(of(entry), min_size=5, max_size=5))
    batch = jax.tree.map(lambda *column: np.array(column, float), *(floats(config) for config in many))
    with jax.enable_x64(True):
        found = np.asarray(VMAPPED(entry.law, batch))
    np.testing.assert_allclose(found, [raw(entry.law, config) for config in many], rtol=1e-12, atol=1e-10)


@ENTRIES
@given(data=st.data())
def test_float32_is_close_to_float64(entry, data):
    config = data.draw(of(entry))
    exact = raw(entry.law, {name: float(np.float32(value)) for name, value in config.items() if name in FIELDS})
    rough = float(RAW(entry.law, floats(config)))
    assert abs(rough - exact) <= 2e-6 * (100 + abs(exact))  # the terms of a sum near 0 are of the order of 100


@ENTRIES
@FEW
@given(data=st.data())
def test_gradients_are_finite(entry, data):
    with jax.enable_x64(True):
        law = jax.tree.map(float, entry.law)
        gradients = jax.tree.leaves(GRADIENT(law, floats(data.draw(of(entry)))))
    assert np.isfinite(gradients).all()


@ENTRIES
@given(raws=st.lists(st.floats(-1e6, 1e6), min_size=20, max_size=20))
def test_the_clamp_is_non_decreasing(entry, raws):
    with jax.enable_x64(True):
        scores = np.asarray(CLAMP(entry.law, np.sort(raws)))
    assert (np.diff(scores) >= 0).all()


@pytest.mark.parametrize("entry", LAWS.values(), ids=LAWS)
def test_what_a_reader_must_know_is_there(entry):
    assert all((entry.metric, entry.source, entry.valid))
    assert LAWS[entry.name] is entry is find_law(entry.name)


def test_the_reconstruction_says_so():
    assert "reconstruction" in LAWS["performance-moe"].note
    assert "RECONSTRUCTION" in (PerformanceMoE.__doc__ or "")


# --- settings and the user's own laws -----------------------------------------------------------------------------------


def chinchilla(design, a=406.4):
    """A loss: less is better."""
    return 1.69 + a / design.hidden_size**0.34


chinchilla.higher_is_better = False


class Wide:
    """A law as an object."""

    def raw(self, design):
        return 2.0 * design.hidden_size

    def clamp(self, raw):
        return jnp.minimum(raw, 100.0)


@pytest.fixture
def own(monkeypatch):
    """A user's module ``own.laws``."""
    module = types.ModuleType("own.laws")
    vars(module).update(
        chinchilla=chinchilla, deep=lambda design: 1.0 * design.num_hidden_layers, Wide=Wide, wide=Wide(), number=3
    )
    module.entry = LAWS["performance-dense"].with_settings({"gamma": 1.5})
    monkeypatch.setitem(sys.modules, "own", types.ModuleType("own"))
    monkeypatch.setitem(sys.modules, "own.laws", module)


def test_with_settings_replaces_coefficients_of_a_copy():
    entry = LAWS["performance-moe"].with_settings({"gamma": 1.25, "expansion_exponent": 0.25})
    assert entry.law == PerformanceMoE(gamma=1.25, expansion_exponent=0.25)
    assert (entry.name, entry.source, entry.note) == tuple(getattr(LAWS[entry.name], key) for key in ("name", "source", "note"))
    assert LAWS["performance-moe"].law == PerformanceMoE()
    assert entry.with_settings({}) is entry


def test_a_users_function(own):
    entry = find_law("own.laws:deep")
    assert (entry.name, entry.higher_is_better, entry.experts) == ("own.laws:deep", True, True)
    assert float(RAW(entry.law, planner_design(32, 4096, 14336, 1))) == 32
    assert entry.law.clamp(1e9) == 1e9


def test_a_users_function_of_which_less_is_better(own):
    entry = find_law("own.laws:chinchilla")
    design = planner_design(32, 4096, 14336, 1)
    loss = 1.69 + 406.4 / 4096**0.34
    assert not entry.higher_is_better
    assert float(entry.law.raw(design)) == pytest.approx(loss)
    assert float(Negated(entry.law).raw(design)) == pytest.approx(-loss)
    assert float(RAW(entry.with_settings({"a": 0.0}).law, design)) == pytest.approx(1.69)


def test_negated_turns_the_clamp_round():
    law = Negated(PerformanceDense())
    assert [float(law.clamp(value)) for value in (-10.0, -50.0)] == [-25.0, -50.0]


@pytest.mark.parametrize("name", ["own.laws:wide", "own.laws:Wide"])
def test_a_users_object_or_class(own, name):
    entry = find_law(name)
    assert isinstance(entry, LawEntry)
    assert float(entry.law.raw(planner_design(32, 4096, 14336, 1))) == 8192
    assert float(entry.law.clamp(8192.0)) == 100


def test_a_users_entry(own):
    assert find_law("own.laws:entry").law.gamma == 1.5


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "performance-dens",
            "law: no law named 'performance-dens'; did you mean 'performance-dense'?; or 'package.module:object' for ",
        ),
        ("zzz", "law: no law named 'zzz'; allowed: performance-dense, "),
        ("own.absent:law", "law: cannot load own.absent:law: ModuleNotFoundError"),
        ("own.laws:absent", "law: cannot load own.laws:absent: AttributeError"),
        ("kaplan+ flp", "law: no law named 'kaplan+ flp'; in a composition there are spaces around the +: 'kaplan + flp'"),
        ("own.laws:", "law: no law named 'own.laws:'"),
        ("own.laws:number", "law: own.laws:number is neither a function of a design nor an object with raw and clamp"),
    ],
)
def test_what_is_wrong_with_a_law(own, name, message):
    with pytest.raises(ValueError) as caught:
        find_law(name)
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("performance-dense", "law_settings.gama: performance-dense has no such setting; did you mean 'gamma'?"),
        ("own.laws:chinchilla", "law_settings.gama: own.laws:chinchilla has no such setting; allowed: a"),
        ("own.laws:deep", "law_settings.gama: own.laws:deep has no such setting; it has no settings"),
        ("own.laws:wide", "law_settings.gama: own.laws:wide has no such setting; it has no settings"),
    ],
)
def test_what_is_wrong_with_a_setting(own, name, message):
    with pytest.raises(ValueError) as caught:
        find_law(name).with_settings({"gama": 1.0})
    assert str(caught.value) == message


def test_a_function_with_settings_is_static_under_jit(own):
    law = find_law("own.laws:chinchilla").with_settings({"a": 1.0}).law
    assert isinstance(law, FunctionLaw) and jax.tree.leaves(law) == []


def test_a_setting_below_what_makes_sense_is_refused():
    with pytest.raises(ValueError, match="law_settings.gamma: must be at least 1, not 0.5"):
        LAWS["performance-moe"].with_settings({"gamma": 0.5})
