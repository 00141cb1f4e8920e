"""The finished trials of a search: kept in memory, or in an Optuna study that survives the process and may be shared.

A trial is stored when it is finished, as a whole, so a killed process loses at most the batch that it was working on. To keep
to the total exactly, a process claims a trial first (for a moment it is RUNNING), and gives it up (FAIL) where others have
reached the total meanwhile. A claim whose process has died is given up by whoever looks next.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple, Protocol

import optuna
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from perflaw_jax.samplers import Direction
from perflaw_jax.spec_values import show
from perflaw_jax.storages import opened, reaching, shown

ID, DESIGN, OWNER = "candidate_id", "design", "process"  # user attributes of a trial
IDENTITY = "perflaw"  # user attribute of a study: what it searches
LONGEST_SPEC = 50_000  # characters that are kept in it; of a longer one the hash must do
ABANDONED = timedelta(minutes=1)  # for a claim, which lasts milliseconds
POLL = 0.05  # seconds between looks at what others have claimed


class Told(NamedTuple):
    """A finished trial."""

    params: dict[str, int]
    values: tuple[float, ...]
    candidate_id: int
    fields: dict[str, float]  # the candidate's values on the axes, for a reader of the study
    notes: dict[str, Any]  # system attributes: what the sampler wants to know again, and the constraint


class Finished(Protocol):
    """Where finished trials are kept."""

    def missing(self) -> int:
        """How many trials there are to do; 0 once the total is reached for good."""
        ...

    def news(self) -> list[FrozenTrial]:
        """Finished trials that this process neither made nor saw yet."""
        ...

    def add(self, trials: Sequence[Told]) -> None:
        """Keep finished trials."""
        ...

    def ids(self) -> list[int]:
        """The candidate ids of all finished trials, in the order of the trials."""
        ...


class InMemory:
    """Finished trials of this process alone."""

    def __init__(self, total: int):
        self._total, self._ids = total, []

    def missing(self) -> int:
        """How many trials there are to do."""
        return self._total - len(self._ids)

    def news(self) -> list[FrozenTrial]:
        """Nothing: there is no other process."""
        return []

    def add(self, trials: Sequence[Told]) -> None:
        """Keep finished trials."""
        self._ids += [told.candidate_id for told in trials]

    def ids(self) -> list[int]:
        """The candidate ids of all finished trials."""
        return self._ids


class Stored:
    """Finished trials in an Optuna study, shared with whatever other process works on it."""

    def __init__(self, study: optuna.Study, storage: str, counts: Mapping[str, int], size: int, total: int):
        """The study and the name of its storage, what there is to choose from, how many candidates, how many trials."""
        self._storage, self._study_id = study._storage, study._study_id
        self._reaching = partial(reaching, storage)
        self._distributions: dict[str, BaseDistribution] = {name: IntDistribution(0, n - 1) for name, n in counts.items()}
        self._size, self._total = size, total
        self._mine: set[int] = set()
        self._seen = 0  # trials below this number are finished, and learnt from

    def missing(self) -> int:
        """How many trials there are to do; waits while others hold the last claims, and gives up those of the dead."""
        while True:
            trials = self._trials()
            claims = [t for t in trials if t.state == TrialState.RUNNING]
            for orphan in filter(_orphaned, claims):
                self._finish(orphan._trial_id, TrialState.FAIL)
            claimed = sum(not _orphaned(t) for t in claims)
            missing = self._total - sum(map(self._ours, trials)) - claimed
            if missing > 0 or not claimed:
                return max(0, missing)
            time.sleep(POLL)

    def news(self) -> list[FrozenTrial]:
        """Finished trials that this process neither made nor saw yet."""
        trials = self._trials()
        fresh = [t for t in trials[self._seen :] if t.number not in self._mine and self._ours(t)]
        self._mine |= {t.number for t in fresh}
        while self._seen < len(trials) and trials[self._seen].state.is_finished():
            self._seen += 1
        return fresh

    def add(self, trials: Sequence[Told]) -> None:
        """Keep finished trials, as many as the total still has room for."""
        for told in trials:
            attributes = {ID: told.candidate_id, DESIGN: told.fields, OWNER: _process()}
            claim = create_trial(
                state=TrialState.RUNNING,
                params=told.params,
                distributions=self._distributions,
                user_attrs=attributes,
                system_attrs=told.notes,
            )
            with self._reaching():
                trial = self._storage.create_new_trial(self._study_id, claim)
                number = self._storage.get_trial_number_from_id(trial)
            self._mine.add(number)
            if self._has_room(number):
                self._finish(trial, TrialState.COMPLETE, told.values)
            else:
                self._finish(trial, TrialState.FAIL)

    def ids(self) -> list[int]:
        """The candidate ids of all finished trials, in the order of the trials."""
        return [t.user_attrs[ID] for t in self._trials() if self._ours(t)]

    def _has_room(self, number: int) -> bool:
        """Whether fewer than the total were finished or claimed before this trial: all processes agree on that."""
        if number < self._total:
            return True
        before = [t for t in self._trials() if t.number < number]
        return sum(self._ours(t) or t.state == TrialState.RUNNING for t in before) < self._total

    def _finish(self, trial: int, state: TrialState, values: Sequence[float] | None = None) -> None:
        with self._reaching(), suppress(optuna.exceptions.UpdateFinishedTrialError):  # someone else did
            self._storage.set_trial_state_values(trial, state, values)

    def _trials(self) -> list[FrozenTrial]:
        with self._reaching():
            return self._storage.get_all_trials(self._study_id, deepcopy=False)

    def _ours(self, trial: FrozenTrial) -> bool:
        """Whether it is a finished trial of this search; what someone else put into the study is passed over."""
        id = trial.user_attrs.get(ID)
        complete = trial.state == TrialState.COMPLETE and trial.distributions == self._distributions
        return complete and type(id) is int and 0 <= id < self._size


@contextmanager
def opened_study(
    storage: str, name: str, identity: Mapping[str, Any], directions: Sequence[Direction]
) -> Iterator[optuna.Study]:
    """The study of that name, made if there is none; ValueError where it searches something else."""
    with opened(storage) as backend:
        with reaching(storage):
            study = optuna.create_study(storage=backend, study_name=name, directions=list(directions), load_if_exists=True)
            known = study.user_attrs.get(IDENTITY)
            if known is None and not study.get_trials(deepcopy=False):
                study.set_user_attr(IDENTITY, _kept(identity))
                known = _kept(identity)
        if not isinstance(known, dict):
            raise ValueError(f"--study: {name!r} in {shown(storage)} was not made by perflaw search; choose another name")
        if known != _kept(identity):
            raise ValueError(f"--study: {name!r} searches something else: {_difference(known, identity)}; choose another name")
        yield study


def _kept(identity: Mapping[str, Any]) -> dict[str, Any]:
    """What of the identity is stored, as JSON gives it back."""
    short = len(json.dumps(identity)) <= LONGEST_SPEC
    return json.loads(json.dumps({key: value for key, value in identity.items() if short or key != "spec"}))


def _difference(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> str:
    there, here = dict(_flat(theirs)), dict(_flat(_kept(ours)))
    for key in sorted({*there, *here} - {"spec_sha256"}):
        if there.get(key) != here.get(key):
            return f"{key.removeprefix('spec.')} is {show(there.get(key))} there, {show(here.get(key))} here"
    return "another spec"


def _flat(value: Any, key: str = "") -> list[tuple[str, Any]]:
    if not isinstance(value, dict) or not value:
        return [(key, value)]
    return [item for name, inner in value.items() for item in _flat(inner, f"{key}.{name}" if key else name)]


def _process() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def _orphaned(trial: FrozenTrial) -> bool:
    """Whether a claim has lost its process; a claim is held for milliseconds, and this process holds none while it looks."""
    if trial.datetime_start is None or datetime.now() - trial.datetime_start > ABANDONED:
        return True
    host, _, pid = str(trial.user_attrs.get(OWNER, "")).rpartition(":")
    if host != socket.gethostname():
        return not host  # nobody's: not made by a search
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError):
        return True
    except PermissionError:
        return False  # another user's process
    return int(pid) == os.getpid()
