"""Shards as jobs of a SLURM array, by way of submitit: a preempted job is requeued and goes on where it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from perflaw_jax.cluster import Job, options_of

FOLDER = Path("perflaw-jobs")  # submitit's own files and the jobs' logs
DAY = 24 * 60  # minutes


class _Run:
    """A job in the form that submitit takes again after a preemption."""

    def __call__(self, job: Job) -> None:
        job()

    def checkpoint(self, job: Job) -> Any:
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, job)


class SlurmCluster:
    """Jobs of SLURM.

    ``options`` are submitit's parameters: ``slurm_partition``, ``timeout_min`` (a day), ``gpus_per_node``, ``cpus_per_task``,
    ``slurm_array_parallelism`` ...; and ``cluster``, which may be ``local`` for processes of this machine.
    """

    slots = 4

    def __init__(self, options: Mapping[str, str]):
        try:
            import submitit
        except ImportError:
            raise ValueError("--cluster slurm needs the package submitit: pip install 'perflaw_jax[slurm]'") from None
        kind = options.get("cluster", "slurm")
        chosen = {"timeout_min": DAY} | options_of({n: v for n, v in options.items() if n != "cluster"})
        try:
            self._executor = submitit.AutoExecutor(folder=str(FOLDER), cluster=kind)
            self._executor.update_parameters(**chosen)
        except (RuntimeError, ValueError, NameError, AssertionError, TypeError) as error:
            raise ValueError(f"--cluster slurm: {' '.join(str(error).split())}") from error

    def submit(self, jobs: Sequence[Job]) -> Sequence[Any]:
        """Hand over jobs as one array; returns a handle for each."""
        return self._executor.map_array(_Run(), jobs)

    def ended(self, handle: Any) -> bool:
        """Whether a job is over; a requeued one is not."""
        return handle.done()

    def failure(self, handle: Any) -> Exception | None:
        """What an ended job failed with, if it did."""
        return handle.exception()

    def stop(self, handles: list[Any]) -> str:
        """Leave the jobs alone: that a terminal was closed is no reason to lose them."""
        return "its jobs go on, and the last of them joins the shards"
