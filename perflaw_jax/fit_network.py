"""Second stage of a mixture law: small networks from the losses in all domains to the score of a task."""

from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from perflaw_jax.design import Scalar
from perflaw_jax.laws.mixture import ScoreNetwork

AT_ONCE = 25  # resamples that are trained side by side
MARGIN = 0.05  # of the most there is: rows that are no further above chance teach nothing


class NetworkSettings(NamedTuple):
    """How the networks look and are trained; the defaults were chosen on held-out sizes of the OLMo ladder."""

    hidden: int = 8
    members: int = 8  # networks, whose scores are averaged
    steps: int = 1000
    batch: int = 128  # rows per step, drawn with replacement
    rate: float = 3e-2  # of Adam with b2 = 0.99, falling to 0 as a cosine
    decay: float = 1e-3  # squared weights of the two layers, not of the linear path, in units of the scores' variance
    monotone: bool = True  # a score never falls where a loss does


CHOSEN = NetworkSettings()


def fit_network(
    losses: np.ndarray,
    scores: np.ndarray,
    *,
    chance: float = 0.0,
    top: float = 1.0,
    domains: Sequence[str] = (),
    settings: NetworkSettings = CHOSEN,
    seed: int = 0,
) -> ScoreNetwork:
    """Train the networks on checkpoints whose score is above chance by 5 % of the most there is; same seed, same networks.

    Args:
        losses: nats per token, [n, D].
        scores: of one task, [n], in the unit of ``chance`` and ``top``.
        chance: score of a model that knows nothing.
        top: the most there is.
        domains: names of the losses.
        settings: size and training.
        seed: of the first weights and the drawing of rows.

    Raises:
        ValueError: no or too few checkpoints above the threshold, a score above ``top``, a loss that never changes, or the
            package optax is not there.
    """
    if find_spec("optax") is None:
        raise ValueError("a network from losses to a score needs the package optax: pip install 'perflaw_jax[fit]'")
    task = _task(np.asarray(losses, float), np.asarray(scores, float), chance, top, domains)
    with jax.numpy_dtype_promotion("standard"):  # optax mixes its step count with floats
        weights = _train(task.rows, task.count, task.scale, np.float32(task.level), jax.random.key(seed), settings)
    return _network(task, weights, chance, top, domains)


def resampled_networks(
    losses: np.ndarray,
    scores: np.ndarray,
    drawn: np.ndarray,
    *,
    chance: float = 0.0,
    top: float = 1.0,
    domains: Sequence[str] = (),
    settings: NetworkSettings = CHOSEN,
    seed: int = 0,
) -> tuple[ScoreNetwork, np.ndarray]:
    """Train the networks anew on every resample of the rows, each time from other first weights; as ``fit_network`` beside.

    Args:
        losses: nats per token, [n, D].
        scores: [n].
        drawn: how often each row is drawn, [resamples, n].
        chance: as for ``fit_network``, and so are the others.
        top: the most there is.
        domains: names of the losses.
        settings: size and training.
        seed: of the first weights and the drawing of rows.

    Returns:
        The networks as one pytree with a leading axis [resamples]; and which of them had rows enough.
    """
    losses, scores = np.asarray(losses, float), np.asarray(scores, float)
    task = _task(losses, scores, chance, top, domains)
    drawn = drawn[:, _used(losses, scores, chance, top)]
    enough = drawn.astype(bool).sum(axis=1) >= losses.shape[1] + 2
    room = 2 ** max(1, int(drawn.sum(axis=1).max()) - 1).bit_length()
    keys, parts = jax.random.split(jax.random.fold_in(jax.random.key(seed), 1), len(drawn)), []
    with jax.numpy_dtype_promotion("standard"):
        for start in range(0, len(drawn), AT_ONCE):
            some = np.minimum(np.arange(start, start + AT_ONCE), len(drawn) - 1)
            rows = np.zeros((AT_ONCE, room, task.rows.shape[1]), np.float32)
            for lane, times in zip(rows, drawn[some], strict=True):
                lane[: times.sum()] = np.repeat(task.rows[: task.count], times, axis=0)
            count = np.maximum(1, drawn[some].sum(axis=1))
            parts.append(_train_all(rows, count, task.scale, np.float32(task.level), keys[some], settings))
    weights = jax.tree.map(lambda *leaves: np.concatenate(leaves)[: len(drawn)], *jax.tree.map(np.asarray, parts))
    finite = [np.isfinite(leaf).reshape(len(drawn), -1).all(axis=1) for leaf in jax.tree.leaves(weights)]
    return _network(task, weights, chance, top, domains), np.all([enough, *finite], axis=0)


