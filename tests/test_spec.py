import copy
import json
import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perflaw_jax.design import FIELDS, QUANTITIES
from perflaw_jax.spec import SweepSpec, load_spec, parse_spec
from perflaw_jax.spec_axes import MAX_VALUES, AxisSpec
from perflaw_jax.spec_toml import SpecError, override
from perflaw_jax.spec_values import field_value, number

EXAMPLE = """
name = "dense-1e24"
law  = "performance-dense"

[axes]
num_hidden_layers = { start = 16, stop = 128, step = 2 }
hidden_size       = { start = 1024, stop = 16384, step = 256 }
intermediate_size = { ratio_to = "hidden_size", values = [2.0, 2.6875, 3.5, 4.0], multiple_of = 256 }
training_tokens   = { geometric = [1e11, 3e13], num = 256 }

[fixed]
num_key_value_heads = 8

[limits]
training_flops = { accelerators = 1024, peak_flops = 3.76e14, mfu = 0.40, days = 30 }
total_params   = { min = 1e10, max = 1e11 }
active_params  = 2e10
inference_flops_per_token = 1e11
weight_bytes   = 1.6e11
score          = { min = 50 }
intermediate_size = { multiple_of = 256 }

[output]
top      = 1000
frontier = ["training_flops", "total_params"]
rows     = "none"
"""

SMALL = """
[axes]
num_hidden_layers = [16, 32]
hidden_size = { start = 1024, stop = 4096, step = 1024 }
intermediate_size = { ratio_to = "hidden_size", values = [2, 4] }
[fixed]
training_tokens = "15T"
"""


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    return path


def base(**tables) -> dict:
    """A small valid spec as a mapping; keyword arguments update its tables, None removes a key."""
    spec = {
        "axes": {"num_hidden_layers": [16, 32], "hidden_size": [1024, 2048], "intermediate_size": [4096]},
        "fixed": {"training_tokens": 1e12},
        "limits": {},
        "output": {},
        "law_settings": {},
    }
    for name, change in tables.items():
        spec[name] = {key: value for key, value in {**spec[name], **change}.items() if value is not None}
    return spec


def axis(field: str, entry, **tables):
    """The values of ``field``'s axis in the small spec with that axis changed."""
    spec = parse_spec(base(axes={field: entry}, fixed={field: None}, **tables))
    return {a.field: a for a in spec.space().axes}[field]


def message(mapping) -> str:
    with pytest.raises(SpecError) as caught:
        parse_spec(mapping)
    text = str(caught.value)
    assert len(text.splitlines()) == 1
    assert len(text) < 700
    return text


def test_the_example_parses(tmp_path):
    path = tmp_path / "other-name.toml"
    path.write_text(EXAMPLE)
    spec = load_spec(path)
    space = spec.space()
    assert (spec.name, spec.law) == ("dense-1e24", "performance-dense")
    assert space.shape == (57, 61, 4, 256)
    layers, hidden, ffn, tokens = space.axes
    assert layers.values == tuple(range(16, 129, 2))
    assert hidden.values == tuple(range(1024, 16385, 256))
    assert (ffn.relation, ffn.base, ffn.multiple_of) == ("ratio", "hidden_size", 256)
    assert ffn.values == (2.0, 2.6875, 3.5, 4.0)
    assert (tokens.values[0], tokens.values[-1]) == (1e11, 3e13)
    np.testing.assert_allclose(np.diff(np.log(tokens.values)), math.log(300) / 255)
    assert space.fixed == {"num_key_value_heads": 8.0}
    assert space.spend is None
    assert spec.budget == 3.991928832e23
    assert (spec.limits["total_params"].min, spec.limits["total_params"].max) == (1e10, 1e11)
    assert (spec.limits["active_params"].min, spec.limits["active_params"].max) == (None, 2e10)
    assert spec.limits["intermediate_size"].multiple_of == 256
    assert spec.limits["score"].min == 50
    assert (spec.output.top, spec.output.frontier, spec.output.rows) == (1000, ("training_flops", "total_params"), "none")


