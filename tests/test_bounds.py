"""Bounds hold: whatever a function gives for points inside a box lies within what ``bound`` says of the box."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from jax import lax
from problems import forms

from perflaw_jax.bounds import Interval, UnboundedPrimitive, bound, interval
from perflaw_jax.design import Design
from perflaw_jax.laws import LAWS
from perflaw_jax.laws.order_statistic import nth_lowest
from perflaw_jax.objective import Bound, evaluate, make_design
from perflaw_jax.programs import RUN_ONCE

BOXES, POINTS = 32, 48
few = settings(max_examples=15, phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck))


def boxes(seed: int, count: int, dtype, low=-6.0, high=6.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lower and upper ends [BOXES, count], and points inside [BOXES, POINTS, count]: corners, ends of axes and the interior."""
    random = np.random.default_rng(seed)
    middle = np.round(random.uniform(low, high, (BOXES, count)), random.integers(0, 3))
    width = random.choice([0.0, 1e-6, 0.1, 1.0, 5.0], (BOXES, count))
    lower, upper = (np.clip(middle + side * width, low, high).astype(dtype) for side in (-1, 1))
    share = random.choice([0.0, 1.0, 0.5, 0.3], (BOXES, POINTS, count)) * random.choice([1.0, 1.0, 0.7], (BOXES, POINTS, count))
    points = lower[:, None] + share * (upper - lower)[:, None]
    return lower, upper, np.clip(points.astype(dtype), lower[:, None], upper[:, None])


def assert_bounds(function, lower, upper, points):
    """Every value of ``function`` of the rows of points [boxes, points, n] lies within its bounds over the boxes [boxes, n]."""
    with jax.enable_x64(lower.dtype == np.float64):
        values = np.asarray(jax.jit(jax.vmap(jax.vmap(function)))(points))
        found = jax.jit(jax.vmap(lambda low, high: bound(function)(interval(low, high))))(lower, upper)
        found = Interval(*(np.asarray(leaf)[:, None] for leaf in (found.lower, found.upper, found.nan, found.same)))
    undefined = np.isnan(values) if values.dtype.kind == "f" else np.zeros(values.shape, bool)
    assert not np.any(undefined & ~found.nan), "NaN that was ruled out"
    within = (found.lower <= values) & (values <= found.upper) if values.dtype != bool else within_flags(found, values)
    outside = ~(undefined | within)
    assert not outside.any(), (
        points[outside][0],
        values[outside][0],
        [np.broadcast_to(leaf, values.shape)[outside][0] for leaf in (found.lower, found.upper)],
    )
    alike = np.isclose(values, values[:, :1], rtol=100 * np.finfo(lower.dtype).eps, atol=0, equal_nan=True)
    assert np.all(alike | ~found.same), "not the same everywhere"
    return found


def within_flags(found, values):
    return (values | ~found.lower) & (~values | found.upper)


# --- random functions --------------------------------------------------------------------------------------------------


@jax.custom_vjp
def with_own_gradient(x):
    return jnp.tanh(x) * 2


with_own_gradient.defvjp(lambda x: (with_own_gradient(x), x), lambda x, gradient: (gradient * x,))

