"""The device programs of a sweep: find (float32, every candidate), refine (float32, survivors), decide (float64, what is left).

Where every feasible candidate is a row, survey takes the place of find and ``census``: float64, every candidate.

All are functions of one design. Over whole tiles they go under nested vmaps, one per axis, so that what depends on three axes
is computed once per triple. Shapes are fixed by the Tiling: a program is traced once per sweep, whatever the number of tiles.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from perflaw_jax.accounting import DEPENDS_ON_TOKENS, PER_TOKEN, quantity
from perflaw_jax.design import Scalar
from perflaw_jax.laws import Law
from perflaw_jax.laws.pytree import kinds
from perflaw_jax.nest import Layout, first_of_rows, lane, nest, over_blocks, tree
from perflaw_jax.objective import Limits, checks, evaluate, make_design, token_range
from perflaw_jax.prices import Prices, by_row
from perflaw_jax.reduce import Screen, excess, reach


@jax.tree_util.register_pytree_node_class
@dataclass(frozen=True)
class Task:
    """What every candidate is held against: the arguments of ``evaluate`` beside the design."""

    law: Law
    limits: Limits
    spend: Scalar | None  # FLOPs that buy the tokens, or None where tokens are a field

    def tree_flatten(self) -> tuple[tuple, tuple]:
        """As a pytree whose structure tells the classes of the law, so that no other law's program is taken."""
        return (self.law, self.limits, self.spend), kinds(self.law)

    @classmethod
    def tree_unflatten(cls, _: tuple, children: tuple) -> "Task":
        """The inverse."""
        return cls(*children)


class Promise(NamedTuple):
    """What a block may hold, in float32."""

    excess: Scalar  # by how much the best of it passes what some reducer asks; -inf where nothing in it can matter
    best: Scalar  # highest raw score within the loosened limits
    costs: tuple[Scalar, ...]  # least costs


class Decided(NamedTuple):
    """Exact results per candidate, in [blocks, lanes]."""

    feasible: Scalar
    score: Scalar
    low: Scalar  # least raw score that could reach this score
    high: Scalar  # a raw score that this score is still at least as good as
    raw: Scalar
    training_tokens: Scalar
    training_flops: Scalar
    total_params: Scalar
    active_params: Scalar
    costs: tuple[Scalar, ...]


class Surveyed(NamedTuple):
    """Everything a stream of rows needs of a tile, in the tile's shape or with a 1 for the inner axis where it changes nothing.

    Scores and FLOPs are float64 results rounded to the float32 that rows hold.
    """

    best: Scalar  # float32 raw score where any reducer may want the candidate, else -inf
    costs: tuple[Scalar, ...]  # float32
    feasible: Scalar
    score: Scalar  # float32
    training_flops: Scalar  # float32
    training_tokens: Scalar | None  # where the budget buys them
    total_params: Scalar
    active_params: Scalar
    holds: dict[str, Scalar]  # check -> how many candidates it holds for
    inputs: tuple[Scalar, ...]  # further quantities that rows need