def test_defaults(small):
    spec = load_spec(small)
    assert (spec.name, spec.law, spec.law_settings, spec.limits) == ("small", "performance-dense", {}, {})
    assert (spec.output.top, spec.output.frontier, spec.output.rows) == (1000, ("training_flops",), "none")
    assert spec.budget is None


def test_an_awkward_file_name_gives_a_usable_name(tmp_path):
    path = tmp_path / ".my sweep (1).toml"
    path.write_text("\ufeff" + SMALL, encoding="utf-8")  # a byte order mark, as some editors write
    assert load_spec(path).name == "my-sweep-1-"


@pytest.mark.parametrize(
    "written, value",
    [
        ("15T", 15e12), ("70B", 70e9), ("70g", 70e9), ("1.5e12", 1.5e12), ("128K", 128_000), ("3M", 3e6), ("2P", 2e15),
        ("1E", 1e18), ("1e2E", 1e20), (" 1.1 t ", 1.1e12), (".5K", 500), ("-3", -3), (7, 7), (0.25, 0.25), (np.int64(3), 3),
    ],
)  # fmt: skip
def test_numbers(written, value):
    assert number(written) == value


@pytest.mark.parametrize(
    "written",
    [True, "", "15X", "1 5T", "T", "1ee", "nan", "inf", "1_000", "\u0661", float("nan"), float("inf"), 10**400, 10**5000,
     "1e400", None, [], {}, 1j, b"1", "9" * 10**6, "1" * 10**6 + "x"],
    ids=lambda written: repr(written)[:9] if not isinstance(written, int) else "integer",
)  # fmt: skip
def test_no_numbers(written):
    with pytest.raises(ValueError, match="must be a"):
        number(written)


@pytest.mark.parametrize(
    "field, entry, values",
    [
        ("hidden_size", {"start": 64, "stop": 32, "step": -16}, (64, 48, 32)),
        ("hidden_size", {"start": 64, "stop": 64, "step": 5}, (64,)),
        ("hidden_size", {"start": "1K", "stop": "2K", "step": 500}, (1000, 1500, 2000)),
        ("hidden_size", {"start": 2**53 - 2, "stop": 2**53, "step": 1}, (2**53 - 2, 2**53 - 1, 2**53)),
        ("hidden_size", [3, 1, 1, "2K"], (3, 1, 1, 2000)),
        ("hidden_size", {"values": (8, 9.0)}, (8, 9)),
        ("hidden_size", {"geometric": [1, 100], "num": 3}, (1, 10, 100)),
        ("hidden_size", {"geometric": [1, 3], "num": 4}, (1, 1, 2, 3)),
        ("hidden_size", {"geometric": [7, 7], "num": 1}, (7,)),
        ("training_tokens", {"start": 1e12, "stop": 2e12, "step": 5e11}, (1e12, 1.5e12, 2e12)),
        ("training_tokens", {"start": 0.1, "stop": 0.3, "step": 0.1}, (0.1, 0.2, 0.3)),
        ("training_tokens", {"geometric": ["1T", "4T"], "num": 2}, (1e12, 4e12)),
        ("tie_word_embeddings", [True, False, 1], (1, 0, 1)),
        (
            "num_key_value_heads",
            {"ratio_to": "num_attention_heads", "start": 0.25, "stop": 1, "step": 0.25},
            (0.25, 0.5, 0.75, 1),
        ),
        ("first_k_dense_replace", {"start": 0, "stop": 2, "step": 1}, (0, 1, 2)),
        ("intermediate_size", {"offset_to": "hidden_size", "values": [-1000, 0, 24]}, (-1000, 0, 24)),
        ("shared_expert_intermediate_size", {"ratio_to": "moe_intermediate_size", "values": [0, 1, 2]}, (0, 1, 2)),
    ],
)
def test_axis_values(field, entry, values):
    got = axis(field, entry)
    assert got.values == values
    assert all(type(value) is float for value in got.values)


def test_geometric_ends_are_exact():
    values = axis("training_tokens", {"geometric": [1.1e11, 2.9e13], "num": 999}).values
    assert (len(values), values[0], values[-1]) == (999, 1.1e11, 2.9e13)


