"""Shards as jobs: of a real Ray cluster that loses a node, of submitit's local executor, of a cluster that fails as told."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from perflaw_jax import cluster as cluster_module
from perflaw_jax.cluster import RETRIES, run_on
from perflaw_jax.cluster_slurm import SlurmCluster
from perflaw_jax.files import StoreError
from perflaw_jax.interrupt import Stopped
from perflaw_jax.runner import How, run_sweep
from perflaw_jax.spec import parse_spec
from sweeps import SPEC, files, process

ROOT = Path(__file__).resolve().parent.parent
FEASIBLE = {**SPEC, "output": {**SPEC["output"], "rows": "feasible"}}


class SimpleHandle:
    def __init__(self, job):
        self.job, self.failure = job, None


class Inline:
    """Runs each job when it is asked after; fails those of ``plan`` as often as it says, some after they have begun."""

    slots = 1

    def __init__(self, plan=(), *, late=False, error=None):
        self.plan, self.late, self.error = dict(plan), late, error or RuntimeError("node died\nlast words")
        self.submitted, self.stopped = [], []

    def submit(self, jobs):
        self.submitted += [job.portion.index for job in jobs]
        return [SimpleHandle(job) for job in jobs]

    def ended(self, handle):
        job = handle.job
        left = self.plan.get(job.portion.index, 0)
        self.plan[job.portion.index] = left - 1
        if left <= 0 or self.late:
            job()
        handle.failure = self.error if left > 0 else None
        return True

    def failure(self, handle):
        return handle.failure

    def stop(self, handles):
        self.stopped = [handle.job.portion.index for handle in handles]
        return "its jobs were stopped"


@pytest.fixture(autouse=True)
def compiled_once(monkeypatch, tmp_path):
    monkeypatch.setattr(cluster_module, "_work", lambda spec: process(json.loads(spec)["output"]["rows"]))
    monkeypatch.setattr(cluster_module, "POLL", 0.0)
    monkeypatch.setattr(cluster_module, "PAUSE", 0.0)
    monkeypatch.setattr(cluster_module, "LOOK", 0.0)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "out"
    run_sweep(parse_spec(FEASIBLE), out)
    return files(out)


def run(cluster, out, count=5, spec=FEASIBLE, tick=lambda *_: None, **how):
    return run_on(cluster, parse_spec(spec), out, count, How(**how), tick)


def test_jobs_write_what_one_process_does(whole, tmp_path):
    told = []
    outcome = run(Inline(), tmp_path / "out", tick=lambda *now: told.append(now))
    assert files(tmp_path / "out") == whole
    assert outcome.counts.candidates == told[-1][1] == 1872 and told[-1][0] == 1.0 and told[-1][3:] == (0, 0)
    assert len(outcome.top["score"]) == 20 and outcome.frontier_points > 10


@pytest.mark.parametrize("late", [False, True])
def test_jobs_that_fail_are_handed_over_again(late, whole, tmp_path):
    told, cluster = [], Inline({1: 1, 3: RETRIES}, late=late)
    run(cluster, tmp_path / "out", tick=lambda *now: told.append(now))
    assert files(tmp_path / "out") == whole
    assert told[-1][3:] == (1 + RETRIES, 1 + RETRIES) and sorted(cluster.submitted) == [0, 1, 1, 2, *[3] * (1 + RETRIES), 4]


def test_one_that_fails_again_and_again_is_told_and_the_rest_is_kept(whole, tmp_path):
    with pytest.raises(StoreError, match="shard 2/5 failed: last words; its jobs were stopped; go on with --resume"):
        run(Inline({2: 99}), tmp_path / "out")
    cluster = Inline()
    run(cluster, tmp_path / "out", count=None, resume=True)
    assert sorted(cluster.submitted) == [0, 1, 2, 3, 4]  # the same division
    assert files(tmp_path / "out") == whole


def test_a_mistake_of_the_user_is_not_tried_again(tmp_path):
    cluster = Inline({0: 99}, error=ValueError("law: no law named 'mylaw:score'"))
    with pytest.raises(StoreError, match="shard 0/5 failed: law: no law named"):
        run(cluster, tmp_path / "out")
    assert cluster.submitted.count(0) == 1


def test_a_driver_that_is_stopped_says_what_becomes_of_the_jobs(whole, tmp_path, capsys):
    with pytest.raises(Stopped, match="its jobs were stopped; go on with --resume"):
        run(Inline({4: 1}), tmp_path / "out", tick=lambda *_: signal.raise_signal(signal.SIGTERM))
    run(Inline(), tmp_path / "out", resume=True)
    assert files(tmp_path / "out") == whole
    capsys.readouterr()


def test_without_resume_it_starts_anew_and_with_it_a_finished_run_is_kept(whole, tmp_path):
    run(Inline(), tmp_path / "out")
    cluster = Inline()
    run(cluster, tmp_path / "out", resume=True)
    assert cluster.submitted == []
    run(cluster, tmp_path / "out", count=3)
    assert cluster.submitted == [0, 1, 2] and files(tmp_path / "out") == whole


def test_results_of_another_spec_are_left_alone_unless_forced(whole, tmp_path):
    run_sweep(parse_spec(SPEC), tmp_path / "out")
    before = files(tmp_path / "out")
    with pytest.raises(StoreError, match="holds the results of another spec 'small'"):
        run(Inline(), tmp_path / "out")
    assert files(tmp_path / "out") == before
    run(Inline(), tmp_path / "out", force=True)
    assert files(tmp_path / "out") == whole


def test_a_changed_spec_is_not_resumed(whole, tmp_path):
    run(Inline(), tmp_path / "out")
    other = {**FEASIBLE, "limits": {**FEASIBLE["limits"], "training_flops": 1e22}}
    cluster = Inline()
    with pytest.raises(StoreError, match="limits.training_flops.max is "):
        run(cluster, tmp_path / "out", spec=other, resume=True)
    assert cluster.submitted == [] and files(tmp_path / "out") == whole
    run(Inline(), tmp_path / "out", spec=SPEC, resume=True, force=True)
    run_sweep(parse_spec(SPEC), tmp_path / "alone")
    assert files(tmp_path / "out") == files(tmp_path / "alone")


def test_damaged_results_are_computed_anew(whole, tmp_path):
    run(Inline(), tmp_path / "out")
    (tmp_path / "out" / "top.parquet").write_bytes(b"PAR1")
    run(Inline(), tmp_path / "out", resume=True)
    assert files(tmp_path / "out") == whole


def test_a_failure_is_told_by_the_line_that_says_what_went_wrong(tmp_path):
    text = "Job failed\nTraceback:\n  File x\nperflaw_jax.spec.SpecError: law: no such law\n- /log/1019_0_log.out"
    with pytest.raises(StoreError, match=r"shard 0/5 failed: perflaw_jax.spec.SpecError: law: no such law; its jobs"):
        run(cluster := Inline({0: 99}, error=RuntimeError(text)), tmp_path / "out")
    assert cluster.submitted.count(0) == 1


def test_a_fitted_law_is_found_beside_the_driver(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(cluster_module, "sweep_shard", lambda *_: seen.append(os.getcwd()))
    (tmp_path / "elsewhere").mkdir()
    job = cluster_module.Job("{}", "out", cluster_module.Portion(0, 1), str(tmp_path))
    monkeypatch.setattr(cluster_module, "_work", lambda spec: None)
    sys.path.append(str(tmp_path))
    monkeypatch.chdir(tmp_path / "elsewhere")
    job()
    assert seen == [str(tmp_path)]


# --- SLURM --------------------------------------------------------------------------------------------------------------

LAW = """
import os, time
from pathlib import Path
import jax.numpy as jnp

