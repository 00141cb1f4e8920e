"""Streamed rows are exactly the feasible candidates, in the order of their ids."""

import jax.numpy as jnp
import numpy as np
from brute import Brute
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from problems import problems

from perflaw_jax.laws import FunctionLaw, PerformanceDense
from perflaw_jax.objective import Bound
from perflaw_jax.space import Axis, Space
from perflaw_jax.sweep import Engine, Kept, Problem, feasible_rows


def check(problem, target=500):
    brute = Brute(problem)
    engine = Engine(problem, target=target, in_order=True)
    kept = Kept.empty(problem, top=10, marginals=True, counts=True)
    end, ids = 0, []
    for begin, after, rows in feasible_rows(engine, kept):
        assert begin == end < after
        assert ((rows.ids >= begin) & (rows.ids < after)).all()
        end = after
        ids += rows.ids.tolist()
        e, d = brute.evaluation, rows.decided
        assert np.array_equal(np.array(rows.digits), np.array(problem.space.digits(rows.ids)))
        assert np.array_equal(d.total_params, e.total_params[rows.ids])
        assert np.array_equal(d.training_flops, e.training_flops[rows.ids])
        for name in ("training_tokens", "active_params"):
            assert np.array_equal(getattr(d, name), brute.quantities[name][rows.ids])
        np.testing.assert_allclose(d.score, e.score[rows.ids], rtol=1e-13)
        assert all(np.array_equal(cost, brute.costs[rows.ids, i]) for i, cost in enumerate(d.costs))
    assert end == problem.space.size
    assert ids == np.flatnonzero(brute.feasible).tolist()
    assert kept.top.finish().candidate_id.tolist() == brute.top(10).tolist()
    assert kept.counts.finish().cut == brute.cut


@settings(max_examples=8, phases=[Phase.explicit, Phase.reuse, Phase.generate], suppress_health_check=[HealthCheck.too_slow])
@given(problems(), st.sampled_from([64, 500, 4096]))
def test_rows_are_the_feasible_candidates(problem, target):
    check(problem, target)


SPACE = Space(
    (Axis("num_hidden_layers", tuple(map(float, range(4, 68, 4)))), Axis("hidden_size", (1024.0, 2048.0, 4096.0, 8192.0))),
    {"intermediate_size": 4096.0, "training_tokens": 1e12},
)


def test_no_rows():
    check(Problem(SPACE, PerformanceDense(), {"total_params": Bound(max=1.0)}))


def test_a_limit_on_a_score_with_a_large_float32_error():
    def noisy(design):
        big = 1e4 * jnp.log(design.hidden_size)
        return (big + jnp.log(design.training_tokens)) - big  # wrong by up to 4e-3 in float32

    tokens = Axis("training_tokens", tuple(np.linspace(1e12, 1.05e12, 101)))
    space = Space((tokens, SPACE.axes[1]), {"intermediate_size": 4096.0, "num_hidden_layers": 32.0})
    problem = Problem(space, FunctionLaw(noisy))
    limit = float(np.sort(Brute(problem).evaluation.raw)[228]) - 1e-6
    check(Problem(space, problem.law, {"score": Bound(min=limit)}))