def test_a_long_axis_is_counted_not_built():
    with pytest.raises(ValueError, match="more than 10,000,000"):
        AxisSpec(start=1, stop=2**53, step=1).count("hidden_size")
    assert AxisSpec(start=1, stop=MAX_VALUES, step=1).count("hidden_size") == MAX_VALUES


def test_the_planners_grid():
    spec = parse_spec(
        {
            "axes": {
                "intermediate_size": {"offset_to": "hidden_size", "start": 0, "stop": 100352, "step": 2048},
                "hidden_size": {"start": 16384, "stop": 2048, "step": -1024},
                "num_hidden_layers": {"start": 20, "stop": 99, "step": 1},
                "training_tokens": {"start": 1e12, "stop": 19.5e12, "step": 0.5e12},
            },
            "limits": {"intermediate_size": {"multiple_of": 4096}},
        }
    )
    space = spec.space()
    assert space.shape == (50, 15, 80, 38)
    assert space.size == 2_280_000
    ffn = space.tables["intermediate_size"]
    assert ffn.dims == (0, 1)
    h = np.arange(16384, 2047, -1024)
    np.testing.assert_array_equal(ffn.values, 2048 * np.arange(50)[:, None] + h)


def test_dependent_axes_may_depend_on_dependent_axes():
    moe = {"moe_intermediate_size": {"ratio_to": "intermediate_size", "values": [0.125, 0.25], "multiple_of": 64}}
    ffn = {"intermediate_size": {"ratio_to": "hidden_size", "values": [4]}}
    spec = parse_spec(base(axes={**moe, **ffn}, fixed={"num_experts": 64, "num_experts_per_tok": 8}))
    np.testing.assert_array_equal(spec.space().tables["moe_intermediate_size"].values[:, 0], [[512, 1024], [1024, 2048]])


def test_spend():
    spec = parse_spec(
        base(axes={"training_tokens": "spend"}, fixed={"training_tokens": None}, limits={"training_flops": "1e24"})
    )
    assert spec.space().spend == spec.budget == 1e24
    assert [a.field for a in spec.space().axes] == ["num_hidden_layers", "hidden_size", "intermediate_size"]


def test_a_pure_moe_needs_no_dense_ffn():
    experts = {"num_experts": 64, "num_experts_per_tok": 8, "moe_intermediate_size": 1024}
    mixed = {"num_experts": [0, 64], "num_experts_per_tok": {"ratio_to": "num_experts", "values": [0.125]}}
    for mapping, ffn in (
        (base(axes={"intermediate_size": None}, fixed=experts), 0),
        (base(axes={"intermediate_size": [0]}, fixed=experts), 0),
        (base(axes=mixed, fixed={"moe_intermediate_size": 1024}), None),
    ):
        values = parse_spec(mapping).space().tables["intermediate_size"].values
        assert (values == ffn).all() if ffn is not None else (values > 0).all()


CLUSTER = {"accelerators": 8, "peak_flops": 1e15, "mfu": 0.4, "days": 30}

