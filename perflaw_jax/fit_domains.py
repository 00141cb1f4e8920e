"""First stage of a mixture law: the loss in every validation domain from training FLOPs and the shares of the sources.

Domains are fitted one by one: mean Huber loss of the errors of ln L in units of 2 %, and a light ridge that keeps apart what
the runs cannot: the sources' weights from equal ones, the exponent of the mixture from that of the FLOPs.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from perflaw_jax.design import Scalar, nearest
from perflaw_jax.laws.mixture import DomainLosses, MixingLosses, MixtureLosses, ProductLosses

FORMS = ("ces", "product", "mixing")
DELTA = 0.02  # of ln L: beyond it an error counts linearly
RIDGE = 0.01
LEAST_SUBSTITUTION = 0.01  # below it the form is the product, and float32 no longer tells
STARTS = (0.3, 0.8, 0.99)  # share of the least loss that is taken for irreducible at the start
MOST_IRREDUCIBLE = 0.98  # of the least loss
BUDGETS_FOR_IRREDUCIBLE = 3
METHOD = "BFGS"  # 10 times faster here than L-BFGS-B, whose small matrices go through BLAS threads, and nearer to the minimum
OPTIONS = {"maxiter": 500, "gtol": 1e-4}
ROUNDS = 4  # it is begun anew where it stopped, until it gains no more
GAIN = 1e-4  # of what is minimised


class LossFit(NamedTuple):
    """A fitted first stage, and what a reader must know of it."""

    law: MixtureLosses
    errors: np.ndarray  # root mean square error of ln L over the runs, [D]
    open: tuple[str, ...]  # what the runs do not determine, in words
    places: tuple[tuple[tuple[str, ...], np.ndarray], ...] = ()  # of each domain: what was fitted, and the vector found


def fit_domain_losses(
    flops: np.ndarray,
    shares: np.ndarray,
    losses: np.ndarray,
    *,
    sources: Sequence[str] = (),
    domains: Sequence[str] = (),
    form: str = "ces",
    irreducible: bool | None = None,
    counted: str = "training_flops",
) -> LossFit:
    """Fit a law of the losses on runs at their end.

    Args:
        flops: training FLOPs, [n].
        shares: of the sources, [n, S]; rows sum to 1.
        losses: nats per token, [n, D].
        sources: their names; empty for one source.
        domains: names of the losses.
        form: "ces" (``DomainLosses``), "product" (``ProductLosses``) or "mixing" (``MixingLosses``).
        irreducible: fit a loss that no compute takes away; if not given, where the runs have three budgets or more.
        counted: the quantity of a design that counts as FLOPs.

    Raises:
        ValueError: too few runs for the coefficients, or several sources of which all runs have one mixture.
    """
    if form not in FORMS:
        raise ValueError(f"form: no form named {form!r}; {nearest(form, FORMS)}")
    flops, shares, losses = (np.asarray(values, float) for values in (flops, shares, losses))
    budgets = len(np.unique(flops))
    with_floor = budgets >= BUDGETS_FOR_IRREDUCIBLE if irreducible is None else irreducible
    names = _coefficients(form, shares.shape[1], budgets, with_floor)
    needed = len(names) + (shares.shape[1] if shares.shape[1] > 1 else 0)
    if len(flops) < needed:
        raise ValueError(f"too few runs: {len(flops)} for the {needed} coefficients of each loss")
    undetermined = _undetermined(shares, budgets)
    found, errors, failures, vectors = zip(*(_fit_one(form, names, flops, shares, loss) for loss in losses.T), strict=True)
    domains = tuple(domains) or tuple(str(i) for i in range(len(found)))
    for domain, failed in zip(domains, failures, strict=True):
        if failed:
            undetermined.append(f"the fit of loss {domain} did not converge ({failed})")
    floors = np.array([law.irreducible[0] for law in found]) / (MOST_IRREDUCIBLE * losses.min(axis=0))
    if with_floor and (at_end := [name for name, floor in zip(domains, floors, strict=True) if not 0.01 < floor < 0.99]):
        undetermined.append(f"irreducible losses at an end of what was allowed, not identified: {', '.join(at_end)}")
    law = jax.tree.map(lambda *leaves: np.concatenate(leaves) if np.ndim(leaves[0]) else float(leaves[0]), *found)
    law = replace(law, domains=tuple(sources), losses=domains, flops=counted)
    return LossFit(law, np.array(errors), tuple(undetermined), tuple((names, vector) for vector in vectors))


def resampled_domain_losses(
    found: LossFit, flops: np.ndarray, shares: np.ndarray, losses: np.ndarray, weights: np.ndarray, *, form: str = "ces"
) -> tuple[MixtureLosses, np.ndarray]:
    """Fit once more on every resample of the runs, from the fit to all.

    Args:
        found: the fit to all runs.
        flops: as for ``found``, and so are the others.
        shares: [n, S].
        losses: [n, D].
        weights: how often each run is drawn, [resamples, n].
        form: of the law.

    Returns:
        The laws as one pytree with a leading axis [resamples]; and which are of use, for they are finite and from enough runs.
    """
    sources = shares.shape[1] if shares.shape[1] > 1 else 0
    enough = (weights > 0).sum(axis=1) >= len(found.places[0][0]) + sources
    with jax.enable_x64(True):
        laws = []
        for loss, (names, vector) in zip(losses.T, found.places, strict=True):
            data = _data(flops, shares, loss)
            laws.append(jax.tree.map(np.asarray, _resampled(form, names, vector, data, weights.astype(float))))
    law = jax.tree.map(lambda *leaves: np.concatenate(leaves, axis=1) if leaves[0].ndim > 1 else leaves[0], *laws)
    finite = [np.isfinite(leaf).reshape(len(weights), -1).all(axis=1) for leaf in jax.tree.leaves(law)]
    return replace(law, domains=found.law.domains, losses=found.law.losses, flops=found.law.flops), np.all([enough, *finite], 0)


def _coefficients(form: str, sources: int, budgets: int, irreducible: bool) -> tuple[str, ...]:
    """What is fitted beside the sources' weights: nothing that the runs cannot tell at all."""
    names = ["scale"]
    names += ["exponent"] if budgets > 1 else []
    names += ["irreducible"] if irreducible else []
    names += ["share_exponent", "substitution"] if form == "ces" and sources > 1 else []
    return tuple(names)


