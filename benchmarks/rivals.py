"""Hand-written rivals of the sweep: the best dense design of a grid within a FLOPs budget, by the Performance Law.

Each takes the axes layers [N], hidden [h], ffn [d] and tokens [T, ascending] and a budget in FLOPs, scores every candidate and
returns ``(score, (iN, ih, id, iT))``; nothing affordable is ``(-inf, (-1, -1, -1, -1))``. Ties: the first shape in the order
of the axes, then the fewest tokens, which are the fewest FLOPs. All but the plain loop find the shape in float32; its score
and tokens are then decided in float64.
"""

import ctypes
import math
import os
import subprocess
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np

Index = tuple[int, int, int, int]
NOTHING = (-math.inf, (-1, -1, -1, -1))

LAYERS, HIDDEN, FFN, DATA, DEPTH, CONSTANT = 13.95018192, 0.23072027, 0.48523402, 5.39801689, 19.09368506, 9.195410648934768
ROWS = 128  # shapes per NumPy block: with 1,024 token counts the block stays in the second-level cache
LOW = np.float32(-1e30)  # below any score; fast math assumes that infinities do not occur
UNROLL = 4  # token counts per pass of the Numba kernel over the FFN sizes


def grid() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The axes of the benchmark: 64 x 64 x 256 x 1,024 candidates, 2^30."""
    sizes = 1024.0 + 256.0 * np.arange(256)
    return np.arange(16.0, 144.0, 2.0), sizes[:64], sizes, np.geomspace(1e11, 3e13, 1024)


def large_grid() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The same ranges in finer steps: 128 x 128 x 256 x 2,048 candidates, 2^33."""
    ffn = grid()[2]
    return np.arange(16.0, 144.0), 1024.0 + 128.0 * np.arange(128), ffn, np.geomspace(1e11, 3e13, 2048)


def python_grid() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The part of the benchmark's grid that the plain loop is timed on: 16 x 16 x 32 x 64 candidates, 2^19."""
    layers, hidden, ffn, tokens = grid()
    return layers[::4], hidden[::4], ffn[::8], tokens[::16]


def planner_loop(layers, hidden, ffn, tokens, budget: float) -> tuple[float, Index, int]:
    """Four nested loops over NumPy's numbers, in the order of the planner of the law's authors, the formula as it reads.

    Also returns the number of candidates.
    """
    log, exp, best, found = math.log, math.exp, *NOTHING
    for k, d in enumerate(ffn):
        for j, h in enumerate(hidden):
            for i, n in enumerate(layers):
                for m, t in enumerate(tokens):
                    size = (h * 128 * 8 * 2 + 2 * h**2 + 3 * h * d) * n + 2 * 150000 * h
                    if 6 * size * t > budget:
                        continue
                    u = exp(-(((10 / d + 20 / h) * n) ** 2))
                    data = min(t / 1e12, size / 1e9)
                    score = LAYERS * log(u * n) + HIDDEN * log(u * h) - FFN * log(u * d) + DATA * log(u * data) + CONSTANT
                    if score > best or (score == best and (i, j, k, m) < found):
                        best, found = float(score), (i, j, k, m)
    return best, found, len(layers) * len(hidden) * len(ffn) * len(tokens)


def python_loop(layers, hidden, ffn, tokens, budget: float) -> tuple[float, Index, int]:
    """The same over Python's own floats, in log space and in the order of the axes: about as fast as a plain loop gets."""
    log, best, found = math.log, *NOTHING
    axes = [[float(x) for x in axis] for axis in (layers, hidden, ffn, tokens)]
    for i, n in enumerate(axes[0]):
        for j, h in enumerate(axes[1]):
            for k, d in enumerate(axes[2]):
                for m, t in enumerate(axes[3]):
                    size = (h * 128 * 8 * 2 + 2 * h * h + 3 * h * d) * n + 2 * 150000 * h
                    if 6 * size * t > budget:
                        continue
                    z = (10 / d + 20 / h) * n
                    shape = LAYERS * log(n) + HIDDEN * log(h) - FFN * log(d) - DEPTH * z**2
                    score = shape + DATA * log(min(t / 1e12, size / 1e9)) + CONSTANT
                    if score > best:
                        best, found = score, (i, j, k, m)
    return best, found, math.prod(map(len, axes))


def numpy_plain(layers, hidden, ffn, tokens, budget: float) -> tuple[float, Index]:
    """The law as it reads, broadcast over one block of all FFN sizes x all tokens after the other; float32, one core."""
    axes = _float32(layers, hidden, ffn, tokens)
    d, t = axes[2][:, None], axes[3]
    top, shape = -math.inf, -1
    for i, n in enumerate(axes[0]):
        for j, h in enumerate(axes[1]):
            size = (h * 128 * 8 * 2 + 2 * h**2 + 3 * h * d) * n + 2 * 150000 * h
            z = (10 / d + 20 / h) * n
            data = np.minimum(t * 1e-12, size * 1e-9)
            scores = LAYERS * np.log(n) + HIDDEN * np.log(h) - FFN * np.log(d) - DEPTH * z**2 + DATA * np.log(data) + CONSTANT
            scores = np.where(6 * size * t <= budget, scores, -np.inf)
            if scores.max() > top:
                top, shape = scores.max(), (i * len(hidden) + j) * len(ffn) + int(scores.max(axis=1).argmax())
    return _decide(layers, hidden, ffn, tokens, budget, shape)