# Changes to the small spec ("no KEY" removes one), and below them, indented, what the message must say.
MISTAKES = """
law_settings.gamma = 'high'
    law_settings.gamma: must be a number
axes.hiden_size = [1]
    axes.hiden_size: unknown field; did you mean 'hidden_size'?
fixed.vocab = 1
    fixed.vocab: unknown field; did you mean 'vocab_size'?
limits.total_param = 1
    limits.total_param: unknown field; did you mean 'total_params'?
output.topp = 1
    output.topp: unknown key; did you mean 'top'?
axes.hidden_size = { strat = 1, stop = 2, step = 1 }
    axes.hidden_size.strat: unknown key; did you mean 'start'?
no axes.hidden_size
    hidden_size is missing
no fixed.training_tokens
    training_tokens is missing
no axes.intermediate_size
    intermediate_size is missing
no axes.intermediate_size
fixed.num_experts = 8
fixed.num_experts_per_tok = 2
fixed.moe_intermediate_size = 512
fixed.first_k_dense_replace = 1
    intermediate_size is missing
axes.intermediate_size = [0, 8]
    intermediate_size must be > 0 unless every candidate is an MoE
fixed.num_experts = 8
fixed.moe_intermediate_size = 512
    num_experts_per_tok is missing and num_experts is > 0
fixed.num_experts = 8
fixed.num_experts_per_tok = 2
fixed.moe_intermediate_size = 0
    moe_intermediate_size must be > 0 where num_experts is > 0
axes.num_experts = [0, 8]
fixed.num_experts_per_tok = 2
    moe_intermediate_size is missing
fixed.hidden_size = 1024
    fixed.hidden_size: is also an axis; keep one of the two
fixed.training_tokens = '15X'
    fixed.training_tokens: must be a number such as 4096, 1.5e12 or "15T", not '15X'
fixed.training_tokens = nan
    fixed.training_tokens: must be a finite number, not nan
fixed.training_tokens = -inf
    fixed.training_tokens: must be a finite number, not -inf
fixed.training_tokens = 0
    fixed.training_tokens: must be > 0, not 0
fixed.training_tokens = true
    fixed.training_tokens: must be a number such as 4096, 1.5e12 or "15T", not true
fixed.vocab_size = 1.5
    fixed.vocab_size: must be a whole number, not 1.5
fixed.vocab_size = -1
    fixed.vocab_size: must be > 0, not -1
fixed.vocab_size = 1e17
    fixed.vocab_size: must be at most 2^53, not 1e+17
fixed.num_experts = -1
    fixed.num_experts: must be >= 0, not -1
fixed.gated_ffn = 2
    fixed.gated_ffn: must be true or false (or 1 or 0), not 2
axes.hidden_size = ['4096', true]
    axes.hidden_size: must be a number such as
axes.hidden_size = { values = [1, 2.5] }
    axes.hidden_size.values: must be a whole number, not 2.5
axes.hidden_size = 4096
    axes.hidden_size: must be a list or a table such as
axes.hidden_size = []
    axes.hidden_size: is empty
axes.hidden_size = {}
    axes.hidden_size: needs exactly one of: values; start, stop and step; geometric and num
axes.hidden_size = { values = [1], num = 1 }
    axes.hidden_size: needs exactly one of
axes.hidden_size = { values = 5 }
    axes.hidden_size.values: must be a list, not 5
axes.hidden_size = { start = 1, stop = 2 }
    axes.hidden_size: needs step too
axes.hidden_size = { start = 2, stop = 17, step = 4 }
    axes.hidden_size.stop: 17 is not reached from 2 in steps of 4; nearest: 14 or 18
axes.hidden_size = { start = 2, stop = 17, step = 0 }
    axes.hidden_size.step: 0 never reaches stop 17 from start 2
axes.hidden_size = { start = 2, stop = 17, step = -5 }
    axes.hidden_size.step: -5 never reaches stop 17 from start 2
axes.hidden_size = { start = 0, stop = 17, step = 4 }
    axes.hidden_size.start: must be > 0, not 0
axes.hidden_size = { start = 2, stop = 17, step = 0.5 }
    axes.hidden_size.step: must be a whole number, not 0.5
axes.hidden_size = { geometric = [1, 8] }
    axes.hidden_size: needs num too
axes.hidden_size = { geometric = [1, 8], num = 1 }
    axes.hidden_size.num: must be >= 2 to reach both ends
axes.hidden_size = { geometric = [0, 8], num = 3 }
    axes.hidden_size.geometric: must be > 0, not 0
axes.hidden_size = { geometric = [1], num = 3 }
    axes.hidden_size.geometric: must be two numbers, [first, last]
axes.hidden_size = { geometric = [1, 2, 3], num = 3 }
    axes.hidden_size.geometric: must be two numbers
axes.hidden_size = { start = 1, stop = 1000000000, step = 1 }
    axes.hidden_size: has more than 10,000,000 values
axes.hidden_size = { geometric = [1, 2], num = 1_000_000_000_000 }
    axes.hidden_size: has more than 10,000,000 values
axes.training_tokens = { start = 1, stop = 1e300, step = 1e-9 }
no fixed.training_tokens
    axes.training_tokens: has more than 10,000,000 values
axes.training_tokens = { start = 1e12, stop = 2e12, step = 3e11 }
no fixed.training_tokens
    axes.training_tokens.stop: 2e+12 is not reached from 1e+12 in steps of 3e+11; nearest: 1.9e+12 or 2.2e+12
axes.hidden_size = 'spend'
    axes.hidden_size: only training_tokens can be "spend"
axes.training_tokens = 'spend'
no fixed.training_tokens
    "spend" needs limits.training_flops with a max
axes.training_tokens = 'spend'
axes.context_length = { ratio_to = 'training_tokens', values = [1] }
no fixed.training_tokens
limits.training_flops = 1e24
    axes.context_length.ratio_to: training_tokens is neither an axis with values of its own nor fixed
axes.intermediate_size = { ratio_to = 'hiden_size', values = [1] }
    ratio_to: unknown field; did you mean 'hidden_size'
axes.intermediate_size = { ratio_to = 'hidden_size', values = [0] }
    axes.intermediate_size.values: must be > 0, not 0
axes.intermediate_size = { offset_to = 'hidden_size', values = [0, -1024] }
    axes.intermediate_size: comes to 0 at hidden_size 1024, intermediate_size offset -1024; must be > 0
axes.intermediate_size = { offset_to = 'hidden_size', values = [0.5] }
    axes.intermediate_size.values: must be a whole number, not 0.5
axes.intermediate_size = { ratio_to = 'hidden_size', values = [0.01], multiple_of = 256 }
    axes.intermediate_size: comes to 0 at hidden_size 1024, intermediate_size ratio 0.01; must be > 0
axes.intermediate_size = { values = [512, 100], multiple_of = 256 }
    comes to 0 at intermediate_size 100; must be > 0
axes.intermediate_size = { values = [512], multiple_of = 0 }
    axes.intermediate_size.multiple_of: must be > 0, not 0
axes.intermediate_size = { ratio_to = 'hidden_size', values = [1e299] }
    must be at most 9.0072e+15
axes.mlp_bias = { offset_to = 'num_hidden_layers', values = [0] }
    axes.mlp_bias: comes to 16
axes.intermediate_size = { ratio_to = 'hidden_size', offset_to = 'hidden_size', values = [1] }
    axes.intermediate_size: has both ratio_to and offset_to; keep one
axes.hidden_size = { ratio_to = 'hidden_size', values = [1] }
    goes in a circle: hidden_size -> hidden_size
axes.hidden_size = { ratio_to = 'intermediate_size', values = [1] }
axes.intermediate_size = { ratio_to = 'hidden_size', values = [1] }
    axes.hidden_size: goes in a circle: hidden_size -> intermediate_size -> hidden_size
axes.head_dim = { ratio_to = 'num_attention_heads', values = [1] }
    axes.head_dim: goes in a circle: head_dim -> num_attention_heads -> head_dim
axes.vocab_size = { start = 1, stop = 1_000_000, step = 1 }
axes.context_length = { start = 1, stop = 1_000_000, step = 1 }
axes.head_dim = { start = 1, stop = 1_000_000, step = 1 }
axes.num_key_value_heads = { start = 1, stop = 1_000_000, step = 1 }
    axes: 4.0e+24 candidates, more than 9.2e+18; the biggest are vocab_size (1,000,000), context_length
axes.hidden_size = { start = 1, stop = 1_000_000, step = 1 }
axes.head_dim = { start = 1, stop = 1_000_000, step = 1 }
    axes: num_attention_heads depends on hidden_size, head_dim: 1.0e+12 combinations, more than 10,000,000
limits.total_params = 'many'
    limits.total_params: must be a number
limits.total_params = 0
    limits.total_params: must be > 0, not 0
limits.total_params = { min = -1 }
    limits.total_params.min: must be >= 0, not -1
limits.total_params = { min = 2e10, max = '10B' }
    limits.total_params: min 2e+10 is above max 1e+10
limits.total_params = {}
    limits.total_params: must be a number (= max) or hold at least one of: min, max, multiple_of
limits.total_params = { multiple_of = 8 }
    limits.total_params.multiple_of: only fields of the design have multiples
limits.hidden_size = { multiple_of = 0.5 }
    limits.hidden_size.multiple_of: must be a whole number, not 0.5
limits.hidden_size = { maximum = 1 }
    limits.hidden_size.maximum: unknown key; did you mean 'max'?
limits.score = { multiple_of = 2 }
    limits.score.multiple_of: only fields
limits.training_flops = { accelerators = 8, peak_flops = 1e15, mfu = 40, days = 30 }
    limits.training_flops.mfu: must be in (0, 1], not 40
limits.training_flops = { accelerators = 8, peak_flops = 1e15, mfu = 0.4, days = 0 }
    limits.training_flops.days: must be > 0, not 0
limits.training_flops = { accelerators = 8, peak_flops = 1e15, mfu = 0.4, days = 30, max = 1 }
    limits.training_flops.max: unknown key; allowed: accelerators, peak_flops, mfu, days
limits.training_flops = { days = 1 }
    limits.training_flops: accelerators is missing
limits.training_flops = { accelerators = 8, peak_flops = 1e299, mfu = 0.4, days = 30 }
    limits.training_flops: must be a finite number
limits.total_params = { accelerators = 8, peak_flops = 1e15, mfu = 0.4, days = 30 }
    limits.total_params: accelerators, peak_flops, mfu, days give training_flops only
output.top = 0
    output.top: must be 1 to 10,000,000, not 0
output.top = 1000000000
    output.top: must be 1 to 10,000,000, not 1000000000
output.frontier = 'training_flops'
    output.frontier: must be a list, not 'training_flops'
output.frontier = ['weight_byte']
    output.frontier[0]: unknown field; did you mean 'weight_bytes'?
output.frontier = ['hidden_size', 'hidden_size']
    output.frontier: must be at most 2 distinct names
output.frontier = ['num_hidden_layers', 'hidden_size', 'intermediate_size']
    output.frontier: must be at most 2 distinct names
output.rows = 'all'
    output.rows: must be 'none', 'feasible' or 'compact', not 'all'
"""
CASES = re.findall(r"((?:^\S.*\n)+)    (.*)\n", MISTAKES, re.MULTILINE)