def _undetermined(shares: np.ndarray, budgets: int) -> list[str]:
    sources, told = shares.shape[1], []
    spread = int(np.linalg.matrix_rank(shares - shares.mean(axis=0), tol=1e-3))
    if sources > 1 and spread == 0:
        raise ValueError("all runs have the same mixture: leave the shares out, or add runs with others")
    if spread < sources - 1:
        told.append(f"the mixtures vary in {spread} of {sources - 1} directions: what the others do comes from the ridge")
    if budgets == 1:
        told.append("one budget: the exponent of FLOPs is not identified, only the ranks of mixtures mean anything")
    return told


def _fit_one(
    form: str, names: tuple[str, ...], flops: np.ndarray, shares: np.ndarray, loss: np.ndarray
) -> tuple[MixtureLosses, float, str, np.ndarray]:
    """Law of one domain (leaves [1], [1, S]), root mean square error of its logarithm, why the fit failed if it did, where."""
    data = _data(flops, shares, loss)
    floors = STARTS if "irreducible" in names else (0.0,)
    with jax.enable_x64(True):

        def objective(vector: np.ndarray) -> tuple[float, np.ndarray]:
            value, gradient = _objective(form, names, vector, data)
            return float(value), np.asarray(gradient)

        starts = [_start(names, shares.shape[1], loss, floor) for floor in floors]
        _, vector, failed = min((_minimise(objective, start) for start in starts), key=lambda found: found[0])
        law, error = jax.tree.map(np.asarray, _found(form, names, vector, data))
    return law, float(error), failed, vector


def _data(flops: np.ndarray, shares: np.ndarray, loss: np.ndarray) -> dict[str, Any]:
    """What the loss of one domain is fitted on."""
    return {"flops": flops, "shares": shares, "loss": loss, "reference": np.exp(np.log(flops).mean())}


def _minimise(objective: Any, vector: np.ndarray) -> tuple[float, np.ndarray, str]:
    """Least value found, where, and why it is not a minimum, if it is none."""
    from scipy.optimize import minimize

    least = np.inf
    for _ in range(ROUNDS):
        found = minimize(objective, vector, jac=True, method=METHOD, options=OPTIONS)
        gained, least, vector = least - found.fun, found.fun, found.x
        if gained <= GAIN * abs(least):
            return least, vector, ""
    return least, vector, str(found.message)


def _start(names: tuple[str, ...], sources: int, loss: np.ndarray, floor: float) -> np.ndarray:
    """The vector at a start: all exponents 0.1, rho 0.5, equal weights."""
    first = {
        "scale": np.log(np.median(loss) - floor * loss.min()),
        "exponent": np.log(np.expm1(0.1)),
        "irreducible": _logit(floor),
        "share_exponent": np.log(np.expm1(0.1)),
        "substitution": 0.0,
    }
    return np.array([*(first[name] for name in names), *np.zeros(sources)])


