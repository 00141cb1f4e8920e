"""Limits on what is in proportion to the tokens, as one range of tokens."""

import jax
import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from perflaw_jax.accounting import PER_TOKEN, quantity
from perflaw_jax.design import Design
from perflaw_jax.objective import Bound, checks, token_range

SHAPE = Design(32, 4096, 14336, 32, 1e12)
SLACK = 1e-12  # relative, where rounding decides
QUANTITY = {name: float(quantity(name, SHAPE)) for name in sorted(PER_TOKEN)}
ends = st.sampled_from([None, 0.0, 0.3, 0.9, 1.1, 3.0])


@given(st.dictionaries(st.sampled_from(sorted(PER_TOKEN)), st.tuples(ends, ends)), st.floats(0.1, 10))
def test_the_range_of_tokens_says_what_the_limits_say(drawn, times):
    limits = {name: Bound(*(None if end is None else end * QUANTITY[name] for end in both)) for name, both in drawn.items()}
    at = [end for both in drawn.values() for end in both if end is not None]
    assume(all(abs(times - end) > SLACK * end for end in at))
    with jax.enable_x64(True):
        design = SHAPE._replace(training_tokens=times * SHAPE.training_tokens)
        holds = checks(design, np.float64(0.0), limits)
        within = token_range(design, limits).holds(design.training_tokens)
        assert bool(within) == all(bool(holds[name]) for name in limits)


def test_where_a_token_costs_nothing_any_number_is_within():
    nothing = Design(1, 1, 0, 0, 1e12, 0, 0, 0)
    assert float(quantity("training_flops", nothing)) == 0
    for bound in (Bound(max=1.0), Bound(max=0.0), Bound(min=0.0), Bound(min=1.0)):
        assert bool(token_range(nothing, {"training_flops": bound}).holds(1e12))
