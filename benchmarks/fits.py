"""Bootstrap refits against a loop of SciPy, and an ensemble of laws against one law."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize

from perflaw_jax.fit import Rows, fit, refit, resampled_runs
from perflaw_jax.laws import Chinchilla, Ensemble, PerformanceDense
from perflaw_jax.objective import make_design
from perflaw_jax.recipes import RECIPES

RUNS, RESAMPLES = 240, 1000  # as many runs as the published fit of the Chinchilla form has
LOOPED = 40  # resamples that the loop does; its time is scaled up
MEMBERS, DESIGNS = 256, 10**7
CHUNK = 2**16  # designs per call
CACHED = 2**11  # of these at a time: what an ensemble believes of them stays in the cache
REPEATS = 3


def run() -> dict[str, Any]:
    """Time both pairs, interleaved; print and return the figures."""
    figures = {"bootstrap": bootstrap(), "ensemble": ensemble()}
    for name, figure in figures.items():
        print(name, {key: round(value, 4) if isinstance(value, float) else value for key, value in figure.items()})
    return figures


def simulated_runs() -> Rows:
    """Runs by the published law with heavy-tailed noise, over the range of the published runs."""
    random = np.random.default_rng(0)
    flops = np.exp(random.uniform(np.log(1e19), np.log(3e21), RUNS))
    params = np.exp(0.5 * np.log(flops / 6) + random.normal(0, 0.8, RUNS))
    tokens = flops / 6 / params
    with jax.enable_x64(True):
        loss = np.asarray(jax.vmap(Chinchilla().of)(params, tokens)) * np.exp(0.003 * random.standard_t(3, RUNS))
    return Rows({"total_params": params, "training_tokens": tokens}, loss, np.arange(RUNS))


def bootstrap() -> dict[str, Any]:
    """1,000 refits of the Chinchilla form in one vmapped program, against SciPy's BFGS from the same start."""
    rows, recipe = simulated_runs(), RECIPES["chinchilla"]
    found = fit(recipe, rows)
    draws = resampled_runs(RUNS, RESAMPLES, seed=0)
    began = time.perf_counter()
    refit(recipe, rows, found, draws)
    first = time.perf_counter() - began
    loop = scipy_loop(rows, found.law, recipe.delta)
    ours, theirs = [], []
    for _ in range(REPEATS):
        began = time.perf_counter()
        laws, good = refit(recipe, rows, found, draws)
        ours.append(time.perf_counter() - began)
        began = time.perf_counter()
        slow = np.array([loop(weights) for weights in draws[:LOOPED].astype(float)])
        theirs.append((time.perf_counter() - began) * RESAMPLES / LOOPED)
    fast = np.stack([np.asarray(leaf)[:LOOPED] for leaf in laws], axis=1)
    seconds, looped = float(np.median(ours)), float(np.median(theirs))
    return {
        "refits": RESAMPLES,
        "vmapped_seconds": seconds,
        "with_compilation_seconds": first,
        "scipy_loop_seconds": looped,
        "times_faster": looped / seconds,
        "of_use": float(good.mean()),
        "largest_difference_of_an_exponent": float(np.abs(fast[:, 3:] - slow[:, 3:]).max()),
    }


def scipy_loop(rows: Rows, start: Chinchilla, delta: float) -> Callable[[np.ndarray], np.ndarray]:
    """One refit by SciPy's BFGS, which here is the fastest of its methods that reaches the minimum: loss and gradient in NumPy.

    L-BFGS-B stops early (its exponents are off by 0.02), or takes longer.
    """
    log_n, log_d = (np.log(column) for column in rows.inputs.values())
    log_loss, first = np.log(rows.target), np.log(np.array(start, float))

    def loss(v: np.ndarray, weights: np.ndarray) -> tuple[float, np.ndarray]:
        a, b, e = v[:3]
        alpha, beta = np.exp(v[3:])
        by_size, by_tokens, rest = np.exp(a - alpha * log_n), np.exp(b - beta * log_d), np.exp(e)
        predicted = by_size + by_tokens + rest
        off = np.log(predicted) - log_loss
        size = np.minimum(np.abs(off), delta)
        slope = weights * np.sign(off) * size / predicted
        parts = (by_size, by_tokens, np.full_like(off, rest), -alpha * log_n * by_size, -beta * log_d * by_tokens)
        return float(np.sum(weights * size * (np.abs(off) - size / 2))), np.array([np.sum(slope * part) for part in parts])

    def one(weights: np.ndarray) -> np.ndarray:
        return np.exp(scipy.optimize.minimize(loss, first, (weights,), "BFGS", jac=True, options={"gtol": 1e-7}).x)

    return one


def ensemble() -> dict[str, Any]:
    """Scores of 10^7 designs by one law and by 256, in float32: the mean of what they believe, and its 5 % quantile."""
    random = np.random.default_rng(0)
    members = jax.tree.map(
        lambda leaf: (leaf * (1 + 0.02 * random.standard_normal(MEMBERS))).astype(np.float32), PerformanceDense()
    )
    laws = Ensemble(PerformanceDense(), members)
    count = -(-DESIGNS // CHUNK)
    ends = {"num_hidden_layers": (16, 128), "hidden_size": (1024, 16384), "intermediate_size": (4096, 65536)}
    fields = {name: random.uniform(low, high, (count, CHUNK)).astype(np.float32) for name, (low, high) in ends.items()}
    fields["num_attention_heads"] = fields["hidden_size"] / np.float32(128)
    fields["training_tokens"] = random.uniform(1e11, 2e13, (count, CHUNK)).astype(np.float32)
    ways = {
        "one_law": lambda design: laws.clamp(laws.raw(design)),
        "mean_of_256": lambda design: jnp.mean(laws.scores(design)),
        "quantile_of_256": lambda design: laws.quantile(design, 0.05),
    }
    at_a_time = {"one_law": CHUNK, "mean_of_256": CACHED, "quantile_of_256": CACHED}
    programs = {
        name: jax.jit(partial(jax.lax.map, lambda one, way=way: way(make_design(one)), batch_size=at_a_time[name]))
        for name, way in ways.items()
    }

    def seconds(name: str, chunks: int) -> float:
        began = time.perf_counter()
        for i in range(chunks):
            out = programs[name]({field: values[i] for field, values in fields.items()})
        jax.block_until_ready(out)
        return (time.perf_counter() - began) * count / chunks

    chunks = {"one_law": count, "mean_of_256": count // 8, "quantile_of_256": count // 16}
    timed = {name: [seconds(name, 1)] for name in ways}  # compiled here
    for _ in range(REPEATS):
        for name in ways:
            timed[name].append(seconds(name, chunks[name]))
    times = {name: float(np.median(values[1:])) for name, values in timed.items()}
    ratios = {f"{name}_to_one": times[name] / times["one_law"] for name in ways if name != "one_law"}
    return {"designs": count * CHUNK, "members": MEMBERS, **{f"{name}_seconds": t for name, t in times.items()}, **ratios}
