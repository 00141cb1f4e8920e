"""What a user of the planner can set: defaults, messages, links, and the same question as a sweep spec."""

import tomllib

import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from perflaw_jax.hardware import ACCELERATORS
from perflaw_jax.planner.as_spec import spec_of, spec_text
from perflaw_jax.planner.grids import HIDDEN_STEPS
from perflaw_jax.planner.inputs import OWN, InputError, Inputs, check, offered
from perflaw_jax.planner.limits import grid_of, in_reach, limits_of
from perflaw_jax.spec import load_spec, parse_spec
from perflaw_jax.spec_toml import SpecError

LAWS = {kind: sorted(offered(kind)) for kind in ("dense", "moe")}


def ends(low, high, whole=False):
    number = st.integers(low, high) if whole else st.floats(low, high)
    return st.tuples(number, number).map(sorted)


@st.composite
def questions(draw):
    """Inputs that make sense."""
    kind = draw(st.sampled_from(["dense", "moe"]))
    law = draw(st.sampled_from([None, *LAWS[kind]]))
    entry = offered(kind)[law or {"dense": "performance-dense", "moe": "performance-moe"}[kind]]
    values = {
        "kind": kind,
        "law": law,
        "grid": "fine" if kind == "moe" else draw(st.sampled_from(["authors", "fine"])),
        "gamma": draw(st.floats(1, 5)) if "gamma" in entry.settings else 1,
        "ranking": draw(st.sampled_from(["performance", "shallow", *(["balance"] if entry.higher_is_better else [])])),
        "accelerator": draw(st.sampled_from([OWN, *ACCELERATORS])),
        "peak_tflops": draw(st.floats(1, 1e5)),
        "count": draw(st.integers(1, 10**6)),
        "mfu": draw(st.floats(0.01, 1)),
        "days": draw(st.floats(0.1, 1000)),
        "hidden_step": draw(st.sampled_from(HIDDEN_STEPS)),
        "min_score": draw(st.floats(-100, 100)),
        "shared": draw(st.integers(0, 8)),
        "leading": draw(st.integers(0, 8)),
    }
    ranges = {"layers": ends(1, 200, True), "size": ends(0.1, 1000), "tokens": ends(0.02, 40), "experts": ends(8, 512, True)}
    ranges |= {"chosen": ends(1, 16, True), "expert_ratio": ends(0.125, 3.5)}
    for name, pair in ranges.items():
        values[f"min_{name}"], values[f"max_{name}"] = draw(pair)
    return check(values)


def test_the_defaults_are_the_authors_programs():
    inputs = check({})
    assert inputs == Inputs.model_validate({})
    assert inputs.budget == load_spec(ROOT / "sweeps" / "planner_default.toml").budget == 3.991928832e23
    assert (inputs.law_name, inputs.ranking, inputs.grid, inputs.gamma, inputs.min_score) == (
        "performance-dense",
        "performance",
        "authors",
        1,
        50,
    )
    assert [inputs.range(name) for name in ("layers", "size", "tokens")] == [(20, 100), (10, 100), (1, 20)]
    assert inputs.link() == {}


@given(questions())
def test_a_link_restores_every_input(inputs):
    link = inputs.link()
    assert check(link) == inputs
    assert all(isinstance(value, str) for value in link.values())
    assert link.keys() == {name for name in Inputs.model_fields if getattr(inputs, name) != Inputs.model_fields[name].default}


@pytest.mark.parametrize(
    ("values", "field", "said"),
    [
        ({"layers": "3"}, "", "did you mean 'leading'?|no input named"),
        ({"mfu": "1.5"}, "mfu", "less than or equal to 1"),
        ({"mfu": "lots"}, "mfu", "number"),
        ({"days": "nan"}, "days", "finite"),
        ({"count": "2.5"}, "count", "integer"),
        ({"count": "0"}, "count", "greater than or equal to 1"),
        ({"min_layers": "60", "max_layers": "30"}, "min_layers", "from 60 down to 30"),
        ({"min_tokens": "3", "max_tokens": "2"}, "min_tokens", "from 3 down to 2"),
        ({"accelerator": "NVIDIA A10"}, "accelerator", "did you mean 'NVIDIA A100'?"),
        ({"kind": "sparse"}, "kind", "'dense' or 'moe'"),
        ({"kind": "moe"}, "grid", "fine grid"),
        ({"kind": "moe", "grid": "fine", "law": "performance-dense"}, "law", "scores this"),
        ({"law": "regmix"}, "law", "scores this"),
        ({"law": "chinchilla", "gamma": "2"}, "gamma", "no precision loss"),
        ({"law": "chinchilla", "ranking": "balance"}, "ranking", "less is better"),
        ({"hidden_step": "7"}, "hidden_step", "one of 256"),
    ],
)
def test_nonsense_is_a_message_at_its_field(values, field, said):
    with pytest.raises(InputError) as error:
        check(values)
    message = error.value.messages[field]
    assert any(part in message for part in said.split("|")), message
    assert "\n" not in str(error.value)


def test_every_wrong_input_has_its_message():
    with pytest.raises(InputError) as error:
        check({"mfu": -1, "days": 0, "count": "many"})
    assert error.value.messages.keys() == {"mfu", "days", "count"}


@pytest.mark.parametrize("name", ACCELERATORS)
def test_accelerators_are_sourced_and_dense(name):
    chip = ACCELERATORS[name]
    assert "dense" in chip.source and (
        "datasheet" in chip.source.replace(" sheet", "sheet")
        or "paper" in chip.source
        or "documentation" in chip.source
        or "brief" in chip.source
    )
    assert 1e14 < chip.peak_flops < 3e15
    assert check({"accelerator": name}).hardware["peak_flops"] == chip.peak_flops


@given(questions())
def test_the_spec_holds_the_same_candidates(inputs):
    reach = in_reach(grid_of(inputs), limits_of(inputs))
    try:
        spec = spec_of(inputs)
    except SpecError:
        assert not reach  # a range between two values of the grid
        return
    written = parse_spec(tomllib.loads(spec_text(inputs)))
    assert written.canonical() == spec.canonical()
    assert spec.budget == inputs.budget
    if inputs.grid == "fine":  # under the authors' rules a limit on the FFN cuts half of the spec's
        assert spec.space().size == reach
