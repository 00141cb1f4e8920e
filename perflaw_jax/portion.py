"""Which part of a sweep a process is to do: one of n shards, as it is told or as its scheduler says."""

import os
import re
from collections.abc import Mapping
from typing import NamedTuple

MOST = 10**6


class Portion(NamedTuple):
    """Shard ``index`` (from 0) of ``count``: a contiguous part of the grid, outermost axis first.

    >>> [Portion(i, 3).of(8) for i in range(3)]
    [range(0, 2), range(2, 5), range(5, 8)]
    """

    index: int = 0
    count: int = 1

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @property
    def name(self) -> str:
        """As it is called in names of files; sorts as it counts."""
        digits = len(str(self.count))
        return f"shard-{self.index:0{digits}}-of-{self.count}"

    def of(self, units: int) -> range:
        """The numbers of its units, where there are ``units`` of them in all; perhaps none."""
        return range(self.index * units // self.count, (self.index + 1) * units // self.count)


WHOLE = Portion()


def parse_portion(text: str) -> Portion:
    """``"i/n"`` with i from 0 to n - 1; n/n is taken for 0/n, for schedulers that count from 1. ValueError otherwise.

    >>> parse_portion("2/8"), parse_portion("8/8")
    (Portion(index=2, count=8), Portion(index=0, count=8))
    """
    found = re.fullmatch(r"\s*(\d{1,7})\s*/\s*(\d{1,7})\s*", text)
    index, count = map(int, found.groups()) if found else (0, 0)
    if not (1 <= count <= MOST and index <= count):
        raise ValueError(f"--shard: write i/n with i from 0 to n - 1 and n from 1 to {MOST:,}, not {text!r}")
    return Portion(index % count, count)


def portion_of(environment: Mapping[str, str]) -> tuple[Portion, str] | None:
    """The portion that SLURM or Open MPI variables tell, and their names; None where they tell of one process alone.

    A job array of jobs of several tasks has as many shards as there are tasks in all. ValueError where the variables are there
    and make no division of the grid, as those of a part of an array that was submitted again.

    >>> portion_of({"SLURM_PROCID": "1", "SLURM_NTASKS": "4"})
    (Portion(index=1, count=4), 'SLURM_PROCID and SLURM_NTASKS')
    """
    task = _pair(environment, "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE")
    task = task or _pair(environment, "SLURM_PROCID", "SLURM_NTASKS")
    array = _array(environment)
    if array and task:
        (a, named), (t, others) = array, task
        return Portion(a.index * t.count + t.index, a.count * t.count), f"{named}, {others}"
    return array or task


def _pair(environment: Mapping[str, str], rank: str, size: str) -> tuple[Portion, str] | None:
    if not (environment.get(rank) and environment.get(size)):
        return None
    index, count = _whole(environment, rank), _whole(environment, size)
    if not 0 <= index < count:
        raise ValueError(f"{rank}={index} with {size}={count} is no shard: say which one with --shard i/n (0/1: all)")
    return (Portion(index, count), f"{rank} and {size}") if count > 1 else None


def _array(environment: Mapping[str, str]) -> tuple[Portion, str] | None:
    rank, size = "SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT"
    if not (environment.get(rank) and environment.get(size)):
        return None
    task, count = _whole(environment, rank), _whole(environment, size)
    first = _whole(environment, "SLURM_ARRAY_TASK_MIN", 0)
    step = _whole(environment, "SLURM_ARRAY_TASK_STEP", 1)
    last = _whole(environment, "SLURM_ARRAY_TASK_MAX", first + (count - 1) * step)
    whole_array = step > 0 and last == first + (count - 1) * step and task in range(first, last + 1, step)
    if not whole_array or (count == 1 and task > 1):
        raise ValueError(f"{rank}={task} with {size}={count} is no shard of a whole array: say which one with --shard i/n")
    return (Portion((task - first) // step, count), f"{rank} and {size}") if count > 1 else None


def _whole(environment: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = environment.get(name)
    if text is None and default is not None:
        return default
    try:
        return int(text or "")
    except ValueError:
        raise ValueError(f"{name} is no whole number but {text!r}: say which shard with --shard i/n") from None


def from_scheduler() -> tuple[Portion, str] | None:
    """``portion_of`` the environment of this process."""
    return portion_of(os.environ)