NOT_A_SPEC = [
    ([], "spec: must be a table, not []"),
    ({}, "spec: num_hidden_layers is missing: give it under [axes] or [fixed]"),
    ({5: 1}, "spec: 5: unknown key"),
    ({"a\nb": 1}, r"spec: 'a\nb': unknown key"),
    ({"fixed": {"a\nb": 1}}, r"spec: fixed.'a\nb': unknown field"),
    ({"axess": {}}, "spec: axess: unknown key; did you mean 'axes'?"),
    ({"axes": 5}, "spec: axes: must be a table, not 5"),
    ({"name": "a b"}, "spec: name: must be at most 100 letters, digits, '-', '_' and '.'"),
    ({"law": ""}, "spec: law: must be text, not ''"),
    ({"fixed": {"training_tokens": 10**5000}}, "fixed.training_tokens: must be a finite number, not a huge number"),
    ({"fixed": {"training_tokens": "x" * 1000}}, "fixed.training_tokens: must be a number"),
    ({"fixed": {"training_tokens": {"a": [[1] * 100] * 100}}}, "fixed.training_tokens: must be a number"),
]


@pytest.mark.parametrize("changes, fragment", CASES, ids=[changes.splitlines()[0][:60] for changes, _ in CASES])
def test_mistakes(changes, fragment):
    spec = base()
    for line in changes.splitlines():
        if line.startswith("no "):
            table, key = line.removeprefix("no ").split(".")
            del spec[table][key]
        else:
            override(spec, line)
    assert fragment in message(spec)


