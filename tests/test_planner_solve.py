"""The planner's answers against the authors' loop, and against a sweep of the spec that says the same."""

import numpy as np
import pytest
import reference
from brute import Brute
from test_laws import PRINTED

from perflaw_jax import box_bounds
from perflaw_jax.catalogue import find_law
from perflaw_jax.job import make_problem
from perflaw_jax.objective import Bound
from perflaw_jax.planner import solve as module
from perflaw_jax.planner import solvers, tables, words
from perflaw_jax.planner.as_spec import spec_of
from perflaw_jax.planner.inputs import check
from perflaw_jax.planner.limits import moved_within
from perflaw_jax.planner.solve import by_layers, frontier, sensitivity, solve
from perflaw_jax.planner.warm_up import QUESTIONS

RANKINGS = {"performance": "Performance First", "balance": "Balance", "shallow": "Shallow Model First"}
PAGES = {
    "default": ({}, {}),
    "gamma": ({"gamma": 1.2}, {"gamma": 1.2}),
    "small": ({"min_size": 1, "max_size": 10}, {"min_size": 1, "max_size": 10}),
    "other": (
        {"count": 4096, "days": 60, "mfu": 0.55, "peak_tflops": 989, "max_layers": 95, "max_tokens": 15, "min_score": 70},
        {"gpus": 4096, "days": 60, "mfu": 0.55, "tflops": 989, "max_layers": 95, "max_tokens": 15, "min_mmlu": 70},
    ),
}
SMALL = {"dense": {"min_layers": 30, "max_layers": 33, "hidden_step": 2048, "min_tokens": 5, "max_tokens": 5.6}}
SMALL["moe"] = {"min_layers": 30, "max_layers": 32, "hidden_step": 2048, "min_tokens": 5, "max_tokens": 5.6}
SMALL["moe"] |= {
    "min_experts": 16,
    "max_experts": 64,
    "min_expert_ratio": 0.25,
    "max_expert_ratio": 1,
    "leading": 1,
    "shared": 2,
}


def printed(plan):
    """The rows as the authors' program prints them."""
    table = plan.table
    return [
        (int(n), int(h), int(d), round(size / 1e9, 2), tokens / 1e12, round(score, 2), round(used, 4))
        for n, h, d, size, tokens, score, used in zip(
            *(
                table[name]
                for name in (
                    "num_hidden_layers",
                    "hidden_size",
                    "intermediate_size",
                    "total_params",
                    "training_tokens",
                    "score",
                    "budget_used",
                )
            ),
            strict=True,
        )
    ]


def test_the_ten_rows_that_the_authors_print():
    assert printed(solve(check({"ranking": "balance"})))[:10] == PRINTED


@pytest.mark.parametrize("ranking", RANKINGS)
@pytest.mark.parametrize("page", PAGES)
def test_the_authors_rows_in_their_order(page, ranking):
    asked, settings = PAGES[page]
    rows = sorted(map(reference.shown, reference.planner_rows(**settings)), key=reference.RANKINGS[RANKINGS[ranking]])
    assert printed(solve(check({**asked, "ranking": ranking}))) == rows[: module.MOST_ROWS]


@pytest.mark.parametrize("kind", SMALL)
def test_ranges_as_limits_are_the_ranges_of_a_spec(kind):
    inputs = check({**SMALL[kind], "kind": kind, "grid": "fine", "gamma": 1.1, "count": 2048})
    plan, spec = solve(inputs), spec_of(inputs)
    brute = Brute(make_problem(spec, find_law(spec.law).with_settings(spec.law_settings)))
    ids = brute.top(module.MOST_ROWS)
    assert plan.note == "" and len(plan.table) == len(ids) > 100
    np.testing.assert_allclose(plan.table["score"], brute.evaluation.score[ids], rtol=1e-13)
    for name in ("num_hidden_layers", "hidden_size", "moe_intermediate_size", "training_tokens"):
        np.testing.assert_array_equal(plan.table[name][:20], brute.quantities[name][ids[:20]])


