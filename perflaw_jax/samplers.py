"""The samplers by name: where an Optuna search looks next, learning from what it is told.

A sampler works on a study in memory, whatever the storage: asking it costs no round trip, and a batch is stored as a whole.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.trial import FrozenTrial

from perflaw_jax.design import nearest

LIMITS = "limits"  # the one constraint that trials carry: how far they break the limits, 0 where they do not
CONSTRAINT = f"constraints:{LIMITS}"  # as Optuna and rustuna keep it among the system attributes
FEW = 1000  # trials up to which a careful model is worth its time


Direction = Literal["minimize", "maximize"]


class Verdict(NamedTuple):
    """What became of a proposal."""

    values: tuple[float, ...]  # one per objective
    violation: float  # of the limits; 0 for a feasible one


class Asked(NamedTuple):
    """A proposal and the sampler's own name for it."""

    trial: Any
    params: dict[str, int]


class Proposer(Protocol):
    """Proposes numbers below ``counts`` and learns from verdicts."""

    def ask(self) -> Asked:
        """The next proposal."""
        ...

    def tell(self, asked: Asked, verdict: Verdict) -> dict[str, Any]:
        """Learn what became of one's own proposal; returns the notes that the sampler wants kept with it."""
        ...

    def learn(self, trials: Sequence[FrozenTrial]) -> None:
        """Learn from trials of other processes, or of an earlier run."""
        ...


class OptunaProposer:
    """A sampler of Optuna on a study in memory."""

    def __init__(self, sampler: optuna.samplers.BaseSampler, counts: Mapping[str, int], directions: Sequence[Direction]):
        self._study = optuna.create_study(sampler=sampler, directions=list(directions))
        self._distributions: dict[str, BaseDistribution] = {name: IntDistribution(0, n - 1) for name, n in counts.items()}

    def ask(self) -> Asked:
        """The next proposal."""
        trial = self._study.ask(self._distributions)
        return Asked(trial, trial.params)

    def tell(self, asked: Asked, verdict: Verdict) -> dict[str, Any]:
        """Learn what became of one's own proposal; returns its system attributes, which hold the state of some samplers."""
        if not isinstance(self._study.sampler, optuna.samplers.CmaEsSampler):  # it knows values alone, and says so
            asked.trial.set_constraint(LIMITS, verdict.violation)
        return {**self._study.tell(asked.trial, list(verdict.values)).system_attrs, CONSTRAINT: verdict.violation}

    def learn(self, trials: Sequence[FrozenTrial]) -> None:
        """Learn from trials of other processes, or of an earlier run."""
        self._study.add_trials(trials)


class RustunaProposer:
    """The NSGA-II of rustuna, Optuna's own faster sibling: for tens of thousands of trials and more."""

    def __init__(self, counts: Mapping[str, int], directions: Sequence[Direction], seed: int):
        import rustuna

        self._rustuna, self._counts = rustuna, counts
        self._study = rustuna.create_study(directions=list(directions), sampler=rustuna.samplers.NSGAIISampler(seed=seed))

    def ask(self) -> Asked:
        """The next proposal."""
        trial = self._study.ask()
        return Asked(trial, {name: trial.suggest_int(name, 0, n - 1) for name, n in self._counts.items()})

    def tell(self, asked: Asked, verdict: Verdict) -> dict[str, Any]:
        """Learn what became of one's own proposal; returns its system attributes, among them its generation."""
        asked.trial.set_constraint(LIMITS, verdict.violation)
        told = self._study.tell(asked.trial.number, list(verdict.values))
        return {**told.system_attrs, CONSTRAINT: verdict.violation}

    def learn(self, trials: Sequence[FrozenTrial]) -> None:
        """Learn from trials of other processes, or of an earlier run."""
        distributions = {name: self._rustuna.distributions.IntDistribution(0, n - 1) for name, n in self._counts.items()}
        for trial in trials:
            notes = {name: str(note) for name, note in trial.system_attrs.items()}  # it knows text alone
            known = {"values": trial.values, "params": trial.params, "distributions": distributions, "system_attrs": notes}
            self._study.add_trial(self._rustuna.create_trial(**known))


def _optuna(name: str, **options: Any) -> Callable[[int], optuna.samplers.BaseSampler]:
    return lambda seed: getattr(optuna.samplers, name)(seed=seed, **options)


SAMPLERS: dict[str, Callable[[int], optuna.samplers.BaseSampler] | None] = {
    "random": _optuna("RandomSampler"),
    "qmc": _optuna("QMCSampler", scramble=True, warn_asynchronous_seeding=False, warn_independent_sampling=False),
    "tpe": _optuna("TPESampler"),
    "cmaes": _optuna("CmaEsSampler", warn_independent_sampling=False),
    "gp": _optuna("GPSampler", deterministic_objective=True, warn_independent_sampling=False),
    "nsgaii": _optuna("NSGAIISampler"),
    "nsgaiii": _optuna("NSGAIIISampler"),
    "rustuna": None,
}
NEEDS = {"gp": ("torch", "gp"), "rustuna": ("rustuna", "rustuna")}  # sampler -> package, extra that brings it


def check_sampler(name: str, *, objectives: int, axes: int) -> None:
    """ValueError where there is no such sampler, its package is missing or it cannot do what is asked of it."""
    if name not in SAMPLERS:
        raise ValueError(f"--sampler: no sampler named {name!r}; {nearest(name, SAMPLERS)}")
    package, extra = NEEDS.get(name, ("optuna", ""))
    if find_spec(package) is None:
        raise ValueError(f"--sampler {name} needs the package {package}: pip install 'perflaw_jax[{extra}]'")
    if name == "cmaes" and objectives > 1:
        raise ValueError("--sampler cmaes has one objective only; with --multi take tpe, nsgaii, nsgaiii, gp, qmc or random")
    if name == "cmaes" and axes < 2:
        raise ValueError("--sampler cmaes needs two axes or more to choose on; take tpe")


def default_sampler(trials: int, *, objectives: int, axes: int) -> str:
    """What finds most in the time that so many trials take (see the README for the measurement)."""
    if trials > FEW and find_spec("rustuna") is not None:
        return "rustuna"
    if objectives > 1:
        return "nsgaii"
    return "tpe" if axes < 2 or trials <= FEW else "cmaes"


def batch_size(name: str) -> int:
    """Trials that are asked for and told together: few where each could learn much from the one before it."""
    return {"gp": 8, "cmaes": 16, "tpe": 32}.get(name, 64)


def make_proposer(name: str, counts: Mapping[str, int], directions: Sequence[Direction], seed: Sequence[int]) -> Proposer:
    """The sampler of that name; ``seed`` is any whole numbers, which are mixed."""
    mixed = int(np.random.SeedSequence(seed).generate_state(1)[0])
    make = SAMPLERS[name]
    if make is None:
        return RustunaProposer(counts, directions, mixed)
    with warnings.catch_warnings():  # that a sampler may still change in a later Optuna is not the user's concern
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return OptunaProposer(make(mixed), counts, directions)
