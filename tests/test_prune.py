"""What the reducers still want, against the definition: does putting the best corner of a box in change what is kept?"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perflaw_jax.frontier import Frontier
from perflaw_jax.prune import open_to_front, open_to_top
from perflaw_jax.reduce import Batch, TopK


@st.composite
def candidates(draw, costs, most):
    """A batch of which many are equal in something; ids are not repeated."""
    count = draw(st.integers(0, most))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    values = random.integers(0, draw(st.sampled_from([2, 5, 100])), (4 + costs, count)).astype(float)
    score, flops, params, _, *rest = values
    ids = random.permutation(10 * most)[:count]
    return Batch(ids, score, flops, params, score, score, np.array(rest).reshape(costs, count).T)


def corners(batch):
    """Boxes of one candidate each."""
    return np.column_stack([-batch.score, batch.training_flops, batch.total_params, batch.costs])


@pytest.mark.parametrize("costs", [1, 2])
@given(data=st.data(), k=st.integers(1, 8))
def test_open_where_it_would_change_something(costs, data, k):
    known, new = data.draw(candidates(costs, 200)), data.draw(candidates(costs, 40))
    new = new.take(~np.isin(new.candidate_id, known.candidate_id))
    top, frontier = TopK(k, costs).update(known), Frontier(costs).update(known)
    of_top = open_to_top(top, corners(new), new.candidate_id)
    of_front = open_to_front(frontier.front, corners(new), new.candidate_id)
    for i, identity in enumerate(new.candidate_id):
        one = new.take(slice(i, i + 1))
        assert of_top[i] == (identity in TopK(k, costs).update(known).update(one).finish().candidate_id)
        assert of_front[i] == (identity in Frontier(costs).update(known).update(one).finish().candidate_id)