def numpy_broadcast(layers, hidden, ffn, tokens, budget: float) -> tuple[float, Index]:
    """Blocks of ``ROWS`` shapes x all tokens in float32, logarithms per axis, buffers reused; one core."""
    axes = _float32(layers, hidden, ffn, tokens)
    n, h, d, t = axes[0], np.repeat(axes[1], len(ffn)), np.tile(axes[2], len(hidden)), axes[3]
    gain, log_h, log_d = np.float32(DATA) * np.log(t * 1e-12), np.log(h), np.log(d)
    block, affordable = np.empty((ROWS, len(t)), np.float32), np.empty((ROWS, len(t)), bool)
    top, shape = LOW, -1
    for i in range(len(n)):
        size = (h * 128 * 8 * 2 + 2 * h * h + 3 * h * d) * n[i] + 2 * 150000 * h
        z = (10 / d + 20 / h) * n[i]
        base = (HIDDEN * log_h - FFN * log_d - DEPTH * z * z + (LAYERS * math.log(n[i]) + CONSTANT))[:, None]
        knee, cap = (DATA * np.log(size * 1e-9))[:, None], (budget / 6 / size)[:, None]
        for start in range(0, len(h), ROWS):
            rows = slice(start, start + ROWS)
            scores, mask = block[: len(h[rows])], affordable[: len(h[rows])]
            np.minimum(gain, knee[rows], out=scores)
            scores += base[rows]
            np.less_equal(t, cap[rows], out=mask)
            best = scores.max(where=mask, initial=LOW)
            if best > top:
                row = int(np.where(mask, scores, LOW).max(axis=1).argmax())
                top, shape = best, i * len(h) + start + row
    return _decide(layers, hidden, ffn, tokens, budget, shape)


def numba_kernel(layers, hidden, ffn, tokens, budget: float) -> tuple[float, Index]:
    """Compiled by Numba for all cores; the vector lanes run over the FFN sizes, so that no maximum crosses lanes."""
    t = np.pad(
        np.asarray(tokens, np.float32), (0, -len(tokens) % UNROLL), mode="edge"
    )  # a repeated candidate changes no maximum
    return _by_planes(_numba(), layers, hidden, ffn, tokens, t, np.float32(DATA) * np.log(t * 1e-12), budget)


def numba_plain(layers, hidden, ffn, tokens, budget: float) -> tuple[float, Index]:
    """The same as a plain loop nest, factored by hand: one shape and one running maximum at a time."""
    t = np.asarray(tokens, np.float32)
    return _by_planes(_numba_plain(), layers, hidden, ffn, tokens, t, np.log(t * np.float32(1e-12)), budget)


def _by_planes(kernel, layers, hidden, ffn, tokens, t, of_tokens, budget: float) -> tuple[float, Index]:
    """Run a Numba kernel, which leaves the best of every (N, h) and its FFN size, and decide among them."""
    n, h, d = _float32(layers, hidden, ffn)
    best, where = np.empty(len(n) * len(h), np.float32), np.empty(len(n) * len(h), np.int64)
    kernel(n, h, d, t, of_tokens, np.float32(budget), best, where)
    plane = int(best.argmax())
    shape = plane * len(d) + int(where[plane]) if best[plane] > LOW else -1
    return _decide(layers, hidden, ffn, tokens, budget, shape)


def c_kernel(layers, hidden, ffn, tokens, budget: float, variant: str = "best") -> tuple[float, Index]:
    """``best.c``, compiled for this machine on first use, on all cores; "best" is tuned, "best_plain" a plain loop nest.

    Raises:
        FileNotFoundError: there is no C compiler ``cc``.
    """
    found = ctypes.c_int64()
    axes = _float32(layers, hidden, ffn, tokens)
    arguments = [x for axis in axes for x in (ctypes.c_int(len(axis)), axis.ctypes.data_as(ctypes.c_void_p))]
    getattr(_library(), variant)(*arguments, ctypes.c_float(budget), ctypes.byref(found))
    return _decide(layers, hidden, ffn, tokens, budget, found.value)


def c_plain(layers, hidden, ffn, tokens, budget: float) -> tuple[float, Index]:
    """The plain loop nest of ``best.c``."""
    return c_kernel(layers, hidden, ffn, tokens, budget, "best_plain")


def _float32(*axes) -> list[np.ndarray]:
    return [np.ascontiguousarray(axis, np.float32) for axis in axes]