UNARY = {
    "neg": lambda x: -x,
    "abs": abs,
    "sign": jnp.sign,
    "square": jnp.square,
    "cube": lambda x: x**3,
    "inverse square": lambda x: x**-2,
    "sqrt": jnp.sqrt,
    "rsqrt": lax.rsqrt,
    "cbrt": jnp.cbrt,
    "exp": jnp.exp,
    "exp2": jnp.exp2,
    "expm1": jnp.expm1,
    "log": jnp.log,
    "log2": jnp.log2,
    "log1p": jnp.log1p,
    "tanh": jnp.tanh,
    "logistic": jax.nn.sigmoid,
    "softplus": jax.nn.softplus,
    "relu": jax.nn.relu,
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
    "erf": lax.erf,
    "erfc": lax.erfc,
    "erf_inv": lax.erf_inv,
    "sin": jnp.sin,
    "cos": jnp.cos,
    "asin": jnp.arcsin,
    "acos": jnp.arccos,
    "atan": jnp.arctan,
    "sinh": jnp.sinh,
    "cosh": jnp.cosh,
    "asinh": jnp.arcsinh,
    "acosh": jnp.arccosh,
    "atanh": jnp.arctanh,
    "floor": jnp.floor,
    "ceil": jnp.ceil,
    "round": jnp.round,
    "clip": lambda x: jnp.clip(x, -1, 2),
    "in single precision": lambda x: jnp.astype(
        jnp.sin(s := jnp.astype(x, jnp.float32)) + jnp.tanh(s) * 3 - jnp.log1p(abs(s)), x.dtype
    ),
    "scaled": lambda x: 1e-3 * x - 7,
    "fifth": lambda x: x / 5,
    "real power": lambda x: x**1.7,
    "not a number, or itself": lambda x: jnp.where(jnp.isnan(x), 5, x),
    "repaired": lambda x: jnp.nan_to_num(x, nan=1.0, posinf=9.0, neginf=-9.0),
    "self-compared": lambda x: jnp.where(x != x, 5, jnp.where(x == x, x, 4)),
    "ruled out": lambda x: jnp.where(x > 1, x, jnp.nan),
    "whole": lambda x: jnp.astype(jnp.astype(jnp.clip(x, -1e6, 1e6), jnp.int32) * 3 - 7, x.dtype),
    "finite": lambda x: jnp.where(jnp.isfinite(x), x, 0),
    "switched": lambda x: lax.switch(jnp.astype(jnp.clip(x, -9, 9), jnp.int32), [jnp.sin, jnp.square, abs], x),
    "branch": lambda x: lax.cond(x > 0.5, lambda x: 2 * x, lambda x: 1 - x, x),
    "loop": lambda x: lax.fori_loop(0, 3, lambda i, y: 0.5 * y * x + jnp.astype(i, x.dtype), x),
    "scan": lambda x: lax.scan(lambda c, r: ((r * c[0], c[1] - x), c[0]), (x, x), jnp.arange(3.0, dtype=x.dtype))[1][2],
    "backwards": lambda x: lax.scan(lambda c, r: (c * r - x, c), x, jnp.stack([x, 2 * x]), reverse=True)[1][0],
    "remat": jax.checkpoint(lambda x: jnp.sin(x) * x),
    "jitted": jax.jit(lambda x: x * x - x),
    "custom gradient": with_own_gradient,
    "polynomial": lambda x: jnp.polyval(jnp.asarray([0.5, -1.0, 2.0], x.dtype), x),
    "several": lambda x: jnp.sum(jax.vmap(lambda c: jnp.tanh(c * x))(jnp.asarray([0.5, -1.0, 2.0], x.dtype))),
    "pieces": lambda x: jnp.select([x < -1, x < 1], [-x, x * x], 1 / x),
}
BINARY = {
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "div": lambda x, y: x / y,
    "rem": jnp.fmod,
    "mod": lambda x, y: x % y,
    "floor divide": lambda x, y: x // y,
    "max": jnp.maximum,
    "min": jnp.minimum,
    "pow": lambda x, y: x**y,
    "log-add-exp": jnp.logaddexp,
    "hypot": jnp.hypot,
    "where <": lambda x, y: jnp.where(x < y, x, y * y),
    "where and": lambda x, y: jnp.where((x >= 0) & ~(y > x), x, y),
    "where or": lambda x, y: jnp.where((x <= 0) | (y == 0) ^ (x > y), x + 1, y),
    "where !=": lambda x, y: jnp.where(x != y, x, 0),
    "sum": lambda x, y: jnp.sum(jnp.stack([x, y, x * y])),
    "product": lambda x, y: jnp.prod(jnp.stack([x, y, x - y])),
    "mean": lambda x, y: jnp.mean(jnp.stack([x, y, x * y]) ** 2),
    "largest": lambda x, y: jnp.max(jnp.concatenate([x[None], y[None]])) - jnp.min(jnp.stack([y, x])),
    "running": lambda x, y: jnp.cumsum(jnp.stack([x, y]))[1] - lax.cummax(jnp.stack([y, x]))[1],
    "running product": lambda x, y: jnp.cumprod(jnp.stack([x, y]))[1],
    "second largest": lambda x, y: jax.lax.top_k(jnp.stack([x, y, x + y, x - y]), 2)[0][1],
    "second lowest": lambda x, y: nth_lowest(jnp.stack([x, y, x + y, x - y]), 1),
    "sorted": lambda x, y: jnp.sort(jnp.stack([x, y, x + y]))[1],
    "any": lambda x, y: jnp.where(jnp.any(jnp.stack([x, y]) > 1) & jnp.all(jnp.stack([x, y]) > -3), x, y),
    "table": lambda x, y: jnp.asarray([1.0, -2.0, 4.0], x.dtype)[jnp.astype(jnp.clip(x, 0, 2), jnp.int32)] * y,
    "interpolated": lambda x, y: (
        jnp.interp(x, jnp.asarray([-1.0, 0.0, 2.0], x.dtype), jnp.asarray([0.0, 3.0, 1.0], x.dtype)) + y
    ),
    "dot": lambda x, y: jnp.stack([x, y]) @ jnp.stack([y + 1, x * y]),
}