@pytest.fixture(scope="module")
def fine():
    """A plan of the fine grid of a billion."""
    return solve(check({"grid": "fine", "ranking": "balance", "min_score": 60}))


def test_balance_of_the_fine_grid(fine):
    table = fine.table
    value = table["score"] ** 2 / np.log(1 + table["num_hidden_layers"])
    assert (np.diff(value) <= 1e-9).all() and (table["score"] >= 60).all()
    assert (table["hidden_size"] % 1024 == 0).all() and (table["training_flops"] <= fine.inputs.budget).all()
    assert fine.candidates == 81 * 24 * 27 * 951


def test_shallow_first_takes_few_boxes():
    """Where a slice of a box leaves no design of the least score, that counts for the axis it is cut along."""
    plan = solve(
        check({"grid": "fine", "ranking": "shallow", "count": 512, "min_layers": 1, "min_size": 0, "hidden_step": 256})
    )
    assert plan.note == "" and plan.solver._search(plan.limits, 1000, "shallow").certificate.boxes < 10**5


@pytest.mark.parametrize("kind", ["dense", "moe"])
def test_one_layer_takes_few_boxes(kind):
    """Unless what a limit leaves nothing of tells where to cut, a least score that nothing meets takes millions."""
    whole = {"min_layers": 1, "max_layers": 200, "min_size": 0, "max_size": 1e5, "min_tokens": 0, "max_tokens": 40}
    plan = solve(check({"grid": "fine", "kind": kind, "hidden_step": 256, **whole}))
    one = {**plan.limits, "num_hidden_layers": Bound(min=1.0, max=1.0)}
    assert plan.solver._search(one, 1).certificate.boxes < 10**5


def test_what_moves_the_score(fine):
    shifts = {shift.end: shift for shift in sensitivity(fine)}
    best = float(fine.solver.best(fine.limits)["score"][0])
    budget = shifts["training_flops max"]
    assert budget.binds and budget.scores[0.5] < budget.scores[0.75] < best < budget.scores[1.25] < budget.scores[2.0]
    assert budget.scores[2.0] < budget.free
    half = fine.inputs.model_copy(update={"count": 512})
    assert solve(half.model_copy(update={"ranking": "performance"})).table["score"][0] == budget.scores[0.5]
    for end, shift in shifts.items():  # loosening never costs, tightening never gains
        looser = {True: (1.25, 2.0), False: (0.5, 0.75)}[end.endswith(" max")]
        assert all(shift.scores[factor] >= best for factor in looser), end
        assert all(not shift.scores[factor] > best for factor in shift.scores if factor not in looser), end
        assert shift.free >= best and shift.binds == (shift.free > best)
    assert "the training budget" in words.binding([*shifts.values()])


def test_curves_of_the_fine_grid(fine):
    best = float(fine.solver.best(fine.limits)["score"][0])
    front = frontier(fine, "training_flops")
    assert front["score"].is_monotonic_increasing and front["training_flops"].is_monotonic_increasing
    assert front["score"].iloc[-1] >= best - solvers.FRONTIER_GAP
    depths = by_layers(fine)
    assert depths["num_hidden_layers"].is_monotonic_increasing and depths["score"].max() <= best
    for layers, score in depths[["num_hidden_layers", "score"]].iloc[::5].itertuples(index=False):
        alone = fine.solver.best({**fine.limits, "num_hidden_layers": Bound(float(layers), float(layers))})
        assert alone["score"][0] == score  # wherever the search begins


def test_candidates_are_moved_to_what_limits_let_in(fine):
    space, found = fine.solver.space, fine.solver.best(fine.limits)
    limits = {**fine.limits, "num_hidden_layers": Bound(min=40.0, max=47.0), "training_tokens": Bound(max=2e12)}
    moved = space.fields(space.digits(moved_within(space, found["candidate_id"], limits)))
    assert 40 <= moved["num_hidden_layers"] <= 47 and moved["training_tokens"] <= 2e12
    assert moved["hidden_size"] == found["hidden_size"]
    nothing = {**limits, "num_hidden_layers": Bound(min=1e6)}
    kept = space.fields(space.digits(moved_within(space, found["candidate_id"], nothing)))
    assert kept["num_hidden_layers"] == found["num_hidden_layers"]