class _Task(NamedTuple):
    rows: np.ndarray  # float32 [room, D + 1]: losses standardised, scores from 0 to 1; the last are not used
    count: int  # of those that are
    center: np.ndarray
    spread: np.ndarray
    scale: np.float32  # of the scores
    level: float  # logit of their mean


def _task(losses: np.ndarray, scores: np.ndarray, chance: float, top: float, domains: Sequence[str]) -> _Task:
    used = _used(losses, scores, chance, top)
    x, y = losses[used], scores[used]
    center, spread = x.mean(axis=0), x.std(axis=0)
    if (spread == 0).any() or y.std() == 0:
        what = "score" if y.std() == 0 else f"loss {domains[int(spread.argmin())] if domains else int(spread.argmin())}"
        raise ValueError(f"{what}: is the same in all {len(y)} rows that can be fitted")
    room = 2 ** (len(losses) - 1).bit_length()  # one shape for all tasks of a table and parts of it
    rows = np.zeros((room, losses.shape[1] + 1), np.float32)
    rows[: len(y)] = np.column_stack([(x - center) / spread, (y - chance) / (top - chance)])
    level = _logit((y.mean() - chance) / (top - chance))
    return _Task(rows, len(y), center, spread, np.float32(y.std() / (top - chance)), level)


def _network(task: _Task, weights: dict[str, Any], chance: float, top: float, domains: Sequence[str]) -> ScoreNetwork:
    leaves = {name: np.asarray(leaf, float) for name, leaf in weights.items()}
    return ScoreNetwork(
        center=task.center,
        spread=task.spread,
        **leaves | {"bias": leaves["bias"] + task.level},
        chance=float(chance),
        top=float(top),
        losses=tuple(domains),
    )


def _used(losses: np.ndarray, scores: np.ndarray, chance: float, top: float) -> np.ndarray:
    if not chance < top:
        raise ValueError(f"chance: must be below the most there is, {top:g}, not {chance:g}")
    if (scores > top).any():
        raise ValueError(f"score: must be at most {top:g}, not {scores.max():g}")
    threshold = chance + MARGIN * top
    used, needed = scores > threshold, losses.shape[1] + 2
    if not used.any():
        raise ValueError(f"score: all {len(scores)} checkpoints are at or below {threshold:g}, chance and 5 points")
    if used.sum() < needed:
        raise ValueError(f"too few runs: {used.sum()} checkpoints have a score above {threshold:g}; needed: {needed}")
    return used


