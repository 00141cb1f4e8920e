"""Every rival of the throughput benchmark finds the design that a float64 brute force finds."""

import importlib.util
import math
import shutil

import numpy as np
import pytest

from benchmarks import rivals

AXES = (  # lengths that are multiples of no block, vector or unrolling
    np.arange(16.0, 144.0, 18.0),
    1024.0 + 1536.0 * np.arange(9),
    1024.0 + 2304.0 * np.arange(21),
    np.geomspace(1e11, 3e13, 51),
)

RIVALS = [
    pytest.param(lambda *given: rivals.planner_loop(*given)[:2], id="planner"),
    pytest.param(lambda *given: rivals.python_loop(*given)[:2], id="python"),
    pytest.param(rivals.numpy_plain, id="numpy-plain"),
    pytest.param(rivals.numpy_broadcast, id="numpy"),
    *(
        pytest.param(
            rival,
            id=name,
            marks=pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="numba is not installed (extra: bench)"),
        )
        for name, rival in (("numba", rivals.numba_kernel), ("numba-plain", rivals.numba_plain))
    ),
    *(
        pytest.param(
            rival, id=name, marks=pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler: cc is not on PATH")
        )
        for name, rival in (("c", rivals.c_kernel), ("c-plain", rivals.c_plain))
    ),
]


def brute_force(layers, hidden, ffn, tokens, budget):
    n, h, d, t = np.meshgrid(layers, hidden, ffn, tokens, indexing="ij")
    size = (h * 128 * 8 * 2 + 2 * h**2 + 3 * h * d) * n + 2 * 150000 * h
    z = (10 / d + 20 / h) * n
    shape = 13.95018192 * np.log(n) + 0.23072027 * np.log(h) - 0.48523402 * np.log(d) - 19.09368506 * z**2
    score = shape + 5.39801689 * np.minimum(np.log(t / 1e12), np.log(size / 1e9)) + 9.195410648934768
    score = np.where(6 * size * t <= budget, score, -np.inf)
    at = score.argmax()
    return score.flat[at], tuple(int(i) for i in np.unravel_index(at, score.shape))


@pytest.mark.parametrize("rival", RIVALS)
@pytest.mark.parametrize("budget", [1e22, 1e24, 1e26, 1e30])  # the last affords all: tokens tie beyond the saturation
def test_finds_the_design_of_the_brute_force(rival, budget):
    expected_score, expected_index = brute_force(*AXES, budget)
    score, index = rival(*AXES, budget)
    assert index == expected_index
    assert score == pytest.approx(expected_score, rel=1e-12)


@pytest.mark.parametrize("rival", RIVALS)
def test_nothing_is_affordable(rival):
    assert rival(*AXES, 1e18) == (-math.inf, (-1, -1, -1, -1))


@pytest.mark.parametrize("loop", [rivals.planner_loop, rivals.python_loop])
def test_the_plain_loops_count_their_candidates(loop):
    small = [axis[:3] for axis in AXES]
    assert loop(*small, budget=1e24)[2] == 3**4
