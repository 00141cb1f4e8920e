"""The device program that counts (float64, whole tiles): how many candidates each limit holds for, how many are feasible."""

from collections.abc import Callable
from functools import reduce

import jax
import jax.numpy as jnp
from jax import lax

from perflaw_jax.accounting import DEPENDS_ON_TOKENS, PER_TOKEN, quantity
from perflaw_jax.design import Scalar
from perflaw_jax.kernel import Task
from perflaw_jax.nest import Layout, first_of_rows, lane, nest, tree
from perflaw_jax.objective import Bound, checks, make_design


def census(layout: Layout, fields: dict, valid: dict, task: Task) -> dict[str, Scalar]:
    """How many candidates of a tile each limit holds for, and how many are feasible: exact whole numbers.

    Where scores are known to be finite, and limits ask of the tokens of a row only whether some amount in proportion to them
    is within bounds, the ends of what they let in are searched for along the row; else every candidate is looked at.
    """
    along_tokens = [name for name in task.limits if name in DEPENDS_ON_TOKENS]
    in_runs = all(name in PER_TOKEN and task.limits[name].multiple_of is None for name in along_tokens)
    along_rows = layout.tokens_inner and layout.dims["training_tokens"] == (layout.depth - 1,)
    return (_by_rows if along_rows and in_runs and layout.finite else _by_lanes)(layout, fields, valid, task)


def _by_rows(layout: Layout, fields: dict, valid: dict, task: Task) -> dict[str, Scalar]:
    """Row by row: what all candidates of a row share, and the runs of them that the limits on amounts let in."""
    *outer, inner = valid
    tokens, size = fields["training_tokens"].T.ravel(), jnp.sum(valid[inner], dtype=jnp.int32)

    def row(values: dict) -> dict[str, Scalar]:
        design = make_design(lane(values, layout, 0), task.spend)
        asked = {name: bound for name, bound in task.limits.items() if name in PER_TOKEN}
        holds = checks(design, jnp.asarray(0.0), {name: bound for name, bound in task.limits.items() if name not in asked})
        total = {name: jnp.where(h, size, 0) for name, h in holds.items()}
        first, stop = jnp.int32(0), size
        for name, bound in asked.items():

            def amount(tokens: Scalar, name: str = name) -> Scalar:
                return quantity(name, design._replace(training_tokens=tokens))

            begin, end = _run(amount, bound, tokens, size)
            total[name] = jnp.maximum(end - begin, 0)
            first, stop = jnp.maximum(first, begin), jnp.minimum(stop, end)
        feasible = jnp.where(reduce(jnp.logical_and, holds.values()), jnp.maximum(stop - first, 0), 0)
        real = reduce(jnp.logical_and, [values[name] for name in outer], jnp.asarray(True))
        return {name: jnp.where(real, n, 0) for name, n in {**total, "feasible": feasible}.items()}

    dims = {**layout.dims, **{name: (position,) for position, name in enumerate(outer)}}
    counts = nest(row, layout, dims)({**first_of_rows(layout, fields), **{name: valid[name] for name in outer}})
    return {name: jnp.sum(n, dtype=jnp.int32) for name, n in lax.optimization_barrier(counts).items()}