def test_a_swept_frontier_is_a_searched_one_without_its_gap(fine, monkeypatch):
    swept = frontier(fine, "training_flops")
    monkeypatch.setattr(solvers, "SWEPT", ())
    searched = frontier(fine, "training_flops")
    assert searched["score"].min() >= fine.limits["score"].min and swept["score"].min() >= fine.limits["score"].min

    def within(front, costs):
        place = np.searchsorted(front["training_flops"], costs, side="right") - 1
        return np.where(place < 0, -np.inf, front["score"].to_numpy()[place])

    assert (within(swept, searched["training_flops"]) >= searched["score"]).all()
    assert (within(searched, swept["training_flops"]) >= swept["score"] - solvers.FRONTIER_GAP).all()


def test_the_authors_frontier_is_that_of_all_rows():
    plan = solve(check({}))
    rows = [*reference.planner_rows()]
    front = frontier(plan, "total_params")
    for size, score in zip(front["total_params"] / 1e9, front["score"], strict=True):
        assert score == pytest.approx(max(row["mmlu"] for row in rows if row["size"] <= size), abs=1e-9)


@pytest.mark.parametrize(
    ("asked", "excludes"),
    [
        ({"days": 0.01}, ("training_flops max",)),
        ({"min_score": 99}, ("score min",)),
        ({"min_layers": 24, "max_layers": 29}, ("num_hidden_layers min", "num_hidden_layers max")),
        ({"days": 0.01, "min_score": 99}, ()),
    ],
)
def test_what_excludes_everything_is_named(asked, excludes):
    plan = solve(check(asked))
    assert plan.table.empty and plan.excludes == excludes
    assert "No design" in words.nothing(plan)
    assert sensitivity(plan) == [] and frontier(plan, "training_flops").empty and by_layers(plan).empty


def test_a_law_that_takes_too_long_is_answered_from_a_coarser_grid(monkeypatch):
    monkeypatch.setattr(solvers, "PATIENCE", -1.0)
    plan = solve(check({"grid": "fine", "law": "performance-dense"}))
    assert "coarser grid" in plan.note and len(plan.table) == module.MOST_ROWS
    assert (plan.table["training_flops"] <= plan.inputs.budget).all()


def test_after_the_warm_up_other_rankings_and_ranges_compile_nothing():
    for question in QUESTIONS:
        solve(check(question))
    compiled = programs()
    for question in QUESTIONS:
        for ranking in RANKINGS:
            for ranges in ({}, {"days": 60, "min_layers": 10, "max_size": 500, "min_score": 40}):
                assert not solve(check({**question, **ranges, "ranking": ranking})).table.empty
    assert programs() == compiled


def programs():
    return box_bounds._over_boxes._cache_size(), solvers._scored._cache_size()


def test_a_law_of_which_less_is_better():
    plan = solve(check({"law": "chinchilla", "min_score": 2}))
    assert plan.table["score"].is_monotonic_increasing and (plan.table["score"] <= 2).all()
    assert all(shift.free <= plan.table["score"][0] for shift in sensitivity(plan))
    assert tables.limits_for_a_reader(plan)["score"] == (None, 2, None, 0.0)


def test_files_hold_the_whole_table(tmp_path):
    import pandas as pd

    plan = solve(check({}))
    (tmp_path / "t.csv").write_bytes(tables.as_csv(plan))
    (tmp_path / "t.parquet").write_bytes(tables.as_parquet(plan))
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "t.csv"), plan.table)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "t.parquet"), plan.table)
    shown = tables.shown(plan)
    assert list(shown.iloc[0])[:7] == [1, 95, 4096, 8192, pytest.approx(14.78, abs=0.005), 4.5, plan.table["score"][0]]
    assert {*tables.formats(plan)} >= {*shown.columns} - {"Rank", "Layers", "Hidden", "FFN"}
