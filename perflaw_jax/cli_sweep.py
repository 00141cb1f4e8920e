"""The commands that sweep a grid, join its shards and check what they wrote."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from perflaw_jax import answers
from perflaw_jax.cli_common import FAILED, INFEASIBLE, Json, Place, Settings, Spec, fail

if TYPE_CHECKING:
    from perflaw_jax.cluster import Cluster
    from perflaw_jax.portion import Portion
    from perflaw_jax.reduce import Counts
    from perflaw_jax.runner import Outcome


def sweep(
    spec_file: Spec,
    out: Annotated[
        str | None, typer.Option(metavar="DIR", help="Result directory or URL (s3://...); results/<name> if not given.")
    ] = None,
    settings: Settings = None,
    devices: Annotated[int | None, typer.Option(help="Devices of this host to use; all if not given.")] = None,
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="Compute part I (from 0) of N; SLURM and Open MPI say it by themselves.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Keep what an interrupted run has finished.")] = False,
    force: Annotated[bool, typer.Option("--force", help="With --resume: start anew where something has changed.")] = False,
    cluster: Annotated[str | None, typer.Option(metavar="ENGINE", help="ray or slurm: compute the shards as its jobs.")] = None,
    shards: Annotated[int | None, typer.Option(min=1, max=10**6, help="With --cluster: how many; else what suits.")] = None,
    cluster_option: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="An option of the cluster's jobs, e.g. num_gpus=1.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Score every candidate of a grid under hard limits; write the best, the frontier and, if asked, all rows to Parquet."""
    from perflaw_jax.files import as_place
    from perflaw_jax.spec import load_spec

    spec = load_spec(spec_file, settings or ())
    where = as_place(out or f"results/{spec.name}")
    if cluster is not None and shard is not None:
        raise ValueError("--shard: with --cluster, say with --shards how many there are to be")
    if cluster is not None and devices is not None:
        raise ValueError("--devices: with --cluster, a job takes the devices that its options give it, e.g. num_gpus=1")
    if cluster is None and (shards is not None or cluster_option):
        raise ValueError("--shards and --cluster-option go with --cluster; --shard i/n computes one shard here")
    portion = None if cluster else _portion(shard)
    from perflaw_jax import progress
    from perflaw_jax.runner import How, run_sweep

    jobs = _cluster(cluster, cluster_option or ()) if cluster is not None else None
    how = How(portion=portion, resume=resume, force=force, devices=devices)
    with progress.shown(spec.name, spec.space().size, as_json) as tick:
        if jobs is None:
            outcome = run_sweep(spec, where, tick, how)
        else:
            from perflaw_jax.cluster import run_on

            outcome = run_on(jobs, spec, where, shards, how, tick)
    _answer(outcome, as_json)


def _answer(outcome: Outcome, as_json: bool) -> None:
    answers.swept(outcome, as_json)
    if not outcome.counts.feasible and not outcome.missing:
        raise typer.Exit(fail(_infeasible(outcome.counts), INFEASIBLE))


def _portion(shard: str | None) -> Portion | None:
    """The shard that is asked for, or that the scheduler says, which is told: a part is easily taken for the whole."""
    from perflaw_jax.portion import from_scheduler, parse_portion

    if shard is not None:
        portion = parse_portion(shard)
        return None if portion.count == 1 else portion
    if found := from_scheduler():
        print(f"shard {found[0]}, by {found[1]}; --shard 0/1 is the whole grid", file=sys.stderr)
        return found[0]
    return None


def _cluster(engine: str, pairs: Iterable[str]) -> Cluster:
    """The cluster that is asked for; ValueError for another, or for options that it does not take."""
    from perflaw_jax.design import nearest

    options = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (equals and name.strip() and value.strip()):
            raise ValueError(f"--cluster-option: write KEY=VALUE such as num_gpus=1, not {pair!r}")
        options[name.strip()] = value.strip()
    if engine == "ray":
        from perflaw_jax.cluster_ray import RayCluster

        return RayCluster(options)
    if engine == "slurm":
        from perflaw_jax.cluster_slurm import SlurmCluster

        return SlurmCluster(options)
    raise ValueError(f"--cluster: no engine named {engine!r}; {nearest(engine, ('ray', 'slurm'))}")


def _infeasible(counts: Counts) -> str:
    cut = ", ".join(f"{name} cuts {n:,}" for name, n in sorted(counts.cut.items(), key=lambda item: -item[1]) if n)
    return f"none of {counts.candidates:,} candidates satisfies the limits: {cut or 'no finite score'}"


def merge(
    directories: Annotated[list[str], typer.Argument(metavar="DIR...", help="Where the shards of one sweep were written.")],
    out: Annotated[str | None, typer.Option(metavar="DIR", help="Where to join them; the first DIR if not given.")] = None,
    as_json: Json = False,
) -> None:
    """Join the shards of a sweep to the result that one process would have written, byte for byte."""
    from perflaw_jax.files import as_place

    places = [as_place(directory) for directory in directories]
    from perflaw_jax.runner import merge as merge_in

    _answer(merge_in(places, as_place(out) if out else places[0]), as_json)


def verify(directory: Place, as_json: Json = False) -> None:
    """Check every file of a result directory against its manifest."""
    from perflaw_jax.files import as_place
    from perflaw_jax.manifest import read_manifest
    from perflaw_jax.verify import verify as problems_of

    place = as_place(directory)
    problems = problems_of(place)
    if as_json:
        answers.machine({"directory": directory, "sound": not problems, "problems": problems})
    else:
        for problem in problems:
            print(problem)
    if problems:
        raise typer.Exit(FAILED)
    if not as_json:
        files = read_manifest(place)["shards"]
        print(f"{directory}: sound; {len(files)} files, {sum(file['rows'] for file in files):,} rows")