def _run(amount: Callable[[Scalar], Scalar], bound: Bound, tokens: Scalar, size: Scalar) -> tuple[Scalar, Scalar]:
    """Where the tokens whose amount is within the bound begin and end.

    Args:
        amount: of what the bound limits, in proportion to the tokens: rounding does not change which of two is the larger.
        bound: both ends inclusive.
        tokens: [n], ascending; only the first ``size`` of them are in the grid.
        size: 1 or more.
    """
    rises, steps = amount(jnp.ones_like(tokens[0])) >= 0, len(tokens).bit_length()  # it falls where a shape is impossible

    def leading(holds: Callable[[Scalar], Scalar]) -> Scalar:
        """How many it holds for: the least amounts, which are the last ones where they fall."""

        def step(i: Scalar, count: Scalar) -> Scalar:
            more = count + (jnp.int32(1) << jnp.asarray(steps - 1 - i, jnp.int32))
            place = jnp.clip(jnp.where(rises, more - 1, size - more), 0, len(tokens) - 1)
            holding = (more <= size) & holds(amount(tokens[place]))
            return jnp.where(holding, more, count)

        return lax.fori_loop(0, steps, step, jnp.int32(0))

    below = jnp.int32(0) if bound.min is None else leading(lambda value: ~(value >= bound.min))
    upto = size if bound.max is None else leading(lambda value: value <= bound.max)
    return jnp.where(rises, below, size - upto), jnp.where(rises, upto, size - below)


def _by_lanes(layout: Layout, fields: dict, valid: dict, task: Task) -> dict[str, Scalar]:
    """Candidate by candidate, in two passes, lane by lane and row by row: what a row shares is looked at once.

    The law is asked only where a limit on the score or a score that is no finite number may cut.
    """
    *outer, inner = valid

    def own(values: dict) -> dict[str, Scalar]:
        """What may differ between the candidates of a block."""
        design = make_design(values, task.spend)
        raw = task.law.raw(design)
        holds = checks(design, raw, task.limits)
        own = {name: h for name, h in holds.items() if not layout.tokens_inner or name in DEPENDS_ON_TOKENS}
        return own if layout.finite else {**own, "finite_score": jnp.isfinite(raw)}

    own = jax.jit(own)  # traced once for all lanes

    def lanes_of(values: dict) -> dict[str, Scalar]:
        results = [own(lane(values, layout, i)) for i in range(layout.lanes)]
        real = [values[inner][i] for i in range(layout.lanes)]
        if len(results[0]) > 1:
            results = [{**r, "feasible": reduce(jnp.logical_and, r.values())} for r in results]
        masks = {name: [r[name] & here for r, here in zip(results, real, strict=True)] for name in results[0]}
        return {name: tree(jnp.add, [jnp.where(m, 1, 0).astype(jnp.int32) for m in ms]) for name, ms in masks.items()}

    def row(values: dict) -> dict[str, Scalar]:
        design = make_design(lane(values, layout, 0), task.spend)
        shared = checks(design, jnp.asarray(0.0), task.limits)
        total = {name: values[f"own {name}"] for name in blocks}
        shared = {name: h for name, h in shared.items() if name not in total}
        feasible = total.get("feasible", next(iter(total.values()), values["size"]))  # own checks: several, one or none
        total |= {name: jnp.where(h, values["size"], 0) for name, h in shared.items()}
        total["feasible"] = jnp.where(reduce(jnp.logical_and, shared.values(), jnp.asarray(True)), feasible, 0)
        real = reduce(jnp.logical_and, [values[name] for name in outer], jnp.asarray(True))
        return {name: jnp.where(real, n, 0) for name, n in total.items()}

    dims = {**layout.dims, **{name: (position,) for position, name in enumerate(valid)}}
    blocks = lax.optimization_barrier(nest(lanes_of, layout, dims, with_lanes={inner})({**fields, **valid}))
    # without the barrier CPU code was 2 to 40 times slower: each sum would start from the fields again
    counts = {f"own {name}": jnp.sum(n, axis=-1, keepdims=True, dtype=jnp.int32) for name, n in blocks.items()}
    size = jnp.sum(valid[inner], dtype=jnp.int32, keepdims=True)[0]
    dims |= {"size": (layout.depth - 1,), **dict.fromkeys(counts, tuple(range(layout.depth)))}
    values = {**first_of_rows(layout, fields), **{name: valid[name] for name in outer}, **counts, "size": size}
    totals = nest(row, layout, {name: dims[name] for name in values})(values)
    return {name: jnp.sum(n, dtype=jnp.int32) for name, n in totals.items()}