def find(layout: Layout, fields: dict, task: Task, screen: Screen, axis_floors: dict, prices: Prices | None = None) -> Scalar:
    """Float32 over a whole tile: which blocks any reducer may want, by their best raw scores; booleans in the tile's shape.

    Lanes are written out one after the other: an elementwise program, 3 to 5 times faster on CPU than a reduction. ``prices``
    are given where the layout has ``rates``.
    """
    rated = {n: b for n, b in task.limits.items() if layout.tokens_inner and n in PER_TOKEN and b.multiple_of is None}
    rest = {n: b for n, b in task.limits.items() if n not in rated}

    @jax.jit  # traced once for all lanes
    def one(values: dict) -> tuple[Scalar, Scalar, Scalar]:
        design = make_design(values, task.spend)
        raw = task.law.raw(design)
        holds = checks(design, raw, rest)
        shared = [h for name, h in holds.items() if layout.tokens_inner and name not in DEPENDS_ON_TOKENS]
        own = [h for name, h in holds.items() if not layout.tokens_inner or name in DEPENDS_ON_TOKENS]
        own.append(token_range(design, rated).holds(design.training_tokens))
        return raw, reduce(jnp.logical_and, own), reduce(jnp.logical_and, shared, jnp.asarray(True))

    def piece(lanes: list[dict], floors: list[Scalar], price: Scalar | None) -> Scalar:
        results = [one(v) for v in lanes]
        best, poison = jnp.float32(-jnp.inf), jnp.float32(0)
        for raw, own, _ in results:
            reached = jnp.where(own, raw, -jnp.inf)
            best = jnp.where(reached > best, reached, best)  # compiles to one instruction, other ways to put it do not
            poison += 0 * raw  # NaN as soon as a score is not finite, which float64 may see otherwise: then let it decide
        if not layout.finite:
            best = jnp.where(jnp.isnan(poison), jnp.inf, best)
        best = jnp.where(results[0][-1], best, -jnp.inf)
        if price is not None:
            return reach(screen, best) >= reduce(jnp.minimum, floors, price)
        return excess(jnp, screen, best, _least_costs(layout, lanes, task.spend), floors) >= 0

    asked = {} if prices is None else {f"price{i}": p for i, p in enumerate(by_row(layout, fields, task.spend, prices))}

    def block(values: dict) -> Scalar:
        lanes, size = [lane(values, layout, i) for i in range(layout.lanes)], layout.lanes // layout.pieces
        floors = [values[name] for name in axis_floors]
        pieces = [piece(lanes[i * size : (i + 1) * size], floors, values.get(f"price{i}")) for i in range(layout.pieces)]
        return reduce(jnp.logical_or, pieces)

    everywhere = tuple(range(layout.depth))
    dims = {**layout.dims, **{name: (i,) for i, name in enumerate(axis_floors)}, **dict.fromkeys(asked, everywhere)}
    return nest(block, layout, dims)({**fields, **axis_floors, **asked})


def _least_costs(layout: Layout, lanes: list[dict], spend: Scalar | None) -> tuple[Scalar, ...]:
    cheapest = lanes[:1] if layout.tokens_inner else lanes
    designs = [make_design(values, spend) for values in cheapest]
    return tuple(tree(jnp.minimum, [jnp.asarray(quantity(c, d), "float32") for d in designs]) for c in layout.costs)


def refine(
    layout: Layout, tables: dict, blocks: Sequence[Scalar], task: Task, screen: Screen, floors: Sequence[Scalar]
) -> Promise:
    """Float32 over blocks picked anywhere, candidate by candidate: [blocks].

    Sharper than ``find``, which holds the best score of a block against the least cost and the lowest floor in it. The blocks
    are coordinates per axis of the nest; tables and floors are those of the whole grid, looked up here (see
    ``Tiling.by_block`` and ``Asked``). Lanes are written out as in ``find``.
    """
    fields = {name: table[tuple(blocks[d] for d in layout.dims[name])] for name, table in tables.items()}
    if floors:
        *outer, inner = (floor[place] for floor, place in zip(floors, blocks, strict=True))
        fields["floor"] = reduce(jnp.minimum, [floor[:, None] for floor in outer], inner)

    @jax.jit  # traced once for all lanes
    def one(values: dict) -> Promise:
        design = make_design({name: values[name] for name in layout.dims}, task.spend)
        raw = task.law.raw(design)
        holds = reduce(jnp.logical_and, checks(design, raw, task.limits).values())
        reached = jnp.where(jnp.isfinite(raw), jnp.where(holds, raw, -jnp.inf), jnp.inf)  # not finite: let float64 decide
        costs = tuple(jnp.asarray(quantity(c, design), raw.dtype) for c in layout.costs)
        by = excess(jnp, screen, reached, costs, [values["floor"]] if floors else [])
        return Promise(jnp.where(jnp.isnan(by), -jnp.inf, by), reached, costs)

    def better(a: Promise, b: Promise) -> Promise:
        costs = tuple(map(jnp.minimum, a.costs, b.costs))
        return Promise(jnp.maximum(a.excess, b.excess), jnp.maximum(a.best, b.best), costs)

    def block(values: dict) -> Promise:
        return tree(better, [one({n: v[i] if jnp.ndim(v) else v for n, v in values.items()}) for i in range(layout.lanes)])

    return jax.vmap(block, in_axes=({name: 0 if jnp.ndim(v) else None for name, v in fields.items()},))(fields)


