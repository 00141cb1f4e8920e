"""Shards as Ray tasks."""

from __future__ import annotations

import logging
import os
import re
import socket
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from perflaw_jax.cluster import Job, options_of
from perflaw_jax.files import StoreError

PATIENCE = 5.0  # seconds for a cluster to answer


class RayCluster:
    """Tasks of the Ray cluster at ``address`` (or ``RAY_ADDRESS``), or of one that is started on this machine.

    ``options`` are Ray's own for a task: ``num_cpus`` (1), ``num_gpus`` (1 where the cluster has any), ``resources`` ... JAX is
    held to ``num_cpus`` threads; for one, the host waits while they work. A task of a dead node fails, and is handed over again
    by ``cluster.run_on``.
    """

    def __init__(self, options: Mapping[str, str]):
        try:
            import ray
        except ImportError:
            raise ValueError("--cluster ray needs the package ray: pip install 'perflaw_jax[ray]'") from None
        chosen = options_of({name: value for name, value in options.items() if name != "address"})
        if taken := sorted(chosen.keys() & {"max_retries", "runtime_env"}):
            raise ValueError(f"--cluster-option {taken[0]}: is set by perflaw; other options of a Ray task may be given")
        self._ray = ray
        if not ray.is_initialized():
            _check_answers(options.get("address") or os.environ.get("RAY_ADDRESS", ""))
            ray.init(address=options.get("address"), log_to_driver=False, include_dashboard=False, logging_level=logging.ERROR)
        have = ray.cluster_resources()
        cpus = chosen.setdefault("num_cpus", 1)
        gpus = chosen.setdefault("num_gpus", 1 if have.get("GPU") else 0)
        if not (isinstance(cpus, int | float) and isinstance(gpus, int | float) and cpus >= 0 and gpus >= 0):
            raise ValueError(f"--cluster-option: num_cpus and num_gpus are numbers, not {cpus!r} and {gpus!r}")
        self.slots = max(1, int(have.get("GPU", 0) // gpus if gpus else have.get("CPU", 1) // max(cpus, 1)))
        threads = {name: str(max(1, int(cpus))) for name in ("PJRT_NPROC", "NPROC")}
        runtime = {"env_vars": {**threads, **({} if gpus else {"JAX_PLATFORMS": "cpu"})}}
        if cpus > have.get("CPU", 0) or gpus > have.get("GPU", 0):
            asked, there = _told(cpus, gpus), _told(have.get("CPU", 0), have.get("GPU", 0))
            print(f"a shard asks for {asked}, the cluster has {there}: waiting for nodes", file=sys.stderr)
        try:
            self._remote = ray.remote(_run_alone if cpus <= 1 and not gpus else _run).options(
                max_retries=0, runtime_env=runtime, **chosen
            )
        except (TypeError, ValueError) as error:
            raise ValueError(f"--cluster ray: {' '.join(str(error).split())}") from error

    def submit(self, jobs: Sequence[Job]) -> Sequence[Any]:
        """Hand over jobs; returns a handle for each."""
        return [self._remote.remote(job) for job in jobs]

    def ended(self, handle: Any) -> bool:
        """Whether a task is over."""
        return bool(self._ray.wait([handle], timeout=0)[0])

    def failure(self, handle: Any) -> Exception | None:
        """What an ended task failed with, if it did."""
        from ray.exceptions import RayTaskError

        try:
            self._ray.get(handle)
        except RayTaskError as error:
            return error.cause if isinstance(error.cause, Exception) else error
        except Exception as error:  # the worker or its node died
            return error
        return None

    def stop(self, handles: list[Any]) -> str:
        """Stop the tasks: they record what they have finished."""
        for handle in handles:
            self._ray.cancel(handle)
        return "its tasks were stopped"


def _check_answers(address: str) -> None:
    """``StoreError`` where nobody listens at an address that names a host and a port: Ray would wait for minutes."""
    place = re.fullmatch(r"(?:ray://)?(.+):(\d+)", address)
    if place is None:
        return
    try:
        socket.create_connection((place[1].strip("[]"), int(place[2])), PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise StoreError(f"--cluster ray: nobody answers at {address}: {error}") from error


def _told(cpus: float, gpus: float) -> str:
    return f"{cpus:g} CPUs and {gpus:g} GPUs"


def _run(job: Job) -> None:
    job()


def _run_alone(job: Job) -> None:
    """Run a job on one core: one ahead of the device, the host would take a second one from another worker."""
    import jax

    jax.config.update("jax_cpu_enable_async_dispatch", False)
    job()
