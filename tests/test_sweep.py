"""A sweep equals the brute force: the same ids in the same order, whatever the tiles, limits and ties."""

from copy import deepcopy
from unittest.mock import patch

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from brute import Brute
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from problems import problems

from perflaw_jax import sweep as module
from perflaw_jax.kernel import Task
from perflaw_jax.laws import FunctionLaw, Negated, PerformanceDense
from perflaw_jax.objective import Bound
from perflaw_jax.reduce import Batch, Counts, Marginals, TopK
from perflaw_jax.space import Axis, Space
from perflaw_jax.frontier import Frontier
from perflaw_jax.sweep import Engine, Kept, Problem, run, sweep

few = settings(max_examples=12, phases=[Phase.explicit, Phase.generate], suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def check(problem, *, top=20, target=1024, pilot=8):
    """Sweep with a small pilot, so that the finding program is what finds, and hold the result against the brute force."""
    brute = Brute(problem)
    with patch.object(module, "PILOT_BLOCKS", pilot):
        kept = sweep(problem, top=top, engine=Engine(problem, target=target))
    same(kept, brute, top)
    return kept, brute


def same(kept, brute, top):
    assert kept.top.finish().candidate_id.tolist() == brute.top(top).tolist()
    for best, expected in zip(kept.marginals.finish(), brute.marginals(), strict=True):
        assert best.candidate_id.tolist() == expected.tolist()
    if kept.frontier is not None:
        assert np.sort(kept.frontier.finish().candidate_id).tolist() == brute.frontier().tolist()
    counts = kept.counts.finish()
    assert (counts.candidates, counts.feasible) == (brute.problem.space.size, int(brute.feasible.sum()))
    assert counts.cut == brute.cut


# --- random problems ---------------------------------------------------------------------------------------------------


@few
@given(problem=problems(), top=st.integers(1, 50), target=st.sampled_from([64, 300, 1000, 4096]), pilot=st.sampled_from([1, 16, 2048]))
def test_sweep_is_the_brute_force(problem, top, target, pilot):
    check(problem, top=top, target=target, pilot=pilot)
