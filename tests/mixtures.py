"""A simulated truth whose best mixture is known: three sources, three validation domains, three tasks."""

import numpy as np

SOURCES = ("web", "code", "math")
BUDGET = 1e22  # FLOPs for which a mixture is sought
CHANCE = np.array([0.25, 0.25, 0.5])
MIXTURES = np.array(
    [(0.8, 0.1, 0.1), (0.1, 0.8, 0.1), (0.1, 0.1, 0.8), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5), (1 / 3, 1 / 3, 1 / 3)]
    + [(0.6, 0.3, 0.1), (0.1, 0.6, 0.3), (0.3, 0.1, 0.6)]
)
BUDGETS = np.array([3e18, 1e19, 3e19, 1e20])
CHECKPOINTS = np.array([0.2, 0.35, 0.5, 0.7, 0.85, 1.0])  # of a run's FLOPs
GRID = np.array([(a, b, 100 - a - b) for a in range(101) for b in range(101 - a)]) / 100

WORTH = np.array([[0.75, 0.05, 0.20], [0.10, 0.85, 0.05], [0.25, 0.10, 0.65]])  # of source j to domain i
RHO = np.array([0.5, 0.6, 0.7])
ALPHA = np.array([0.16, 0.22, 0.18])
FLOOR = np.array([1.7, 0.6, 1.4])
SCALE = np.array([1.6, 1.1, 1.5])  # reducible loss at 1e19 FLOPs


def losses(flops, shares):
    """[n, 3] from [n] and [n, 3]."""
    joined = np.stack([(shares**rho @ worth) ** (1 / rho) for rho, worth in zip(RHO, WORTH, strict=True)], axis=-1)
    return FLOOR + SCALE * (np.asarray(flops)[:, None] / 1e19) ** -ALPHA * joined ** -(0.8 * ALPHA)


def scores(loss):
    """Three tasks [n, 3], each a weighted loss through a sigmoid between chance and 1."""
    asked = np.array([[0.15, 0.8, 0.05], [0.1, 0.85, 0.05], [0.5, 0.3, 0.2]])
    middle, steepness = np.array([1.75, 1.45, 2.2]), np.array([2.5, 2.5, 2.0])
    return CHANCE + (1 - CHANCE) / (1 + np.exp(steepness * (loss @ asked.T - middle)))


def runs(seed, noise=0.005):
    """40 runs of ten mixtures with six checkpoints each: flops, shares, noisy losses and scores, number of the run."""
    rng = np.random.default_rng(seed)
    flops = np.repeat(BUDGETS, len(MIXTURES))[:, None] * CHECKPOINTS
    shares = np.repeat(np.tile(MIXTURES, (len(BUDGETS), 1)), len(CHECKPOINTS), axis=0)
    loss = losses(flops.ravel(), shares)
    loss = loss * np.exp(noise * rng.standard_normal(loss.shape))
    score = scores(loss) + noise * rng.standard_normal(loss.shape)
    return flops.ravel(), shares, loss, score, np.repeat(np.arange(len(flops)), len(CHECKPOINTS))


def truth():
    """Mean score of the three tasks over ``GRID`` at ``BUDGET``, [n]."""
    return scores(losses(np.full(len(GRID), BUDGET), GRID)).mean(axis=1)
