"""The device programs lower for accelerators that this machine need not have."""

from dataclasses import make_dataclass

import jax
import pytest
from jax import export

from perflaw_jax import exhaustive as module
from perflaw_jax.exhaustive import Engine, Kept, Problem
from perflaw_jax.kernel import Task
from perflaw_jax.laws import FlopsToPerformance, FunctionLaw, PerformanceMoE
from perflaw_jax.laws.loss import ComputeLoss
from perflaw_jax.objective import Bound
from perflaw_jax.programs import Finding
from perflaw_jax.space import Axis, Space


@pytest.fixture(scope="module")
def calls():
    """Each program of a small sweep of experts, with the arguments of its last call."""
    axes = (
        Axis("num_hidden_layers", (16.0, 24.0, 32.0)),
        Axis("hidden_size", (2048.0, 4096.0)),
        Axis("moe_intermediate_size", (0.5, 1.0), "ratio", "hidden_size", 128),
        Axis("num_experts", (8.0, 64.0)),
        Axis("training_tokens", (1e12, 5e12, 1e13)),
    )
    limits = {"score": Bound(min=20.0), "training_flops": Bound(max=1e25), "moe_intermediate_size": Bound(multiple_of=128.0)}
    space = Space(axes, {"intermediate_size": 8192.0, "num_experts_per_tok": 2.0, "first_k_dense_replace": 1.0})
    engine = Engine(Problem(space, PerformanceMoE(), limits, ("training_flops", "weight_bytes")))
    seen = {}

    def recorded(name, program):
        def record(*arguments):
            seen[name] = program, arguments
            return program(*arguments)

        return record

    engine._finding = Finding(*(recorded(name, program) for name, program in engine._finding._asdict().items()))
    engine.programs.decide = recorded("decide", engine.programs.decide)
    kept = Kept.empty(engine.problem, top=5, marginals=True, counts=True)
    start = next(engine.tiling.starts())
    found = engine.find([start], kept.asked(engine))
    module.settle(engine, module.marked(engine, start, found), kept)
    engine.census([start])
    return seen


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_the_finding_program_lowers_without_float64(calls, platform):
    program, arguments = calls["find"]
    text = export.export(program, platforms=[platform])(*arguments).mlir_module()
    assert "f32" in text and "f64" not in text


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
@pytest.mark.parametrize("name", ["census", "decide"])
def test_the_exact_programs_lower(calls, name, platform):
    program, arguments = calls[name]
    with jax.enable_x64(True):
        assert "f64" in export.export(program, platforms=[platform])(*arguments).mlir_module()


def test_what_is_known_of_the_scores_of_one_space_is_not_taken_for_granted_in_another():
    def pole(design):
        return 1.0 / (design.num_hidden_layers - 32.0)

    def space(*layers):
        return Space((Axis("num_hidden_layers", layers), Axis("hidden_size", (1024.0, 2048.0))), {"training_tokens": 1e12})

    engine = Engine(Problem(space(8.0, 16.0), FunctionLaw(pole)))
    assert engine._finding is engine.programs.sure
    assert engine.on(space(8.0, 64.0))._finding is engine.programs.wary
    assert engine.on(space(40.0, 64.0))._finding is engine.programs.sure


def test_programs_are_kept_for_engines_to_come_but_not_what_a_function_read():
    def engine(law, flops):
        axes = (Axis("num_hidden_layers", (8.0, 16.0)), Axis("hidden_size", (1024.0, 2048.0)))
        space = Space(axes, {"training_tokens": 1e12})
        return Engine(Problem(space, law, {"training_flops": Bound(max=flops)}, ("weight_bytes",)))

    def best(engine):
        return module.sweep(engine.problem, top=1, engine=engine).top.finish().score.tolist()

    number = [1.0]

    def function(design):
        return number[0] * design.hidden_size

    assert best(engine(FunctionLaw(function), 1e30)) == [2048]
    number[0] = 2.0
    assert best(engine(FunctionLaw(function), 1e30)) == [4096]
    first, second = engine(PerformanceMoE(), 1e30), engine(PerformanceMoE(), 1e20)
    assert first.programs is not second.programs and first.programs.decide is second.programs.decide


def test_no_program_of_one_law_is_taken_for_another_of_as_many_coefficients():
    """JAX tells the structures of ``register_dataclass`` apart by their hashes alone, now and then by nothing."""
    mine, yours = (jax.tree_util.register_dataclass(make_dataclass(name, ["slope"])) for name in ("Mine", "Yours"))
    for one, other in ((ComputeLoss(1.0, 2.0, 3.0), FlopsToPerformance(1.0, 2.0, 3.0)), (mine(1.0), yours(1.0))):
        assert jax.tree.structure(Task(one, {}, None)) != jax.tree.structure(Task(other, {}, None))
        assert jax.tree.structure(Task(one, {}, None)) == jax.tree.structure(Task(one, {}, None))
    assert jax.tree.structure(ComputeLoss()) != jax.tree.structure(FlopsToPerformance(1.0, 2.0))
