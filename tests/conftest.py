"""Strict numerics for every test, and the data that only a checkout beside ``shared`` has."""

import math
import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # read when jax is imported

import hypothesis
import jax
import pytest

from perflaw_jax import programs

ROOT = Path(__file__).resolve().parent.parent

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")

hypothesis.settings.register_profile("local", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "local")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Neighbouring tests stay in one process under ``-n``, as they share fixtures and compiled programs."""
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log) if config.getvalue("dist") == "load" else None


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of published runs and scores that are not part of the project."""
    path = ROOT.parent / "shared" / "data"
    if not path.is_dir():
        pytest.skip("no ../shared/data beside the repository: this test needs published data that the project does not ship")
    return path


@pytest.fixture
def nothing_compiled(monkeypatch) -> None:
    """Engines made in the test find no programs of earlier tests: their traces can be counted. Later tests find them again."""
    monkeypatch.setattr(programs, "_kept", lru_cache(programs._kept.__wrapped__))


@pytest.fixture(scope="session", autouse=True)
def patient() -> Iterator[None]:
    """Searches that give up after some seconds go on for as long as they take: what tests find is the same on every machine."""
    with pytest.MonkeyPatch.context() as patch:
        for module in ("perflaw_jax.optimum", "perflaw_jax.planner.solvers"):
            patch.setattr(f"{module}.PATIENCE", math.inf)
        yield
