"""The pilot of a sweep: few blocks, exactly evaluated, that measure the float32 error and give all others something to beat."""

from __future__ import annotations

import math

import numpy as np

from perflaw_jax.boxes import unique
from perflaw_jax.engine import Engine, as_batch, spread
from perflaw_jax.kept import Kept
from perflaw_jax.reduce import Marginals, distinct

PILOT_BLOCKS = 4064
AROUND = 4096  # blocks to try around the best known at a time
ROUNDS = 64  # of that at most
SPARSE = 64  # and no more than one of so many blocks of the grid in all
REACHES = 10  # how often the distance is halved until it starts again
RARE = 400  # of so many blocks that a rise of what is asked would spare if scores were spread evenly, about one (measured)


def pilot(engine: Engine, kept: Kept) -> None:
    """Evaluate a spread of blocks first: measures the float32 error, and gives the reducers something to beat.

    Then look around the best of them, and around the best of those, until little better is found. What the reducers ask of a
    block is then nearly what they will ask in the end, wherever in the grid the first tile lies.
    """
    coordinates = spread(engine.tiling.blocks, PILOT_BLOCKS)
    exact, ids, real = engine.decide(coordinates)
    rough, _, _ = engine.decide(coordinates, np.float32)
    with np.errstate(invalid="ignore"):
        error = np.abs(rough.raw - exact.raw) / (1 + np.abs(exact.raw))
    error = error[np.isfinite(error)]
    engine.margin = max(engine.margin, 8 * float(error.max(initial=0.0)))
    kept.update(as_batch(exact, ids, real))
    scores = exact.raw[exact.feasible & real]
    with np.errstate(over="ignore", invalid="ignore"):
        spread_of_scores = float(np.std(scores)) if len(scores) else 0.0
    _look_around(engine, kept, spread_of_scores)
    if kept.marginals is not None:
        unknown = _at_unknown(engine, kept.marginals)
        if len(unknown[0]):
            kept.update(as_batch(*engine.decide(unknown)))


def _look_around(engine: Engine, kept: Kept, spread: float) -> None:
    """Look around for as long as a round spares about as many blocks as it looks at; ``spread`` is that of the scores.

    One round where nothing but the best of all is kept.
    """
    random = np.random.default_rng(0)  # fixed: the same sweep takes the same steps
    blocks = math.prod(engine.tiling.blocks)
    asked = kept.asked(engine)
    for i in range(min(ROUNDS, blocks // (SPARSE * AROUND))):
        if not len(known := kept.ids()):
            return
        near = around(engine, known, 2.0 ** -(i % REACHES + 2), random, AROUND)
        kept.update(as_batch(*engine.decide(near)))
        before, asked = asked, kept.asked(engine)
        if blocks * asked.risen(before, spread) < RARE * AROUND:
            return


def around(engine: Engine, ids: np.ndarray, reach: float, random: np.random.Generator, count: int) -> list[np.ndarray]:
    """Coordinates of at most ``count`` blocks near some candidates' own, none twice: mostly close, none beyond ``reach``.

    ``reach`` is a share of each axis.
    """
    shape = np.array(engine.tiling.blocks)[:, None]
    blocks, _ = engine.tiling.block_of(ids[random.integers(len(ids), size=count)])
    size = np.rint(np.maximum(shape * reach, 1) ** random.random((len(shape), count))).astype(np.int64)
    moved = np.stack(blocks) + size * random.integers(-1, 2, size.shape)
    return unique(list(np.clip(moved, 0, shape - 1)), engine.tiling.blocks)


def _at_unknown(engine: Engine, marginals: Marginals) -> list[np.ndarray]:
    """Coordinates of blocks at values of an axis that have no candidate yet to be beaten.

    Otherwise they are like the best of the nearest values that have one: with nothing to be beaten, every block there matters.
    """
    space, ids = engine.tiling.space, []
    for axis, best in enumerate(marginals.best):
        known, unknown = np.flatnonzero(best.low > -np.inf), np.flatnonzero(best.low == -np.inf)
        if not len(known):
            continue
        after = np.searchsorted(known, unknown)
        for nearest in (known[np.maximum(after - 1, 0)], known[np.minimum(after, len(known) - 1)]):
            digits = space.digits(best.candidate_id[nearest])
            digits[axis] = unknown
            ids.append(space.ids(digits))
    coordinates, _ = engine.tiling.block_of(distinct(np.concatenate([np.empty(0, np.int64), *ids])))
    return coordinates
