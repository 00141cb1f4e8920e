"""Upper bounds by rise and fall hold wherever the plain ones do, and are sharper where a function is monotone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_bounds import BINARY, BOXES, FIELDS, UNARY, boxes, built, design_boxes, few, functions

from perflaw_jax.bounds import bound, highest, interval
from perflaw_jax.laws import LAWS
from perflaw_jax.objective import make_design
from perflaw_jax.programs import RUN_ONCE


def named(function, count):
    """A function of a vector as one of named numbers."""
    names = [f"x{i}" for i in range(count)]
    return names, lambda x: function(jnp.stack([x[name] for name in names]))


def assert_highest(functions, lower, upper, points):
    """No value of a function of the rows of points [boxes, points, n] surpasses its sharpened bound over its box [boxes, n]."""

    def of_box(low, high):
        found = []
        for function in functions:
            names, of_names = named(function, len(low))
            inputs = {name: interval(low[i], high[i]) for i, name in enumerate(names)}
            found.append((highest(of_names)(inputs), bound(of_names)(inputs)))
        return found

    with jax.enable_x64(lower.dtype == np.float64):
        of_points = jax.vmap(jax.vmap(lambda x: [function(x) for function in functions]))
        values = jax.jit(of_points, compiler_options=RUN_ONCE)(points)
        found = jax.tree.map(np.asarray, jax.jit(jax.vmap(of_box), compiler_options=RUN_ONCE)(lower, upper))
    for i, (value, (sharp, plain)) in enumerate(zip(map(np.asarray, values), found, strict=True)):
        above = value > sharp.upper[:, None]
        limit = np.broadcast_to(sharp.upper[:, None], value.shape)
        assert not above.any(), (i, points[above][0], value[above][0], limit[above][0])
        assert (sharp.upper <= plain.upper).all()
        for name in ("lower", "nan"):  # apart, so that a failure shows the numbers
            np.testing.assert_array_equal(getattr(sharp, name), getattr(plain, name), name)
    return found


@few
@given(steps=functions(), seed=st.integers(0, 2**32), dtype=st.sampled_from([np.float32, np.float64]))
def test_random_functions(steps, seed, dtype):
    function = built(steps)
    assert_highest([lambda x: jnp.astype(function(x), x.dtype)], *boxes(seed, 3, dtype))


@pytest.mark.parametrize("names", [list({**UNARY, **BINARY})[i::8] for i in range(8)], ids=lambda names: names[0])
def test_every_function_with_a_slope_against_it(names):
    """Where a slope is wrong, something added that falls or rises slowly makes the function take the wrong side."""

    def tilted(name):
        function, count = ({**UNARY, **BINARY}[name], 1 if name in UNARY else 2)
        return lambda x: jnp.astype(function(*x[:count]), x.dtype) + x[2] * x[0]

    lower, upper, points = (
        np.concatenate(part) for part in zip(boxes(7, 3, np.float64), boxes(8, 3, np.float64, 0.5, 3.0), strict=True)
    )
    tilt = np.where(np.arange(len(lower)) % 2, 0.3, -0.3)
    lower[:, 2], upper[:, 2], points[..., 2] = tilt, tilt, tilt[:, None]
    assert_highest([tilted(name) for name in names], lower, upper, points)


def test_laws():
    names = ("performance-dense", "performance-moe")

    def raw(name):
        return lambda x: 1.0 * LAWS[name].law.raw(make_design(dict(zip(FIELDS, x, strict=True))))

    for sharp, plain in assert_highest([raw(name) for name in names], *design_boxes(4)):
        assert (sharp.upper < plain.upper - 0.01).sum() > BOXES / 5


@pytest.mark.parametrize(
    "function",
    [
        lambda x: jnp.astype(jnp.astype(x, jnp.float32), x.dtype) - 0.9999999 * x,
        lambda x: (1e9 * x + 0.1) - 1e9 * x + 1e-9 * x,
        lambda x: (jnp.exp(30 * x) + x) - jnp.exp(30 * x) - 1.1 * x,
    ],
)
def test_rounding_may_rise_where_the_function_falls(function):
    random = np.random.default_rng(0)
    lower = random.uniform(0.5, 1, (BOXES, 1))
    upper = lower + random.choice([1e-9, 1e-7, 1e-3], (BOXES, 1))
    points = random.uniform(lower[:, None], upper[:, None], (BOXES, 400, 1))
    assert_highest([lambda x: function(x[0])], lower, upper, points)


@pytest.mark.parametrize(
    ("function", "ends", "expected"),
    [
        (lambda x: x - x**2 / 4, (0.5, 1.5), 1.5 - 1.5**2 / 4),  # rises to 2
        (lambda x: jnp.log(x) - x, (2.0, 5.0), np.log(2) - 2),  # falls from 1
        (lambda x: jnp.minimum(x, 10) - x / 2, (2.0, 5.0), 2.5),
        (lambda x: jnp.maximum(x, 1) - x / 2, (2.0, 5.0), 2.5),
        (lambda x: jnp.where(x > 1, x, -x) - x / 2, (2.0, 5.0), 2.5),
        (lambda x: jnp.where(x > 3, -9.0, x) - x / 2, (2.0, 5.0), 4.0),  # jumps: what intervals say
        (lambda x: jnp.floor(x) - x / 2, (2.0, 5.0), 4.0),
        (lambda x: jnp.clip(x, 0, 9) - x / 2, (2.0, 5.0), 2.5),
        (lambda x: jnp.tanh(x) + jax.nn.sigmoid(x) - 0.01 * x, (0.5, 1.5), np.tanh(1.5) + 1 / (1 + np.exp(-1.5)) - 0.015),
        (lambda x: jnp.sum(jnp.asarray([2.0, 1.0]) * x) - x, (1.0, 2.0), 4.0),
        (lambda x: jnp.max(jnp.stack([x, 2 * x])) - x / 2, (1.0, 2.0), 3.0),
        (lambda x: jnp.asarray([2.0, 3.0]) @ jnp.stack([x, -x]), (1.0, 2.0), -1.0),
        (lambda x: x**2.5 - x, (1.0, 2.0), 2**2.5 - 2),
        (lambda x: 5.0 + 0 * x, (1.0, 2.0), 5.0),
    ],
)
def test_tightness(function, ends, expected):
    with jax.enable_x64(True):
        found = highest(lambda inputs: function(inputs["x"]))({"x": interval(*map(np.float64, ends))})
    np.testing.assert_allclose(found.upper, expected, rtol=1e-10)


@pytest.mark.parametrize("parts", [lambda x: tuple(x), lambda x: jnp.split(x, 2)], ids=["one by one", "in two"])
def test_what_is_cut_apart_keeps_its_slopes(parts):
    def function(inputs):
        first, second = parts(jnp.stack([inputs["a"], inputs["b"]]))
        return jnp.sum(jnp.log(first) - first / 10 - second)

    with jax.enable_x64(True):
        inputs = {name: interval(np.float64(2), np.float64(5)) for name in "ab"}
        assert highest(function)(inputs).upper == pytest.approx(np.log(5) - 0.5 - 2)