def _start(key: Any, inputs: int, settings: NetworkSettings) -> dict[str, Scalar]:
    """First weights, before ``_effective``."""
    members, hidden = settings.members, settings.hidden
    first, second, third = jax.random.split(key, 3)
    uniform = partial(jax.random.uniform, dtype=jnp.float32)
    if settings.monotone:
        before = uniform(first, (inputs, members, hidden), minval=0.02, maxval=max(2.0 / inputs, 0.04))
        after = 0.3 * uniform(second, (members, hidden), minval=0.02, maxval=2.0 / hidden)
        weights = {"weights_in": _inverse_softplus(before), "weights_out": _inverse_softplus(after)}
        skip = _inverse_softplus(jnp.float32(0.5 / inputs))
    else:
        before = jax.random.normal(first, (inputs, members, hidden), jnp.float32) / np.float32(np.sqrt(inputs))
        after = 0.3 * jax.random.normal(second, (members, hidden), jnp.float32) / np.float32(np.sqrt(hidden))
        weights = {"weights_in": before, "weights_out": after}
        skip = jnp.float32(-0.5 / inputs)
    return {
        **weights,
        "skip": jnp.full((inputs, members), skip, jnp.float32),
        "shift": uniform(third, (members, hidden), minval=-1.5, maxval=1.5),
        "bias": jnp.zeros(members, jnp.float32),
    }


def _effective(raw: dict[str, Scalar], monotone: bool) -> dict[str, Scalar]:
    """The weights that a network has: of one sign each where its score must not fall as a loss falls."""
    if not monotone:
        return raw
    positive = {name: jax.nn.softplus(raw[name]) for name in ("weights_in", "weights_out", "skip")}
    return {**raw, **positive, "weights_in": -positive["weights_in"], "skip": -positive["skip"]}


def _forward(w: dict[str, Scalar], z: Scalar) -> Scalar:
    """Logits [batch, members] from standardised losses [batch, inputs]; the hidden units of all members lie side by side."""
    hidden = jnp.tanh(jnp.einsum("bk,kmh->bmh", z, w["weights_in"]) + w["shift"][None])
    return jnp.sum(hidden * w["weights_out"][None], axis=2) + w["bias"][None] + z @ w["skip"]


@partial(jax.jit, static_argnames="settings")
def _train(
    rows: Scalar, count: Scalar, spread: Scalar, offset: Scalar, key: Any, settings: NetworkSettings
) -> dict[str, Scalar]:
    """Weights from ``rows`` [n, inputs + 1], of which ``count`` are used: losses standardised, scores from 0 to 1."""
    import optax

    schedule = optax.cosine_decay_schedule(settings.rate, settings.steps)
    adam = optax.adam(schedule, b2=0.99)

    def loss(raw: dict[str, Scalar], batch: Scalar) -> Scalar:
        w = _effective(raw, settings.monotone)
        error = (jax.nn.sigmoid(_forward(w, batch[:, :-1]) + offset) - batch[:, -1:]) / spread
        weight = jnp.sum(w["weights_in"] ** 2) + jnp.sum(w["weights_out"] ** 2)
        return jnp.sum(jnp.mean(error**2, axis=0)) + settings.decay * weight  # every member has its own share of the sum

    def step(carry: Any, key: Any) -> tuple[Any, None]:
        raw, state = carry
        drawn = jnp.floor(jax.random.uniform(key, (settings.batch,), jnp.float32) * count).astype(jnp.int32)
        gradient = jax.grad(loss)(raw, rows[jnp.minimum(drawn, count - 1)])
        updates, state = adam.update(gradient, state, raw)
        return (optax.apply_updates(raw, updates), state), None

    first = _start(key, rows.shape[1] - 1, settings)
    keys = jax.random.split(jax.random.fold_in(key, 1), settings.steps)
    (raw, _), _ = jax.lax.scan(step, (first, adam.init(first)), keys)
    return _effective(raw, settings.monotone)


@partial(jax.jit, static_argnames="settings")
def _train_all(rows: Scalar, counts: Scalar, spread: Scalar, offset: Scalar, keys: Any, settings: NetworkSettings) -> Any:
    """``_train`` for many sets of rows [resamples, n, inputs + 1]."""
    return jax.vmap(lambda r, n, key: _train(r, n, spread, offset, key, settings))(rows, counts, keys)


def _inverse_softplus(value: Scalar) -> Scalar:
    return jnp.log(jnp.expm1(value))


def _logit(share: float) -> float:
    return float(np.log(share) - np.log1p(-share))
