"""Every proposal is a candidate; tokens are as many as the limits leave, against a search through all of them."""

import numpy as np
import pytest
from brute import evaluate_all, within
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import problems

from perflaw_jax.laws import PerformanceDense
from perflaw_jax.objective import Bound
from perflaw_jax.proposals import TOKENS, Choices
from perflaw_jax.space import Axis, Space

N = 16
ON_TOKENS = ("training_tokens", "training_flops", "non_embedding_flops", "exact_training_flops", "tokens_per_param")


@st.composite
def proposed(draw):
    """A random problem and proposals of every kind."""
    problem = draw(problems())
    choices = Choices(problem.space, (), problem.limits)
    rows = [[draw(st.integers(0, n - 1)) for n in choices.counts.values()] for _ in range(N)]
    return problem, choices, np.array(rows, np.int64).reshape(N, len(choices.counts))


@settings(max_examples=30)
@given(proposed())
def test_tokens_are_the_nearest_that_the_limits_leave(case):
    problem, choices, proposals = case
    space, digits = problem.space, choices.digits(proposals)
    fields = [axis.field for axis in space.axes]
    for name, column in zip(choices.counts, proposals.T, strict=True):
        if name != TOKENS:
            assert np.array_equal(digits[fields.index(name)], choices.values[name][column])
    if TOKENS not in choices.counts:
        return
    _, quantities = evaluate_all(space, PerformanceDense())
    holds = np.logical_and.reduce([within(problem.limits[n], quantities[n]) for n in ON_TOKENS if n in problem.limits], axis=0)
    holds = np.broadcast_to(holds, space.size)
    position, order = fields.index(TOKENS), choices.values[TOKENS]
    followed = any(position in table.dims for name, table in space.tables.items() if name != TOKENS)
    steps = any(problem.limits[n].multiple_of is not None for n in ON_TOKENS if n in problem.limits)
    if followed or steps:
        return
    for row, wanted in enumerate(proposals[:, list(choices.counts).index(TOKENS)]):
        place = [d[row] for d in digits]
        line = [int(space.ids([*place[:position], at, *place[position + 1 :]])) for at in order]
        allowed = np.flatnonzero(holds[line])
        nearest = wanted if not len(allowed) else allowed[np.argmin(abs(allowed - wanted))]
        assert place[position] == order[nearest]


def test_an_axis_counts_its_distinct_values_upwards():
    space = Space((Axis("hidden_size", (512.0, 128.0, 512.0, 256.0)), Axis("vocab_size", (7.0, 7.0))))
    choices = Choices(space)
    assert choices.counts == {"hidden_size": 3}
    assert [d.tolist() for d in choices.digits(np.array([[0], [1], [2]]))] == [[1, 3, 0], [0, 0, 0]]


def test_an_axis_of_millions_of_values_is_searched_in_a_few_steps():
    tokens = tuple(np.arange(1.0, 3e6) * 1e6)
    fixed = {"num_hidden_layers": 8, "intermediate_size": 4096}
    space = Space((Axis("hidden_size", (1024.0, 2048.0)), Axis(TOKENS, tokens)), fixed)
    choices = Choices(space, (), {"training_flops": Bound(max=1e21)})
    most = choices.digits(np.array([[0, len(tokens) - 1], [1, len(tokens) - 1], [1, 5]]))[1]
    fields = space.fields([np.array([0, 1]), most[:2]])
    spent = 6 * fields[TOKENS] * (_params(fields))
    assert (spent <= 1e21).all() and (spent + 6e6 * _params(fields) > 1e21).all() and most[2] == 5


def _params(fields):
    n, h, d = (fields[name] for name in ("num_hidden_layers", "hidden_size", "intermediate_size"))
    return n * (2 * h * h + 2 * 1024 * h + 3 * h * d) + 300_000 * h


@pytest.mark.parametrize(("cell", "said"), [(("hiden_size",), "did you mean 'hidden_size'?"), (("hidden_size",), "every axis")])
def test_a_cell_that_makes_no_sense(cell, said):
    with pytest.raises(ValueError, match=said.replace("?", r"\?")):
        Choices(Space((Axis("hidden_size", (1.0, 2.0)),)), cell)