@st.composite
def functions(draw, inputs=3, most=7):
    """A random function of a vector, as a list of steps; what is not used in the end is added up."""
    steps = []
    for _ in range(draw(st.integers(1, most))):
        size = inputs + len(steps)
        recent = st.integers(max(0, size - 3), size - 1)
        if draw(st.booleans()):
            steps.append((draw(st.sampled_from(list(UNARY))), draw(recent)))
        else:
            steps.append((draw(st.sampled_from(list(BINARY))), draw(recent), draw(st.integers(0, size - 1))))
    return steps


def built(steps):
    def function(x):
        values = list(x)
        for name, *places in steps:
            values.append({**UNARY, **BINARY}[name](*(values[place] for place in places)))
        return values[-1]

    return function


@few
@given(steps=functions(), seed=st.integers(0, 2**32), dtype=st.sampled_from([np.float32, np.float64]))
def test_random_functions(steps, seed, dtype):
    assert_bounds(built(steps), *boxes(seed, 3, dtype))


GROUPS = [list({**UNARY, **BINARY})[i::8] for i in range(8)]  # compiled together, which is quicker


@pytest.mark.parametrize("names", GROUPS, ids=["+".join(group[:2]) for group in GROUPS])
def test_every_function_alone(names):
    """Of ordinary numbers, large ones and tiny ones."""
    dtype = (np.float32, np.float64)[GROUPS.index(names) % 2]

    def function(x):
        results = [UNARY[name](x[0]) if name in UNARY else BINARY[name](x[0], x[1]) for name in names]
        return jnp.stack([jnp.astype(result, x.dtype) for result in results])

    of_points = jax.jit(jax.vmap(jax.vmap(function)))
    of_boxes = jax.jit(jax.vmap(lambda low, high: bound(function)(interval(low, high))))
    for low, high in ((-6.0, 6.0), (-300.0, 300.0), (0.0, 1e-3), (1e9, 1e15)):
        lower, upper, points = boxes(7, 2, dtype, low, high)
        with jax.enable_x64(dtype == np.float64):
            values, found = np.asarray(of_points(points)), of_boxes(lower, upper)
        inside = (np.asarray(found.lower)[:, None] <= values) & (values <= np.asarray(found.upper)[:, None])
        inside |= np.isnan(values) & np.asarray(found.nan)[:, None]
        assert inside.all(), {names[i] for *_, i in np.argwhere(~inside)}


# --- laws and limits ---------------------------------------------------------------------------------------------------

FIELDS = {
    "num_hidden_layers": (2.0, 128.0),
    "hidden_size": (128.0, 16384.0),
    "intermediate_size": (256.0, 65536.0),
    "num_attention_heads": (1.0, 128.0),
    "training_tokens": (1e9, 4e13),
    "num_experts": (0.0, 64.0),
    "num_experts_per_tok": (0.0, 8.0),
    "moe_intermediate_size": (0.0, 4096.0),
    "shared_expert_intermediate_size": (0.0, 4096.0),
    "first_k_dense_replace": (0.0, 4.0),
}
LIMITS = {
    "training_flops": Bound(max=1e24),
    "exact_params": Bound(min=1e9),
    "aspect_ratio": Bound(min=20.0, max=200.0),
    "tokens_per_param": Bound(max=1e3),
    "hidden_size": Bound(multiple_of=128),
}
LEAST_SCORE = {"points": 30.0, "nats/token": 2.0, "fraction": 0.3}