@pytest.mark.parametrize("mapping, fragment", NOT_A_SPEC, ids=[fragment[:60] for _, fragment in NOT_A_SPEC])
def test_no_specs(mapping, fragment):
    assert fragment in message(mapping)


def test_files_that_cannot_be_read(tmp_path):
    def fails(path, fragment):
        with pytest.raises(SpecError) as caught:
            load_spec(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert fragment in str(caught.value)
        assert "\n" not in str(caught.value)

    fails(tmp_path / "none.toml", "cannot be read: No such file or directory")
    fails(tmp_path, "cannot be read: Is a directory")
    for content, fragment in [
        (b"name = 'a'\nlaw = '\xff'\n", "not UTF-8 text (line 2)"),
        (b"name = 'a'\nlaw = \n", "line 2"),
        (b"[axes]\nhidden_size = [1]\nhidden_size = [2]\n", "line 3"),
        (b"a = " + b"[" * 10**5, "not valid TOML"),
        (b"a = " + b"1" * 10**4, "not valid TOML"),
    ]:
        path = tmp_path / "bad.toml"
        path.write_bytes(content)
        fails(path, fragment)


def test_overrides(small):
    spec = load_spec(
        small,
        [
            "name=other",
            "law = fitted.json",
            "limits.training_flops={ max = 1e25 }",
            "limits.training_flops=1e24",
            "output.top=10",
            'output.frontier=["weight_bytes"]',
            "output.rows=compact",
            "axes.num_hidden_layers={start=2,stop=8,step=2}",
            "axes.intermediate_size.values=[3]",
            "fixed.training_tokens=2T",
            "law_settings.gamma=1.2",
        ],
    )
    assert (spec.name, spec.law, spec.budget, spec.law_settings) == ("other", "fitted.json", 1e24, {"gamma": 1.2})
    assert (spec.output.top, spec.output.frontier, spec.output.rows) == (10, ("weight_bytes",), "compact")
    assert spec.space().shape == (4, 4, 1)
    assert spec.space().fixed == {"training_tokens": 2e12}


@pytest.mark.parametrize(
    "override, fragment",
    [
        ("output.top", "--set: write key=value such as output.top=10, not 'output.top'"),
        ("=1", "--set: write key=value"),
        ("a..b=1", "--set: write key=value"),
        ("output.topp=1", "small.toml: output.topp: unknown key; did you mean 'top'?"),
        ("fixed.training_tokens.max=1", "--set fixed.training_tokens.max: training_tokens is no table here but '15T'"),
        ("axes.hidden_size={start=1", "--set axes.hidden_size: not a TOML value: '{start=1'"),
        ("output.top=1\nx=2", "output.top: must be a number"),
        ("output.top=2024-01-01", "output.top: must be a number"),
        ("output.top=", "output.top: must be a number"),
    ],
)
def test_override_mistakes(small, override, fragment):
    with pytest.raises(SpecError) as caught:
        load_spec(small, [override])
    assert fragment in str(caught.value)
    assert "\n" not in str(caught.value)


def test_equal_meaning_gives_the_same_hash(small):
    spec = load_spec(small)
    same = load_spec(
        small,
        [
            "fixed.training_tokens=1.5e13",
            "axes.num_hidden_layers={values=['16', 32.0]}",
            "output={top='1K', rows='none', frontier=['training_flops']}",
            "limits={}",
        ],
    )
    assert same.canonical() == spec.canonical()
    assert same.sha256() == spec.sha256()
    assert len(spec.sha256()) == 64
    assert (
        parse_spec(base(limits={"training_flops": CLUSTER})).sha256()
        == parse_spec(base(limits={"training_flops": {"max": 1e15 * 86400 * 0.4 * 8 * 30}})).sha256()
    )


@pytest.mark.parametrize(
    "override",
    ["name=x", "law=kaplan", "output.top=9", "fixed.vocab_size=9", "axes.num_hidden_layers=[32,16]", "limits.score=9",
     "law_settings.gamma=2", "axes.intermediate_size.multiple_of=2"],
)  # fmt: skip
def test_other_meaning_gives_another_hash(small, override):
    assert load_spec(small, [override]).sha256() != load_spec(small).sha256()


def test_the_order_of_the_axes_matters_and_that_of_the_rest_does_not():
    spec = base(fixed={"vocab_size": 9})
    turned = {key: dict(reversed(table.items())) for key, table in reversed(spec.items())}
    assert parse_spec(spec).sha256() != parse_spec(turned).sha256()
    turned["axes"] = spec["axes"]
    assert parse_spec(spec).sha256() == parse_spec(turned).sha256()


def test_the_canonical_text_is_itself_a_spec(tmp_path):
    path = tmp_path / "example.toml"
    path.write_text(EXAMPLE)
    for spec in (load_spec(path), load_spec(path, ["axes.training_tokens=spend", "axes.tie_word_embeddings=[true,false]"])):
        again = parse_spec(json.loads(spec.canonical()))
        assert again.canonical() == spec.canonical()
        assert again.space() == spec.space()


def test_a_spec_is_immutable(small):
    spec = load_spec(small)
    for change in ("law", "limits"):
        with pytest.raises(ValueError, match="frozen"):
            setattr(spec, change, None)


leaves = (
    st.none() | st.booleans() | st.integers(-3, 9) | st.integers() | st.floats() | st.text(max_size=6) | st.dates()
    | st.sampled_from(["spend", "15T", "hidden_size", "num_hidden_layers", "head_dim", "none", 4096, 1e12, 10**400, 1e299, 0.5])
)  # fmt: skip
keys = st.text(max_size=4) | st.sampled_from(
    [
        *FIELDS,
        *QUANTITIES,
        *SweepSpec.model_fields,
        *AxisSpec.model_fields,
        "top",
        "frontier",
        "rows",
        "min",
        "max",
        "days",
        "score",
    ]
)
junk = st.recursive(leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4), max_leaves=12)
paths = st.sampled_from(
    [("axes", field) for field in FIELDS]
    + [
        ("axes", field, key)
        for field in ("hidden_size", "intermediate_size", "training_tokens")
        for key in AxisSpec.model_fields
    ]
    + [("fixed", field) for field in FIELDS]
    + [("limits", name) for name in QUANTITIES]
    + [("limits", "training_flops", key) for key in (*CLUSTER, "max")]
    + [("output", key) for key in ("top", "frontier", "rows")]
    + [(key,) for key in SweepSpec.model_fields]
)


