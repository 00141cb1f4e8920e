"""Streamed rows are exactly the feasible candidates, in the order of their ids."""

import jax.numpy as jnp
import numpy as np
from brute import Brute
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from problems import families

from perflaw_jax.columns import Columns
from perflaw_jax.exhaustive import Engine, Kept, Problem, feasible_rows
from perflaw_jax.laws import FunctionLaw, PerformanceDense
from perflaw_jax.objective import Bound
from perflaw_jax.space import Axis, Space


def as_written(columns):
    plain = {name: c[1][c[0]] if isinstance(c, tuple) else c for name, c in columns.items() if c is not None}
    return {name: np.broadcast_to(c, len(plain["candidate_id"])) for name, c in plain.items()}


def check(problem, target=500):
    brute = Brute(problem)
    engine = Engine(problem, target=target, in_order=True)
    kept = Kept.empty(problem, top=10, marginals=True, counts=True)
    end, ids = 0, []
    columns = Columns(engine, budget=1e24)
    for _, slab in feasible_rows(engine, kept):
        begin, after = engine.tiling.span(slab.start)
        assert begin == end < after
        assert ((slab.ids >= begin) & (slab.ids < after)).all()
        end = after
        ids += slab.ids.tolist()
        rows, e = as_written(columns.full_slab(slab)), brute.evaluation
        fields = problem.space.fields(problem.space.digits(slab.ids))
        for name in fields.keys() & rows.keys():
            assert np.array_equal(rows[name], fields[name])
        assert np.array_equal(rows["training_tokens"], brute.quantities["training_tokens"][slab.ids])
        assert np.array_equal(rows["active_params"], brute.quantities["active_params"][slab.ids])
        assert np.array_equal(rows["total_params"], e.total_params[slab.ids])
        assert np.array_equal(rows["training_flops"], e.training_flops[slab.ids].astype(np.float32))
        np.testing.assert_allclose(rows["score"], e.score[slab.ids], rtol=1.2e-7)
        compact = columns.compact_slab(slab)
        assert np.array_equal(compact["candidate_id"], slab.ids) and np.array_equal(compact["score"], rows["score"])
    assert end == problem.space.size
    assert ids == np.flatnonzero(brute.feasible).tolist()
    assert kept.top.finish().candidate_id.tolist() == brute.top(10).tolist()
    assert kept.counts.finish().cut == brute.cut


@settings(max_examples=4, phases=[Phase.explicit, Phase.reuse, Phase.generate], suppress_health_check=[HealthCheck.too_slow])
@given(families(size=5), st.sampled_from([64, 500, 4096]))
def test_rows_are_the_feasible_candidates(family, target):
    for problem in family:
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