@partial(jax.jit, static_argnames=("form", "names"))
def _objective(form: str, names: tuple[str, ...], vector: Scalar, data: dict[str, Any]) -> tuple[Scalar, Scalar]:
    """Value and gradient of what is minimised."""
    return jax.value_and_grad(_value, argnums=2)(form, names, vector, data)


def _value(form: str, names: tuple[str, ...], vector: Scalar, data: dict[str, Any], drawn: Scalar | None = None) -> Scalar:
    """What is minimised; ``drawn`` is how often each run counts, once if not given."""
    raw, weights = _split(names, vector)
    error = abs(_residuals(_law(form, names, vector, data), data, "irreducible" in names)) / DELTA
    huber = jnp.average(jnp.where(error < 1, 0.5 * error**2, error - 0.5), weights=drawn)
    apart = jnp.mean((weights - weights.mean()) ** 2)
    if {"exponent", "share_exponent"} <= raw.keys():
        exponents = [jnp.log(jax.nn.softplus(raw[name])) for name in ("share_exponent", "exponent")]
        apart += 0.1 * (exponents[0] - exponents[1]) ** 2
    return huber + RIDGE * apart + 1e-8 * jnp.sum(vector**2)


@partial(jax.jit, static_argnames=("form", "names"))
def _resampled(form: str, names: tuple[str, ...], start: Scalar, data: dict[str, Any], weights: Scalar) -> MixtureLosses:
    """The laws of one domain on resamples of its runs, whose minima lie near that of all runs."""
    import optimistix

    def one(drawn: Scalar) -> MixtureLosses:
        found = optimistix.minimise(
            lambda vector, drawn: _value(form, names, vector, data, drawn),
            optimistix.BFGS(rtol=1e-5, atol=1e-7),
            start,
            args=drawn,
            max_steps=OPTIONS["maxiter"],
            throw=False,
        )
        return _law(form, names, found.value, data)

    return jax.vmap(one)(weights)


@partial(jax.jit, static_argnames=("form", "names"))
def _found(form: str, names: tuple[str, ...], vector: Scalar, data: dict[str, Any]) -> tuple[MixtureLosses, Scalar]:
    """The law at a place, and the root mean square error of its logarithm."""
    law = _law(form, names, vector, data)
    return law, jnp.sqrt(jnp.mean(jnp.square(_residuals(law, data, "irreducible" in names))))


def _residuals(law: MixtureLosses, data: dict[str, Any], irreducible: bool) -> Scalar:
    """Errors of ln L, whose formula cannot overflow however far a line search goes."""
    logs = jax.vmap(law.log_reducible)(data["flops"], data["shares"])[:, 0]
    return (jnp.logaddexp(jnp.log(law.irreducible), logs) if irreducible else logs) - jnp.log(data["loss"])


def _split(names: tuple[str, ...], vector: Scalar) -> tuple[dict[str, Scalar], Scalar]:
    return dict(zip(names, vector[: len(names)], strict=True)), vector[len(names) :]


def _law(form: str, names: tuple[str, ...], vector: Scalar, data: dict[str, Any]) -> MixtureLosses:
    """The law of one domain that a vector stands for; what is not fitted has no effect."""
    raw, weights = _split(names, vector)
    nil = jnp.zeros(1)

    def of(name: str, transform: Any, otherwise: Any) -> Scalar:
        return transform(raw[name])[None] if name in raw else otherwise

    common = {
        "log_scale": raw["scale"][None],
        "exponent": of("exponent", jax.nn.softplus, nil),
        "irreducible": of("irreducible", lambda v: MOST_IRREDUCIBLE * jnp.min(data["loss"]) * jax.nn.sigmoid(v), nil),
        "reference_flops": data["reference"],
    }
    if form == "product":
        return ProductLosses(powers=weights[None], **common)
    if form == "mixing":
        return MixingLosses(slopes=weights[None], **common)
    return DomainLosses(
        weights=jax.nn.softmax(weights)[None],
        share_exponent=of("share_exponent", jax.nn.softplus, nil),
        substitution=of("substitution", lambda v: LEAST_SUBSTITUTION + (1 - LEAST_SUBSTITUTION) * jax.nn.sigmoid(v), nil + 1),
        **common,
    )


def _logit(share: float) -> float:
    return float(np.log(share) - np.log1p(-share)) if share > 0 else -np.inf