HERE = Path(__file__).parent

def score(design):
    return 10 * jnp.log(design.num_hidden_layers) + jnp.log(design.training_tokens)

if doomed := (HERE / "doomed").exists() and (HERE / "doomed").read_text():
    if MINE == doomed:
        (HERE / "starting").write_text(str(os.getpid()))
        (HERE / "starting").rename(HERE / "reached")
        while (HERE / "doomed").exists():
            time.sleep(0.05)
"""


def folder_with_law(folder: Path, mine: str, doomed: str) -> dict:
    (folder / "mylaw.py").write_text(f"{mine}\n{LAW}")
    if doomed:
        (folder / "doomed").write_text(doomed)
    return {**FEASIBLE, "law": "mylaw:score"}


@pytest.mark.parametrize("interrupted", [False, True])
def test_jobs_of_submitit_and_one_that_is_preempted(interrupted, tmp_path, monkeypatch):
    """The local executor runs each job as a process; preempted, it stands for one that SLURM requeues."""
    mine = "MINE = os.environ.get('SUBMITIT_LOCAL_JOB_ID') and 'a job'"
    spec = folder_with_law(tmp_path, f"import os\n{mine}", "a job" if interrupted else "")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{tmp_path}")
    monkeypatch.setattr(cluster_module, "POLL", 0.05)
    cluster = SlurmCluster({"cluster": "local"})

    def tick(*_):
        if (tmp_path / "reached").exists() and (tmp_path / "doomed").exists():
            os.kill(int((tmp_path / "reached").read_text()), signal.SIGUSR2)  # as SLURM warns before it takes a node away
            (tmp_path / "doomed").unlink()

    run(cluster, tmp_path / "out", count=1, spec=spec, tick=tick)
    run_sweep(parse_spec(spec), tmp_path / "whole")
    assert files(tmp_path / "out") == files(tmp_path / "whole")
    logs = "".join(file.read_text() for file in (tmp_path / "perflaw-jobs").glob("*_log.*"))
    assert ("this job is preempted" in logs) == interrupted, logs


@pytest.mark.parametrize(("options", "words"), [({}, "slurm cluster"), ({"cluster": "local", "nodse": "2"}, "nodse")])
def test_what_slurm_cannot_take_is_one_line(options, words):
    with pytest.raises(ValueError, match=f"--cluster slurm: .*{words}"):
        SlurmCluster(options)


# --- Ray ----------------------------------------------------------------------------------------------------------------

RAY = """
import json, os, sys
from pathlib import Path
import ray
from ray.cluster_utils import Cluster

nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
doomed = nodes.add_node(num_cpus=1)
nodes.add_node(num_cpus=1)
nodes.wait_for_nodes()
ray.init(address=nodes.address, log_to_driver=False, logging_level="ERROR")
Path("doomed").write_text(doomed.node_id)

from perflaw_jax.cluster import run_on
from perflaw_jax.cluster_ray import RayCluster
from perflaw_jax.runner import How
from perflaw_jax.spec import parse_spec

told = []
def tick(*now):
    told.append(now)
    if Path("reached").exists() and Path("doomed").exists():
        nodes.remove_node(doomed, allow_graceful=False)
        Path("doomed").unlink()

cluster = RayCluster({})
outcome = run_on(cluster, parse_spec(json.loads(sys.argv[1])), Path("out"), 6, How(), tick)
ray.shutdown()
nodes.shutdown()
print(json.dumps({"slots": cluster.slots, "last": told[-1], "feasible": outcome.counts.feasible}))
"""


ON_A_NODE = """
import jax, ray
MINE = ray.is_initialized() and ray.get_runtime_context().get_node_id()
if MINE and ray.get_runtime_context().worker.mode == ray.WORKER_MODE:
    open("threads", "a").write("waits " if not jax.config.read("jax_cpu_enable_async_dispatch") else "goes ahead ")
"""


def test_a_ray_cluster_of_three_nodes_loses_one(tmp_path):
    spec = folder_with_law(tmp_path, ON_A_NODE, "")
    paths = f"{ROOT}{os.pathsep}{tmp_path}"
    environment = {**os.environ, "PYTHONPATH": paths, "JAX_PLATFORMS": "cpu", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
    command = [sys.executable, "-c", RAY, json.dumps(spec)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["slots"] == 3 and told["last"][3:] == [1, 1] and told["last"][0] == 1.0
    assert set((tmp_path / "threads").read_text().split()) == {"waits"}  # of one CPU each, which the host shares
    whole = subprocess.run(
        [sys.executable, "-c", WHOLE, json.dumps(spec)], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert whole.returncode == 0, whole.stderr
    assert files(tmp_path / "out") == files(tmp_path / "whole")


WHOLE = """
import json, sys
from pathlib import Path
from perflaw_jax.runner import run_sweep
from perflaw_jax.spec import parse_spec
run_sweep(parse_spec(json.loads(sys.argv[1])), Path("whole"))
"""


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_a_cluster_that_nobody_answers_for_is_told_at_once(scheme):
    from perflaw_jax.cluster_ray import RayCluster

    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"{scheme}127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(StoreError, match=f"nobody answers at {address}: .*refused"):
            RayCluster({"address": address})


@pytest.mark.parametrize("engine", ["ray", "slurm"])
def test_a_package_that_is_missing_is_named(engine, monkeypatch):
    from perflaw_jax.cluster_ray import RayCluster

    monkeypatch.setitem(sys.modules, {"ray": "ray", "slurm": "submitit"}[engine], None)
    with pytest.raises(ValueError, match=rf"pip install 'perflaw_jax\[{engine}\]'"):
        {"ray": RayCluster, "slurm": SlurmCluster}[engine]({})
