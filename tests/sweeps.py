"""A small sweep to compute in shards: its compiled programs are shared, what a process learns is not."""

from copy import copy
from functools import cache
from pathlib import Path

from perflaw_jax.kept import Kept
from perflaw_jax.portion import Portion
from perflaw_jax.progress import silent
from perflaw_jax.runner import How, sweep_shard
from perflaw_jax.spec import parse_spec
from perflaw_jax.work import Work

SPEC = {
    "name": "small",
    "axes": {
        "num_hidden_layers": {"start": 16, "stop": 46, "step": 6},
        "hidden_size": {"start": 1024, "stop": 4096, "step": 256},
        "intermediate_size": {"ratio_to": "hidden_size", "values": [2.0, 3.5], "multiple_of": 256},
        "training_tokens": {"geometric": ["100B", "10T"], "num": 12},
    },
    "limits": {"training_flops": 1e23, "num_hidden_layers": {"min": 20}},
    "output": {"top": 20, "frontier": ["training_flops", "total_params"]},
}


@cache
def _compiled(rows: str) -> Work:
    return Work(parse_spec({**SPEC, "output": {**SPEC["output"], "rows": rows}}), devices=1)


def process(rows: str) -> Work:
    """A process that has not begun: it knows nothing but the spec."""
    work = copy(_compiled(rows))
    work.trusted = set()
    work.kept = Kept.empty(work.engine.problem, top=20, marginals=True, counts=True)
    work.ready = False
    return work


def sweep(rows: str, out: Path, portion: Portion | None = None, tick=silent, **how):
    """Sweep, or compute one shard, in a process of its own."""
    return sweep_shard(process(rows), out, tick, How(portion=portion, **how))


def files(directory) -> dict[str, bytes]:
    """Every file of a directory with what is in it."""
    return {f.relative_to(directory).as_posix(): f.read_bytes() for f in sorted(directory.rglob("*"), key=str) if f.is_file()}
