"""The ready sweep of the authors' planner against its loop in plain Python, row by row."""

import jax
import numpy as np
import pytest
import reference
from conftest import ROOT

from perflaw_jax.catalogue import find_law
from perflaw_jax.exhaustive import Problem, sweep
from perflaw_jax.objective import as_limits, evaluate, make_design
from perflaw_jax.spec import load_spec

SPEC = ROOT / "sweeps" / "planner_default.toml"
BUDGET = "limits.training_flops"
SIZE = "limits.total_params"

# overrides of the spec -> the same settings of the planner
PAGES = {
    "default": ([], {}),
    "gamma 1.2": (["law_settings.gamma=1.2"], {"gamma": 1.2}),
    "gamma 2": (["law_settings.gamma=2"], {"gamma": 2.0}),
    "small": ([f"{SIZE}.min=1B", f"{SIZE}.max=10B"], {"min_size": 1, "max_size": 10}),
    "no minimum": (["limits.score.min=0"], {"min_mmlu": 0}),
    "more machines": (
        [f"{BUDGET}.accelerators=4096", f"{BUDGET}.days=60", f"{BUDGET}.mfu=0.55", f"{BUDGET}.peak_flops=989T"],
        {"gpus": 4096, "days": 60, "mfu": 0.55, "tflops": 989},
    ),
    "fewer machines, other depths": (
        [f"{BUDGET}.accelerators=512", f"{SIZE}.min=1B", "axes.num_hidden_layers=[6, 7, 14, 15, 22, 23, 30, 31, 38, 39]"],
        {"gpus": 512, "min_size": 1, "min_layers": 6, "max_layers": 46},
    ),
}
COUNTS = {"default": 4560, "gamma 1.2": 4320, "gamma 2": 3157, "small": 4092, "no minimum": 4789}


@jax.jit
def scored(fields, law, limits):
    """Every candidate of a grid, scored exactly."""
    return jax.vmap(lambda one: evaluate(make_design(one), law, limits))(fields)


def page(name: str):
    """The sweep of a page and the planner's rows for the same settings."""
    overrides, settings = PAGES[name]
    spec = load_spec(SPEC, overrides)
    law = find_law(spec.law).with_settings(spec.law_settings).law
    return (
        spec,
        Problem(spec.space(), law, as_limits(spec.limits), ("training_flops",)),
        list(reference.planner_rows(**settings)),
    )


@pytest.mark.parametrize("name", PAGES)
def test_every_row_in_the_planners_order(name):
    spec, problem, expected = page(name)
    space = problem.space
    fields = space.fields(space.digits(np.arange(space.size)))
    with jax.enable_x64(True):
        found = jax.tree.map(np.asarray, scored(fields, problem.law, problem.limits))
    rows = np.flatnonzero(found.feasible)
    assert len(rows) == len(expected) == COUNTS.get(name, len(expected)) > 1000

    column = {key: np.array([row[key] for row in expected]) for key in expected[0]}
    for field, key in (("num_hidden_layers", "N"), ("hidden_size", "h"), ("intermediate_size", "d")):
        np.testing.assert_array_equal(fields[field][rows], column[key])
    np.testing.assert_array_equal(fields["training_tokens"][rows], column["T"] * 1e12)
    np.testing.assert_array_equal(found.total_params[rows] / 1e9, column["size"])
    np.testing.assert_allclose(found.raw[rows], column["raw"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.score[rows], column["mmlu"], rtol=0, atol=1e-9)
    # ours counts all tokens, the planner's utilisation those up to the cap T = S
    used = found.training_flops[rows] / spec.budget * np.minimum(1, column["size"] / column["T"])
    np.testing.assert_allclose(used, column["utilisation"], rtol=1e-12)


@pytest.mark.parametrize(("name", "capped"), [("default", 0), ("small", 2260)])
def test_the_engine_keeps_every_row(name, capped):
    _, problem, expected = page(name)
    assert sum(row["T"] > row["size"] for row in expected) == capped
    kept = sweep(problem, top=5000)
    assert kept.counts is not None
    assert (kept.counts.candidates, kept.counts.feasible) == (570_000, len(expected))  # the planner visits 2,280,000
    assert kept.counts.cut["intermediate_size"] == 570_000 - 152_000

    top = kept.top.finish()
    fields = problem.space.fields(problem.space.digits(top.candidate_id))
    names = ("num_hidden_layers", "hidden_size", "intermediate_size", "training_tokens")
    found = set(zip(*(fields[field] for field in names), strict=True))
    assert found == {(row["N"], row["h"], row["d"], row["T"] * 1e12) for row in expected}
    np.testing.assert_allclose(top.score, sorted((row["mmlu"] for row in expected), reverse=True), rtol=0, atol=1e-9)
    tied = np.diff(top.score) == 0  # beyond the cap more tokens add nothing: the cheaper design comes first
    assert tied.sum() >= min(capped, 1000)
    assert (np.diff(top.training_flops)[tied] >= 0).all()


def test_the_ten_rows_that_the_authors_print():
    from test_laws import PRINTED

    rows = map(reference.shown, reference.planner_rows())
    assert sorted(rows, key=reference.RANKINGS["Balance"])[:10] == PRINTED


@pytest.mark.parametrize(
    ("ranking", "first"),
    [
        ("Performance First", (95, 4096, 8192, 14.78, 4.5, 71.97, 0.9994)),
        ("Shallow Model First", (22, 16384, 16384, 35.18, 1.5, 52.0, 0.7932)),
    ],
)
def test_the_oracles_other_rankings(ranking, first):
    assert sorted(map(reference.shown, reference.planner_rows()), key=reference.RANKINGS[ranking])[0] == first


@pytest.mark.parametrize("path", sorted((ROOT / "sweeps").glob("*.toml")), ids=lambda path: path.stem)
def test_every_ready_sweep_is_a_valid_spec(path):
    spec = load_spec(path)
    assert spec.name == path.stem
    find_law(spec.law).with_settings(spec.law_settings)
    assert 10**5 <= spec.space().size <= 5 * 10**8