def decide(layout: Layout, fields: dict, task: Task, margin: Scalar) -> Decided:
    """Float64 over blocks picked anywhere: fields are [blocks], or [blocks, lanes] where the innermost axis sets them."""

    def one(values: dict) -> Decided:
        design = make_design(values, task.spend)
        e = evaluate(design, task.law, task.limits)
        slack = margin * (1 + abs(e.raw))
        strictly_rising = task.law.clamp(e.raw - slack) < e.score
        fixed_point = task.law.clamp(e.score) == e.score
        return Decided(
            feasible=e.feasible,
            score=e.score,
            low=jnp.where(strictly_rising, e.raw - slack, -jnp.inf),
            high=jnp.where(fixed_point, jnp.maximum(e.raw, e.score), e.raw),
            raw=e.raw,
            training_tokens=jnp.asarray(design.training_tokens, e.raw.dtype),
            training_flops=e.training_flops,
            total_params=e.total_params,
            active_params=quantity("active_params", design),
            costs=tuple(jnp.asarray(quantity(c, design), e.raw.dtype) for c in layout.costs),
        )

    return over_blocks(one, fields)(fields)


def survey(layout: Layout, fields: dict, valid: dict, task: Task, screen: Screen, axis_floors: dict) -> Surveyed:
    """Float64 over a whole tile of single lanes: every candidate's results, and which of them any reducer may want."""
    single = jnp.float32
    *outer, inner = valid

    def one(values: dict) -> tuple:
        real = reduce(jnp.logical_and, [values[name] for name in outer], values[inner][0])
        design = make_design(lane(values, layout, 0), task.spend)
        raw = task.law.raw(design)
        holds = checks(design, raw, task.limits)
        holds["finite_score"] = jnp.isfinite(raw)
        holds["feasible"] = reduce(jnp.logical_and, holds.values())
        feasible = holds["feasible"] & real
        best = jnp.where(feasible, raw, -jnp.inf).astype(single)
        costs = tuple(jnp.asarray(quantity(c, design), single) for c in layout.costs)
        wanted = excess(jnp, screen, best, costs, [values[name] for name in axis_floors]) >= 0
        return (
            {name: jnp.where(h & real, 1, 0).astype(jnp.int32) for name, h in holds.items()},
            jnp.where(wanted, best, single(-jnp.inf)),
            costs,
            feasible,
            task.law.clamp(raw).astype(single),
            quantity("training_flops", design).astype(single),
            None if task.spend is None else design.training_tokens,
        )

    def counted(name: str) -> Scalar:
        def one(values: dict) -> Scalar:
            return 1.0 * jnp.asarray(quantity(name, make_design(lane(values, layout, 0), task.spend)))

        same = layout.tokens_inner and name not in DEPENDS_ON_TOKENS
        return nest(one, layout, layout.dims)(first_of_rows(layout, fields) if same else fields)

    dims = {**layout.dims, **{name: (position,) for names in (axis_floors, valid) for position, name in enumerate(names)}}
    counts, *results = nest(one, layout, dims, with_lanes={inner})({**fields, **axis_floors, **valid})
    best, costs, feasible, score, flops, tokens = results
    totals = {name: jnp.sum(n, dtype=jnp.int32) for name, n in lax.optimization_barrier(counts).items()}
    total, active, *inputs = map(counted, ("total_params", "active_params", *layout.inputs))
    return Surveyed(best, costs, feasible, score, flops, tokens, total, active, totals, tuple(inputs))
