"""The brute force that a sweep must equal: every candidate of a Space in float64, then plain sorting.

The order of merit is: higher score, fewer training FLOPs, fewer parameters, lower id.
"""

from dataclasses import dataclass
from functools import cached_property, partial

import jax
import numpy as np

from perflaw_jax.accounting import quantity
from perflaw_jax.design import FIELDS, QUANTITIES, Design
from perflaw_jax.objective import evaluate, make_design
from perflaw_jax.programs import RUN_ONCE

CHUNK = 4096  # one shape for all problems, hence one trace per law


@partial(jax.jit, compiler_options=RUN_ONCE)
def _evaluate(fields, law, spend):
    return jax.vmap(lambda values: evaluate(make_design(values, spend), law, {}))(fields)


@partial(jax.jit, compiler_options=RUN_ONCE)
def _quantities(fields, spend):
    """Apart from the score, so that all laws share the program."""

    def one(values):
        design = make_design(values, spend)
        return {name: 1.0 * quantity(name, design) for name in QUANTITIES}

    return jax.vmap(one)(fields)


def evaluate_all(space, law):
    """Every candidate in the order of the ids: Evaluation without limits, and every quantity by name, as numpy arrays."""
    fields = space.fields(space.digits(np.arange(space.size)))
    for name in [name for name in FIELDS if name in Design._field_defaults]:
        fields.setdefault(name, np.full(space.size, float(Design._field_defaults[name])))
    parts = []
    with jax.enable_x64(True):
        for first in range(0, space.size, CHUNK):
            rows = np.minimum(np.arange(first, first + CHUNK), space.size - 1)
            some = {name: column[rows] for name, column in fields.items()}
            parts.append((_evaluate(some, law, space.spend), _quantities(some, space.spend)))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[: space.size], *parts)


def within(bound, value, tolerance=0.0):
    """Whether a limit holds for each value; ``tolerance`` is relative to 1 + |limit|."""
    holds = np.ones(len(value), bool)
    if bound.min is not None:
        holds &= value >= bound.min - tolerance * (1 + abs(bound.min))
    if bound.max is not None:
        holds &= value <= bound.max + tolerance * (1 + abs(bound.max))
    if bound.multiple_of is not None:
        holds &= np.fmod(value, bound.multiple_of) == 0
    return holds


@dataclass
class Brute:
    """All that a sweep of the problem may report."""

    problem: object

    def __post_init__(self):
        space, limits = self.problem.space, self.problem.limits
        self.evaluation, self.quantities = evaluate_all(space, self.problem.law)
        q = self.quantities
        routed = (q["num_experts"] == 0) | ((q["num_experts_per_tok"] >= 1) & (q["num_experts_per_tok"] <= q["num_experts"]))
        holds = {"possible_shape": routed & (q["first_k_dense_replace"] <= q["num_hidden_layers"])}
        for name, bound in limits.items():
            # logarithms agree to about 1e-15 between programs, so a limit on the score holds to within 1e-12
            holds[name] = within(bound, self.evaluation.raw, 1e-12) if name == "score" else within(bound, q[name])
        self.feasible = np.isfinite(self.evaluation.raw) & np.logical_and.reduce(list(holds.values()))
        self.cut = {name: int(np.sum(~h)) for name, h in holds.items()}
        if not_finite := int(np.sum(~np.isfinite(self.evaluation.raw))):
            self.cut["finite_score"] = not_finite
        self.costs = np.stack([q[name] for name in self.problem.costs] or [np.zeros(space.size)], axis=1)

    @cached_property
    def ranked(self):
        """Ids of the feasible candidates in the order of merit."""
        e, ids = self.evaluation, np.flatnonzero(self.feasible)
        return ids[np.lexsort((ids, e.total_params[ids], e.training_flops[ids], -e.score[ids]))]

    def top(self, k):
        """The k best."""
        return self.ranked[:k]

    def frontier(self):
        """Ids on the Pareto frontier, ascending: one of each set of equals, the first in the order of merit."""
        score = self.evaluation.score
        rest = self.ranked[np.lexsort((*self.costs[self.ranked].T[::-1], -score[self.ranked]))]  # stable: merit decides equals
        front = []
        while len(rest):  # nothing left scores better than the first, so it beats whatever is no cheaper
            front.append(rest[0])
            rest = rest[~(self.costs[rest] >= self.costs[rest[0]]).all(axis=1)]
        return np.sort(np.array(front, np.int64))

    def marginals(self):
        """Per axis, the id of the best candidate at each value, -1 where none is feasible."""
        best = []
        for axis, digit in enumerate(self.problem.space.digits(self.ranked)):
            best.append(np.full(self.problem.space.shape[axis], -1))
            for value in range(self.problem.space.shape[axis]):
                here = self.ranked[digit == value]
                if len(here):
                    best[axis][value] = here[0]
        return best