def design_boxes(seed):
    """Boxes of whole-numbered designs [BOXES, fields], some of them points on some fields, and designs inside."""
    random = np.random.default_rng(seed)
    low, high = np.array(list(FIELDS.values())).T
    ends = np.sort(low + random.random((2, BOXES, len(low))) ** 2 * (high - low), axis=0)
    ends[1] = np.where(random.random(ends[1].shape) < 0.4, ends[0], ends[1])
    lower, upper = np.floor(ends)
    share = random.choice([0.0, 1.0, random.random()], (BOXES, POINTS, len(low)))
    return lower, upper, np.floor(lower[:, None] + share * (upper - lower)[:, None])


LAW_NAMES = [entry.name for entry in forms()]  # compiled together, as what a limit needs to know of a design is shared


@pytest.mark.parametrize(("names", "spend"), [(LAW_NAMES[::2], None), (LAW_NAMES[1::2], 1e22)], ids=["tokens", "bought"])
def test_laws_and_limits(names, spend):
    fields = [field for field in FIELDS if spend is None or field != "training_tokens"]
    kept = [list(FIELDS).index(field) for field in fields]
    limits = {name: LIMITS | {"score": Bound(min=LEAST_SCORE[LAWS[name].unit])} for name in names}

    def evaluated(x):
        design = make_design(dict(zip(fields, x, strict=True)), spend)
        return {name: evaluate(design, LAWS[name].law, limits[name]) for name in names}

    lower, upper, points = (part[..., kept] for part in design_boxes(3))
    with jax.enable_x64(True):
        all_values = jax.jit(jax.vmap(jax.vmap(evaluated)), compiler_options=RUN_ONCE)(points)
        bounds = jax.vmap(lambda low, high: bound(evaluated)(interval(low, high)))
        all_found = jax.jit(bounds, compiler_options=RUN_ONCE)(lower, upper)
    for name in names:
        values, found = all_values[name], all_found[name]
        for value, of_box in zip(map(np.asarray, values), found, strict=True):
            low, high, nan = (np.asarray(leaf)[:, None] for leaf in (of_box.lower, of_box.upper, of_box.nan))
            inside = (low <= value) & (value <= high) if value.dtype != bool else (value | ~low) & (~value | high)
            assert np.all(inside | np.isnan(value) & nan), name
        feasible = np.asarray(found.feasible.upper)
        assert 0 < feasible.sum() < BOXES, name  # the bounds decide some boxes


def test_a_network_of_two_layers():
    random = np.random.default_rng(0)
    weights = [random.normal(size=shape).astype(np.float32) for shape in ((8, 3), (8,), (4, 8), (4,), (4,))]

    def network(x):
        first, bias, second, more_bias, last = weights
        hidden = jax.nn.gelu(first @ x + bias)
        return last @ jnp.tanh(second @ hidden + more_bias)

    lower, upper, points = boxes(5, 3, np.float32, -1.0, 1.0)
    upper[:4], points[:4] = lower[:4], lower[:4, None]
    found = assert_bounds(network, lower, upper, points)
    assert np.max((found.upper - found.lower)[:4]) < 1e-3
    assert np.max(found.upper - found.lower) < 2 * np.abs(weights[-1]).sum() + 1e-4


# --- how good the bounds are -------------------------------------------------------------------------------------------


def of(function, *intervals):
    return jax.jit(lambda xs: bound(function)(*xs))(tuple(interval(*ends) for ends in intervals))


@pytest.mark.parametrize(
    ("function", "ends", "expected"),
    [
        (lambda x: jnp.log(x) + jnp.sqrt(x), (1.0, 4.0), (1.0, np.log(4) + 2)),
        (lambda x: x * x, (-1.0, 2.0), (0.0, 4.0)),
        (lambda x: x - x, (-1.0, 2.0), (0.0, 0.0)),
        (lambda x: x / x, (1.0, 2.0), (0.5, 2.0)),
        (lambda x: x**3, (-1.0, 2.0), (-1.0, 8.0)),
        (lambda x: 10 / x, (2.0, 5.0), (2.0, 5.0)),
        (lambda x: jnp.where(x > 3, -1.0, x), (0.0, 2.0), (0.0, 2.0)),
        (lambda x: jnp.where(x > 1, -1.0, x), (0.0, 2.0), (-1.0, 2.0)),
        (lambda x: jnp.where(x == x, x, 100.0), (0.0, 2.0), (0.0, 2.0)),
        (lambda x: jnp.where(x > 1, x, jnp.nan), (0.0, 2.0), (-np.inf, 2.0)),
        (LAWS["performance-dense"].law.clamp, (10.0, 20.0), (25.0, 25.0)),
        (LAWS["performance-dense"].law.clamp, (30.0, 80.0), (30.0, 80.0)),
        (jnp.log, (0.0, 0.0), (-np.inf, -np.inf)),
    ],
)
def test_tightness(function, ends, expected):
    found = of(function, ends)
    np.testing.assert_allclose((found.lower, found.upper), expected, rtol=1e-5, atol=1e-5)