def parsed(mapping):
    """The spec, or what is said in its place."""
    try:
        return parse_spec(mapping)
    except SpecError as error:
        return error


def is_sound(found):
    """A spec of finite values that is the same when written and read again; or one printable line."""
    if isinstance(found, SpecError):
        return len(str(found).splitlines()) == 1 and str(found).isprintable() and found.__cause__ is None
    again = parse_spec(json.loads(found.canonical()))
    finite = all(np.isfinite(table.values).all() for table in found.space().tables.values())
    return finite and again.sha256() == found.sha256()


@given(junk)
def test_junk_parses_or_explains(mapping):
    assert is_sound(parsed(mapping))


@given(st.lists(st.tuples(paths, junk), min_size=1, max_size=3))
def test_a_spoilt_spec_parses_or_explains(changes):
    mapping = copy.deepcopy(
        base(
            axes={
                "intermediate_size": {"ratio_to": "hidden_size", "values": [2, 4], "multiple_of": 8},
                "training_tokens": {"start": 1e12, "stop": 2e12, "step": 5e11},
            },
            fixed={"training_tokens": None},
            limits={"training_flops": CLUSTER},
        )
    )
    for (*parents, last), value in changes:
        table = mapping
        for key in parents:
            inner = table.get(key)
            table[key] = inner if isinstance(inner, dict) else {}
            table = table[key]
        table[last] = value
    assert is_sound(parsed(mapping))


@given(st.text(max_size=40))
def test_any_override_applies_or_explains(text):
    mapping = base()
    for target in ("output.top=", "axes.hidden_size=", "name=", ""):
        try:
            override(mapping, target + text)
        except SpecError as error:
            assert len(str(error).splitlines()) == 1
    assert is_sound(parsed(mapping))


def test_field_values():
    assert field_value("gated_ffn", True) == field_value("gated_ffn", 1.0) == 1
    assert type(field_value("hidden_size", "4K")) is int
