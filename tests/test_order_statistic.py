"""The n-th lowest of many scores against sorting them."""

from functools import partial

import jax
import numpy as np
import pytest

from perflaw_jax.laws.order_statistic import nth_lowest

ODD = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-310, -1e-310]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("count", [1, 17, 256, 1100])  # up to more than fill the rows that are written out
def test_it_is_what_sorting_gives(count, dtype):
    random = np.random.default_rng(count)
    scores = random.choice([1.0, 1e-30, 1e30], (40, 1)) * random.standard_normal((40, count)).round(random.integers(0, 4))
    scores = np.where(random.random(scores.shape) < 0.2, random.choice(ODD, scores.shape), scores).astype(dtype)
    ordered = np.sort(np.where(np.isnan(scores), np.inf, scores), axis=1)
    with jax.enable_x64(dtype == np.float64):
        for n in {0, count // 2, count - 1}:
            found = np.asarray(jax.jit(jax.vmap(partial(nth_lowest, n=n)))(scores))
            assert found.dtype == dtype
            np.testing.assert_array_equal(found, ordered[:, n])
            along_the_other = jax.vmap(partial(nth_lowest, n=n), in_axes=1)(scores.T)
            np.testing.assert_array_equal(along_the_other, ordered[:, n])