def _decide(layers, hidden, ffn, tokens, budget: float, shape: int) -> tuple[float, Index]:
    """The float64 score and the tokens of a shape, given as row-major index over (N, h, d); -1 is no shape."""
    if shape < 0:
        return NOTHING
    i, j, k = (int(x) for x in np.unravel_index(shape, (len(layers), len(hidden), len(ffn))))
    n, h, d, t = float(layers[i]), float(hidden[j]), float(ffn[k]), np.asarray(tokens, np.float64)
    size = (h * 128 * 8 * 2 + 2 * h * h + 3 * h * d) * n + 2 * 150000 * h
    base = LAYERS * math.log(n) + HIDDEN * math.log(h) - FFN * math.log(d) - DEPTH * ((10 / d + 20 / h) * n) ** 2 + CONSTANT
    scores = np.where(6 * size * t <= budget, base + DATA * np.minimum(np.log(t / 1e12), math.log(size / 1e9)), -np.inf)
    m = int(scores.argmax())
    return (float(scores[m]), (i, j, k, m)) if scores[m] > -np.inf else NOTHING


@cache
def _library() -> ctypes.CDLL:
    source = Path(__file__).with_name("best.c")
    build = source.parent / "build"
    build.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=build) as folder:
        compiled, made = Path(folder, "best.o"), Path(folder, "best.so")
        flags = ["-O3", "-march=native", "-ffast-math", "-fopenmp", "-fPIC"]
        subprocess.run(["cc", *flags, "-c", str(source), "-o", str(compiled)], check=True)
        # linked without -ffast-math: that would flush subnormal numbers to zero in the whole process
        subprocess.run(["cc", "-shared", "-fopenmp", str(compiled), "-o", str(made), "-lm"], check=True)
        os.replace(made, build / "best.so")  # whole at any time, also when two processes build it
    library = ctypes.CDLL(str(build / "best.so"))
    library.best.restype = library.best_plain.restype = None
    return library


@cache
def _numba() -> Callable[..., None]:
    from numba import njit, prange

    f = np.float32

    @njit(fastmath=True)
    def score(gain, token, base, knee, cap):
        reached = base + (gain if gain < knee else knee)
        return reached if token <= cap else LOW

    @njit(fastmath=True)
    def larger(a, b):
        return a if a > b else b

    @njit(fastmath=True)
    def scan(t, gain, base, knee, cap, m):
        for i in range(0, t.size, UNROLL):
            t0, t1, t2, t3 = t[i], t[i + 1], t[i + 2], t[i + 3]
            g0, g1, g2, g3 = gain[i], gain[i + 1], gain[i + 2], gain[i + 3]
            for c in range(m.size):
                b, k, most = base[c], knee[c], cap[c]
                first = larger(score(g0, t0, b, k, most), score(g1, t1, b, k, most))
                second = larger(score(g2, t2, b, k, most), score(g3, t3, b, k, most))
                m[c] = larger(m[c], larger(first, second))

    @njit(parallel=True, fastmath=True, error_model="numpy")
    def kernel(n, h, d, t, gain, budget, best, where):
        for plane in prange(n.size * h.size):
            layers, width = n[plane // h.size], h[plane % h.size]
            size = (width * f(2048) + f(2) * width * width + f(3) * width * d) * layers + f(300000) * width
            z = (f(10) / d + f(20) / width) * layers
            front = f(LAYERS) * math.log(layers) + f(HIDDEN) * math.log(width) + f(CONSTANT)
            base = front - f(FFN) * np.log(d) - f(DEPTH) * z * z
            m = np.full(d.size, LOW, np.float32)
            scan(t, gain, base, f(DATA) * np.log(size * f(1e-9)), budget / (f(6) * size), m)
            where[plane] = m.argmax()
            best[plane] = m[where[plane]]

    return kernel


@cache
def _numba_plain() -> Callable[..., None]:
    from numba import njit, prange

    f = np.float32

    @njit(parallel=True, fastmath=True, error_model="numpy")
    def kernel(n, h, d, t, log_t, budget, best, where):
        for plane in prange(n.size * h.size):
            layers, width = n[plane // h.size], h[plane % h.size]
            top, at = LOW, 0
            for k in range(d.size):
                size = (width * f(2048) + f(2) * width * width + f(3) * width * d[k]) * layers + f(300000) * width
                z = (f(10) / d[k] + f(20) / width) * layers
                base = f(LAYERS) * math.log(layers) + f(HIDDEN) * math.log(width) - f(FFN) * math.log(d[k]) - f(DEPTH) * z * z
                log_size, flops_per_token = math.log(size * f(1e-9)), f(6) * size
                m = LOW
                for i in range(t.size):
                    score = base + f(DATA) * min(log_t[i], log_size)
                    m = max(m, score if t[i] * flops_per_token <= budget else LOW)
                if m > top:
                    top, at = m, k
            best[plane], where[plane] = top, at

    return kernel