def test_the_plateau_of_the_clamp_is_known_to_be_one():
    clamp = LAWS["performance-dense"].law.clamp
    assert of(clamp, (10.0, 20.0)).same and not of(clamp, (10.0, 26.0)).same
    assert of(lambda x, y: jnp.minimum(jnp.log(x), jnp.log(y)), (2.0, 2.0), (3.0, 5.0)).same
    assert not of(lambda x, y: jnp.minimum(jnp.log(x), jnp.log(y)), (2.0, 2.0), (1.0, 5.0)).same


def test_not_a_number():
    assert of(jnp.sqrt, (-1.0, 1.0)).nan and not of(jnp.sqrt, (0.0, 1.0)).nan
    assert of(lambda x: jnp.maximum(jnp.log(x), 0), (-1.0, 1.0)).nan
    assert of(lambda x: jnp.tanh(1 / x), (-1.0, 1.0)).nan
    assert not of(lambda x: jnp.tanh(1 / x), (1.0, 2.0)).nan
    undefined = of(lambda x: jnp.sqrt(x) < 5, (-1.0, 1.0))
    assert not undefined.lower and undefined.upper


def test_whole_numbers_that_overflow():
    found = of(lambda x: jnp.astype(x, jnp.int32) * jnp.int32(1000), (0.0, 3e6))
    assert (found.lower, found.upper) == (-(2**31), 2**31 - 1)
    found = of(lambda x: jnp.astype(x, jnp.int32) * jnp.int32(1000) // 7, (0.0, 2e6))
    assert int(found.lower) <= 0 and 2 * 10**9 // 7 <= int(found.upper) < 3 * 10**8


def test_what_does_not_vary_may_use_any_primitive():
    found = of(lambda x: x + jax.scipy.special.digamma(2.0) + jnp.linalg.det(jnp.eye(3)), (0.0, 1.0))
    np.testing.assert_allclose((found.lower, found.upper), (1.42278, 2.42278), rtol=1e-4)


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (jax.scipy.special.gammaln, "lgamma"),
        (lambda x: lax.while_loop(lambda y: y < 100, lambda y: 2 * y, x), "while"),
        (lambda x: jnp.zeros(3).at[jnp.astype(x, int)].set(1.0)[0], "scatter"),
        (lambda x: lax.fori_loop(0, 1000, lambda i, y: y * x, x), "scan"),
    ],
)
def test_a_primitive_without_a_rule_is_named(function, name):
    with pytest.raises(UnboundedPrimitive, match=f"^bounds: the primitive '{name}'.*use .perflaw sweep. or ") as caught:
        of(function, (1.0, 2.0))
    assert "\n" not in str(caught.value)


# --- pytrees, vmap -----------------------------------------------------------------------------------------------------


def test_pytrees_in_and_out_and_vmap_is_a_loop():
    def function(design, factor):
        return {"a": factor * design.hidden_size, "b": (design.num_hidden_layers, 3.0 * factor)}

    low, high = np.float32([1.0, 2.0, 3.0]), np.float32([2.0, 2.0, 5.0])

    def of_box(low, high):
        return bound(function)(Design(interval(low, high), interval(high), 1.0, 1.0, 1.0), 2.0)

    together = jax.vmap(of_box)(low, high)
    for i in range(3):
        alone = of_box(low[i], high[i])
        assert jax.tree.map(lambda leaf, i=i: leaf[i].item(), together) == jax.tree.map(lambda leaf: leaf.item(), alone)
    assert alone["b"][1].lower == alone["b"][1].upper == 6
