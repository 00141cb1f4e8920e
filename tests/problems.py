"""Random small problems for hypothesis: grids of two to six axes, dense or MoE, under limits that cut through them.

Programs take seconds to compile and milliseconds to run, so problems come in families that share them (see ``families``).
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, replace

import jax
import numpy as np
from brute import evaluate_all
from hypothesis import strategies as st

from perflaw_jax.design import QUANTITIES
from perflaw_jax.exhaustive import Problem
from perflaw_jax.laws import LAWS, PerformanceDense, PerformanceMoE
from perflaw_jax.laws.pytree import pytree
from perflaw_jax.objective import Bound
from perflaw_jax.space import Axis, Space

RANGES = {  # field -> least, most and step of what is drawn
    "num_hidden_layers": (2, 128, 1),
    "hidden_size": (128, 16384, 128),
    "intermediate_size": (256, 65536, 256),
    "training_tokens": (int(1e9), int(4e13), int(1e9)),
    "num_key_value_heads": (1, 64, 1),
    "vocab_size": (1000, 300_000, 500),
    "tie_word_embeddings": (0, 1, 1),
    "gated_ffn": (0, 1, 1),
    "context_length": (1024, 131_072, 1024),
    "num_experts": (0, 256, 1),
    "num_experts_per_tok": (1, 16, 1),
    "moe_intermediate_size": (128, 8192, 128),
    "shared_expert_intermediate_size": (0, 8192, 128),
    "first_k_dense_replace": (0, 8, 1),
}
DENSE = list(RANGES)[:9]
NEEDED = ["num_hidden_layers", "hidden_size", "intermediate_size"]
NEEDED_MOE = [*NEEDED, "num_experts", "num_experts_per_tok", "moe_intermediate_size"]
RELATIONS = {  # field -> (relation, base, multiplied or added values, multiple_of); together they make chains of three
    "hidden_size": [("ratio", "num_hidden_layers", (32.0, 50.5, 64.0, 127.99, 128.0), 128)],
    "intermediate_size": [
        ("ratio", "hidden_size", (1.0, 2.6875, 3.5, 8 / 3), 256),
        ("ratio", "hidden_size", (0.5, 1.0 / 3, 4.0), None),
        ("offset", "hidden_size", (0.0, 1024.0, 4096.0), None),
    ],
    "moe_intermediate_size": [
        ("ratio", "intermediate_size", (0.25, 0.3, 1.0), 128),
        ("ratio", "hidden_size", (0.5, 1.5), None),
    ],
    "shared_expert_intermediate_size": [("ratio", "moe_intermediate_size", (1.0, 2.0, 1.25), None)],
    "training_tokens": [("ratio", "hidden_size", (1e7, 1e8, 3e9), None)],
    "context_length": [("offset", "hidden_size", (0.0, 4096.0), 1024)],
}


@st.composite
def axis_values(draw, field, longest):
    """Values of an axis: a list with repeats in any order, a range upwards or downwards, or geometric."""
    low, high, step = RANGES[field]
    steps = st.integers(0, (high - low) // step).map(lambda i: low + step * i)
    kind = draw(st.sampled_from(["list", "range", "geometric"]))
    if kind == "list" or low == 0:
        return draw(st.lists(steps, min_size=1, max_size=longest))
    first, last, count = draw(steps), draw(steps), draw(st.integers(1, longest))
    if kind == "range":
        by = step * draw(st.integers(1, 4)) * (1 if first < (low + high) / 2 else -1)
        return [value for i in range(count) if low <= (value := first + i * by) <= high]
    values = np.geomspace(first, last, count)
    return (values if field == "training_tokens" else np.floor(values + 0.5)).tolist()


@st.composite
def axes(draw, fields, room):
    """An axis for each field, some relative to others, of at most ``room`` candidates together."""
    made = []
    for field in fields:
        known = [r for r in RELATIONS.get(field, []) if r[1] not in ("training_tokens", field)]
        longest = max(1, min(24, room))
        if known and draw(st.booleans()):
            relation, base, values, multiple = draw(st.sampled_from(known))
            values = draw(st.lists(st.sampled_from(values), min_size=1, max_size=min(5, longest)))
        else:
            relation, base, values, multiple = (
                None,
                None,
                draw(axis_values(field, longest)),
                draw(st.sampled_from([None, None, 64])),
            )
            multiple = multiple if RANGES[field][2] % 64 == 0 else None
        made.append(Axis(field, tuple(map(float, values)), relation, base, multiple))
        room //= len(values)
    return made


@st.composite
def spaces(draw, room=4000):
    """A grid with tokens first, in the middle, last or bought; with experts or without."""
    moe = draw(st.booleans())
    fields = draw(st.lists(st.sampled_from(list(RANGES) if moe else DENSE), min_size=2, max_size=6, unique=True))
    made = draw(axes(fields, room))
    fixed = {field: float(draw(axis_values(field, 1))[0]) for field in (NEEDED_MOE if moe else NEEDED) if field not in fields}
    spend = None
    if "training_tokens" not in fields:
        if draw(st.booleans()):
            spend = draw(st.sampled_from([1e20, 3e22, 1e24]))
        else:
            fixed["training_tokens"] = float(draw(axis_values("training_tokens", 1))[0])
    return Space(tuple(made), fixed, spend)


@st.composite
def limits(draw, space, law, most=4):
    """Limits of every kind, half of them ON the value of some candidate, so that equality matters."""
    evaluation, quantities = evaluate_all(space, law)
    chosen = {}
    for name in draw(st.lists(st.sampled_from([*QUANTITIES, "score", "score", "training_flops"]), max_size=most)):
        values = evaluation.raw if name == "score" else quantities[name]
        if name in RANGES and draw(st.booleans()):
            chosen[name] = Bound(multiple_of=float(draw(st.sampled_from([1, 2, 3, 128, 10**6]))))
            continue
        places = st.integers(0, space.size - 1)
        ends = sorted(float(values[i]) for i in draw(st.tuples(places, places)))
        if not np.isfinite(ends).all():
            continue
        which = draw(st.sampled_from(["min", "max", "both"]))
        chosen[name] = Bound(ends[0] if which != "max" else None, ends[1] if which != "min" else None)
    if space.spend is not None and draw(st.booleans()):
        chosen["training_flops"] = Bound(max=space.spend)
    return chosen


@st.composite
def problems(draw, costs=None, room=4000):
    """A random problem."""
    space = draw(spaces(room))
    experts = any(name == "num_experts" for name in space.tables)
    law = PerformanceMoE() if experts else PerformanceDense()
    if costs is None:
        costs = tuple(draw(st.lists(st.sampled_from(QUANTITIES), max_size=2, unique=True)))
    return Problem(space, law, draw(limits(space, law)), costs)


@st.composite
def relative(draw, problem, keep_fixed):
    """A problem that differs from another in numbers alone: values, limits and budget; as many, in the same order of size."""
    axes = []
    for axis in problem.space.axes:
        if axis.base is None:
            low, high, step = RANGES[axis.field]
            drawn = st.integers(0, (high - low) // step).map(lambda i, low=low, step=step: low + step * i)
        else:
            known = [r[2] for r in RELATIONS[axis.field] if r[:2] == (axis.relation, axis.base)]
            drawn = st.sampled_from([value for values in known for value in values])
        values = np.sort(draw(st.lists(drawn, min_size=len(axis.values), max_size=len(axis.values))))
        axes.append(replace(axis, values=tuple(map(float, values[np.argsort(np.argsort(axis.values, kind="stable"))]))))
    fixed = problem.space.fixed
    if not keep_fixed:
        fixed = {field: float(draw(axis_values(field, 1))[0]) for field in fixed}
    spend = None if problem.space.spend is None else draw(st.sampled_from([1e20, 3e22, 1e24]))
    space = replace(problem.space, axes=tuple(axes), fixed=fixed, spend=spend)
    return replace(problem, space=space, limits=draw(other_limits(problem, space)))


@st.composite
def other_limits(draw, problem, space):
    """The limits of a problem with ends on the values of candidates of another space."""
    evaluation, quantities = evaluate_all(space, problem.law)
    chosen, places = {}, st.integers(0, space.size - 1)
    for name, bound in problem.limits.items():
        if bound.multiple_of is not None:
            chosen[name] = Bound(multiple_of=float(draw(st.sampled_from([1, 2, 3, 128, 10**6]))))
            continue
        if space.spend is not None and bound == Bound(max=problem.space.spend):
            chosen[name] = Bound(max=space.spend)
            continue
        values = evaluation.raw if name == "score" else quantities[name]
        ends = sorted(float(values[i]) for i in draw(st.tuples(places, places)))
        ends = ends if np.isfinite(ends).all() else sorted(end for end in bound[:2] if end is not None) * 2
        chosen[name] = Bound(None if bound.min is None else ends[0], None if bound.max is None else ends[-1])
    return chosen


@st.composite
def families(draw, costs=None, room=4000, size=4, keep_fixed=False):
    """Problems that share their compiled programs: a random one of more than one candidate, and others in other numbers.

    ``keep_fixed`` keeps the fields that are no axis, which are constants of the programs that bound boxes.
    """
    first = draw(problems(costs, room).filter(lambda problem: problem.space.size > 1))
    return [first, *(draw(relative(first, keep_fixed)) for _ in range(size - 1))]


@pytree
@dataclass(frozen=True)
class OneOf:
    """A law that is one of several functions of a design, by a number: all share the compiled programs."""

    which: np.int32
    functions: tuple[Callable, ...] = dataclasses.field(metadata={"static": True})

    def raw(self, design):
        return jax.lax.select_n(self.which, *(function(design) for function in self.functions))

    def clamp(self, raw):
        return raw

    @staticmethod
    def each(*functions):
        return [OneOf(np.int32(which), functions) for which in range(len(functions))]


def forms():
    """One entry of the registry for each formula: laws that differ in their coefficients alone share their programs."""
    structures = {jax.tree.structure(entry.law): entry for entry in reversed(LAWS.values())}
    return [entry for entry in LAWS.values() if entry in structures.values()]
