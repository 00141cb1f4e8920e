"""Counting row by row is counting every candidate."""

from functools import partial

import jax
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from perflaw_jax import census as module
from perflaw_jax.engine import Engine, Problem
from perflaw_jax.laws import PerformanceDense, PerformanceMoE
from perflaw_jax.objective import Bound
from perflaw_jax.space import Axis, Space

LAYERS = (Axis("num_hidden_layers", (12.0, 24.0, 48.0)), Axis("hidden_size", (768.0, 4096.0, 1024.0)))
DENSE = Axis("intermediate_size", (0.0, 2048.0, 8192.0))
EXPERTS = (
    Axis("num_experts", (0.0, 8.0, 64.0)),
    Axis("num_experts_per_tok", (0.0, 2.0, 16.0)),
    Axis("first_k_dense_replace", (0.0, 500.0)),  # more than there are layers: parameters below zero
    Axis("moe_intermediate_size", (512.0, 2048.0)),
)
EXPONENTS = {
    "training_tokens": (10.5, 12.5),
    "training_flops": (20.0, 24.5),
    "non_embedding_flops": (20.0, 24.5),
    "exact_training_flops": (20.0, 24.5),
    "tokens_per_param": (0.0, 4.0),
    "total_params": (8.0, 11.5),
}


@st.composite
def bounds(draw, exponents):
    ends = [draw(st.none() | st.floats(*exponents).map(lambda x: 10.0**x)) for _ in range(2)]
    return Bound(*ends)


@st.composite
def problems(draw):
    tokens = Axis("training_tokens", tuple(np.geomspace(1e10, 1e13, draw(st.sampled_from([1, 5, 17, 40, 100])))))
    moe = draw(st.booleans())
    axes = draw(st.permutations([*LAYERS, *(EXPERTS if moe else [DENSE]), tokens]))
    names = draw(st.sets(st.sampled_from(list(EXPONENTS)), max_size=4))
    limits = {name: draw(bounds(EXPONENTS[name])) for name in sorted(names)}
    if draw(st.booleans()):  # an end that lies on a candidate
        limits["training_tokens"] = Bound(tokens.values[0], tokens.values[draw(st.integers(0, len(tokens.values) - 1))])
    return Problem(Space(tuple(axes), {}), PerformanceMoE() if moe else PerformanceDense(), limits)


@settings(max_examples=25)
@given(problems())
def test_rows_are_counted_as_their_candidates_are(problem):
    engine = Engine(problem, target=2**11)
    layout = engine.layout._replace(finite=True)
    by_rows, by_lanes = (jax.jit(partial(count, layout)) for count in (module._by_rows, module._by_lanes))
    for start in list(engine.tiling.starts())[::3]:
        with jax.enable_x64(True):
            fields, valid = engine._tiles([start])
            found = by_rows(fields, valid, engine._task)
            assert jax.tree.map(int, found) == jax.tree.map(int, by_lanes(fields, valid, engine._task))


def test_what_rows_cannot_tell_is_counted_candidate_by_candidate(monkeypatch):
    monkeypatch.setattr(module, "_by_lanes", lambda *_: "lanes")
    monkeypatch.setattr(module, "_by_rows", lambda *_: "rows")
    tokens = Axis("training_tokens", tuple(np.geomspace(1e10, 1e13, 64)))
    several = (*LAYERS, DENSE)

    def way(limits, axes=(*several, tokens), fixed=None, *, finite=True):
        engine = Engine(Problem(Space(axes, fixed or {}), PerformanceDense(), limits))
        return module.census(engine.layout._replace(finite=finite), {}, {}, engine._task)

    assert way({"training_flops": Bound(max=1e24), "total_params": Bound(multiple_of=2.0)}) == "rows"
    assert way({}, finite=False) == "lanes"
    assert way({"score": Bound(min=60.0)}) == "lanes"
    assert way({"training_tokens": Bound(multiple_of=1e9)}) == "lanes"
    assert way({}, several, {"training_tokens": 1e12}) == "lanes"
