"""Studies that outlive their process: totals kept exactly, orphans, other specs, storages that fail, several processes."""

import signal
import subprocess
import tomllib
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import optuna
import pyarrow.parquet as pq
import pytest
from brute import Brute
from postgres import server
from processes import started

from perflaw_jax.catalogue import find_law
from perflaw_jax.columns import Columns
from perflaw_jax.engine import Engine
from perflaw_jax.files import StoreError
from perflaw_jax.job import make_problem
from perflaw_jax.optuna_runner import Plan, run_optuna
from perflaw_jax.proposals import Choices
from perflaw_jax.sampled import Judge, search
from perflaw_jax.samplers import make_proposer
from perflaw_jax.spec import load_spec, parse_spec
from perflaw_jax.storages import drop_unfinished_line, opened, shown
from perflaw_jax.studies import IDENTITY, Stored, Told, opened_study
from perflaw_jax.verify import verify

TEXT = """
name = "small"
[axes]
num_hidden_layers = { start = 8, stop = 40, step = 4 }
hidden_size       = { start = 512, stop = 4096, step = 256 }
intermediate_size = { ratio_to = "hidden_size", values = [2.0, 3.5] }
training_tokens   = { geometric = ["10B", "10T"], num = 30 }
[limits]
training_flops = 1e22
total_params   = "3B"
[output]
top      = 7
frontier = ["training_flops"]
"""


@pytest.fixture
def here(tmp_path):
    (tmp_path / "small.toml").write_text(TEXT)
    return tmp_path


def start(where, *arguments):
    """A search in a process of its own."""
    return started("search", "small.toml", "--method", "optuna", *arguments, cwd=where)


@contextmanager
def study_of(storage, name="small"):
    """The study as any user of Optuna opens it."""
    with opened(storage) as backend:
        yield optuna.load_study(study_name=name, storage=backend)


def trials_of(storage, name="small"):
    with study_of(storage, name) as study:
        return study.trials


def complete(storage, name="small"):
    return [t for t in trials_of(storage, name) if t.state == optuna.trial.TrialState.COMPLETE]


@pytest.fixture(scope="module")
def judge():
    spec = parse_spec(tomllib.loads(TEXT))
    problem = make_problem(spec, find_law(spec.law))
    return Judge(Columns(Engine(problem), spec.budget), Choices(problem.space, (), problem.limits))


@pytest.fixture
def go_on(judge):
    """Bring a study to a total of trials, as ``run_optuna`` does, without compiling anew; returns the ids of all."""

    def run(total, storage, name="small", sampler="random", seed=None):
        with opened_study(storage, name, {"spec_sha256": "0"}, ["maximize"]) as study:
            stored = Stored(study, storage, judge.choices.counts, judge.problem.space.size, total)
            seeds = [len(study.trials) if seed is None else seed]
            return search(judge, make_proposer(sampler, judge.choices.counts, ["maximize"], seeds), stored)

    return run


def check_trials(storage, judge):
    """Every trial tells what its candidate is worth by brute force."""
    brute = Brute(judge.problem)
    for trial in complete(storage):
        id = trial.user_attrs["candidate_id"]
        assert (trial.constraints["limits"] <= 0) == brute.feasible[id]
        assert not brute.feasible[id] or trial.value == pytest.approx(brute.evaluation.score[id], rel=1e-12)
        fields = {axis.field: brute.quantities[axis.field][id] for axis in judge.problem.space.axes}
        assert trial.user_attrs["design"] == fields


def check_results(out, storage, judge):
    """The results are what the trials of the study come to."""
    brute = Brute(judge.problem)
    ids = [t.user_attrs["candidate_id"] for t in complete(storage)]
    rows = pq.read_table(out / "trials.parquet")
    assert rows["candidate_id"].to_pylist() == ids
    assert rows["feasible"].to_pylist() == brute.feasible[ids].tolist()
    assert pq.read_table(out / "top.parquet")["candidate_id"].to_pylist() == [i for i in brute.ranked if i in {*ids}][:7]
    assert verify(out) == []


@pytest.fixture(params=["sqlite:///study.db", "journal:study.txt", "study.log"])
def storage(request, here, monkeypatch):
    monkeypatch.chdir(here)
    return request.param


def run(trials, storage=None, **more):
    return run_optuna(load_spec("small.toml"), Path("out"), Plan(trials=trials, sampler="random", storage=storage, **more))


def test_a_study_goes_on_where_it_was(storage, go_on, judge):
    go_on(20, storage)
    first = complete(storage)
    ids = go_on(45, storage)
    assert complete(storage)[:20] == first and len(complete(storage)) == 45 and len({*ids}) > 40
    check_trials(storage, judge)
    assert go_on(30, storage) == ids  # reached already: nothing to do
    assert len(trials_of(storage)) == 45


@pytest.mark.parametrize("sampler", ["cmaes", "nsgaii", "rustuna"])
def test_what_was_told_is_learnt_again(sampler, here, monkeypatch, go_on):
    """A sampler that goes on does not begin with random trials again, as a new one does."""
    pytest.importorskip("rustuna" if sampler == "rustuna" else "optuna")
    monkeypatch.chdir(here)
    go_on(200, "study.log", sampler=sampler, seed=0)
    go_on(250, "study.log", sampler=sampler, seed=1)
    go_on(50, "other.log", sampler=sampler, seed=1)
    again, new = (np.array([t.value for t in complete(name)]) for name in ("study.log", "other.log"))
    assert again[200:].mean() > new.mean() + 5


def test_orphans_and_strangers_do_not_count(storage, go_on):
    go_on(10, storage)
    with study_of(storage) as study:
        study.ask()  # of a process that is gone
        theirs = study.ask({"x": optuna.distributions.FloatDistribution(0, 1)})
        study.tell(theirs, 1e9)
    assert len(go_on(30, storage)) == 30
    states = [t.state.name for t in trials_of(storage)]
    assert states.count("COMPLETE") == 31 and states.count("FAIL") == 1 and "RUNNING" not in states


def test_the_total_is_kept_although_others_reach_it_first(storage, go_on, judge):
    """Another process finishes the study between the look and the claim."""
    go_on(10, storage)
    with study_of(storage) as study:
        late = Stored(study, storage, judge.choices.counts, judge.problem.space.size, 12)
        assert late.missing() == 2
        go_on(11, storage)
        late.add([Told(dict.fromkeys(judge.choices.counts, 1), (1.0,), i, {}, {}) for i in (1, 2)])
        assert late.missing() == 0 and len(late.ids()) == len(complete(storage)) == 12
    assert [t.state.name for t in trials_of(storage)][-1] == "FAIL"


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A directory with the results of a search and its study."""
    where = tmp_path_factory.mktemp("stored")
    (where / "small.toml").write_text(TEXT)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(where)
        run(20, "study.log", study="mine")
    return where


def test_results_and_identity(stored, monkeypatch, judge):
    monkeypatch.chdir(stored)
    with study_of("study.log", "mine") as study:
        identity = study.user_attrs[IDENTITY]
        assert study.best_trial.constraints == {"limits": 0.0}
        ids = [t.user_attrs["candidate_id"] for t in study.trials]
    assert identity["spec_sha256"] == load_spec("small.toml").sha256() and identity["law"]["name"] == "performance-dense"
    assert pq.read_table("out/trials.parquet")["candidate_id"].to_pylist() == ids and len(ids) == 20
    assert verify(Path("out")) == []


@pytest.mark.parametrize(
    ("settings", "plan", "said"),
    [
        (["limits.training_flops=2e22"], {}, "limits.training_flops.max is 1e+22 there, 2e+22 here"),
        (["law_settings.gamma=1.5"], {}, "law.coefficients.gamma is 1 there, 1.5 here"),
        ([], {"cell": ("hidden_size",)}, "cell is [] there, ['hidden_size'] here"),
        ([], {"multi": True}, "multi is false there, true here"),
    ],
)
def test_a_study_of_something_else_is_refused(settings, plan, said, stored, monkeypatch):
    monkeypatch.chdir(stored)
    before = trials_of("study.log", "mine")
    with pytest.raises(ValueError) as error:
        run_optuna(load_spec("small.toml", settings), Path("new"), Plan(trials=9, storage="study.log", study="mine", **plan))
    assert str(error.value) == f"--study: 'mine' searches something else: {said}; choose another name"
    assert trials_of("study.log", "mine") == before and not Path("new").exists()


def test_a_study_of_someone_else_is_refused(here, monkeypatch):
    monkeypatch.chdir(here)
    with opened("study.log") as backend:
        optuna.create_study(study_name="small", storage=backend).optimize(lambda trial: 1.0, 1)
    with pytest.raises(ValueError, match="was not made by perflaw search"):
        run(5, "study.log")


@pytest.mark.parametrize(
    ("storage", "kind", "said"),
    [
        ("sqlite:///absent/study.db", StoreError, "unable to open database file"),
        ("absent/study.log", StoreError, "No such file"),
        ("postgresql://me:secret@127.0.0.1:1/x", StoreError, "refused"),
        ("garbage.log", StoreError, "garbage.log"),
        ("sqlite:///garbage.log", StoreError, "not a database"),
        ("mysql://me@host/x", ValueError, "allowed: sqlite:///FILE"),
        ("study", ValueError, "allowed: sqlite:///FILE"),
        ("postgresql+nodriver://host/x", ValueError, "not a database URL"),
        ("postgresql+psycopg2://host/x", ValueError, "perflaw_jax[postgres]"),
        ("postgresql://host:port/x", ValueError, "not a database URL"),
    ],
)
def test_storages_that_cannot_be_used(storage, kind, said, here, monkeypatch):
    monkeypatch.chdir(here)
    Path("garbage.log").write_text("this is no journal\nat all\n" * 50)
    with pytest.raises(kind) as error:
        run(5, storage)
    assert said in str(error.value) and "secret" not in str(error.value) and "\n" not in str(error.value)
    assert not Path("out").exists() and Path("garbage.log").read_text().startswith("this is")


def test_a_password_is_not_shown():
    assert shown("postgresql://me:secret@host/x") == "postgresql://me:***@host/x"
    assert "secret" not in shown("postgresql://me:secret@host:port/x")


@pytest.mark.parametrize("text", ["", "a\n", "a\nb", "b", "a\n\n", "x" * 99])
def test_an_unfinished_line_is_dropped(text, tmp_path):
    path = tmp_path / "journal"
    path.write_text(text)
    with path.open("r+b") as file:
        drop_unfinished_line(file)
    assert path.read_text() == text[: text.rfind("\n") + 1]


def test_a_journal_cut_in_the_middle_of_a_line_goes_on(here, monkeypatch, go_on, judge):
    monkeypatch.chdir(here)
    go_on(20, "study.log")
    Path("study.log").write_bytes(Path("study.log").read_bytes()[:-25])
    go_on(25, "study.log")
    assert len(complete("study.log")) == 25
    check_trials("study.log", judge)


@pytest.mark.parametrize("storage", ["sqlite:///study.db", "study.log"])
def test_a_killed_search_goes_on(storage, here, monkeypatch, judge):
    monkeypatch.chdir(here)
    kept = []
    for least in (1, 70):  # killed in the middle of the first batch of 64, and of a later one
        process = start(here, "--trials", 5000, "--sampler", "random", "--storage", storage, "--out", "out")
        target = len(kept) + least
        wait(process, lambda target=target: len(finished(storage)) >= target)
        process.kill()
        process.communicate()
        assert complete(storage)[: len(kept)] == kept
        kept = complete(storage)
    run(len(kept) + 10, storage)
    assert len(complete(storage)) == len(kept) + 10 and complete(storage)[: len(kept)] == kept
    assert not [t for t in trials_of(storage) if not t.state.is_finished()]
    check_trials(storage, judge)
    check_results(Path("out"), storage, judge)


def wait(process, until):
    """Wait until something has happened, or the process has ended; between two looks the CPU is the process's."""
    while not until():
        try:
            process.wait(timeout=0.05)
        except subprocess.TimeoutExpired:
            continue
        return


def finished(storage, name="small"):
    """The finished trials of a study that another process may be making just now."""
    try:
        return complete(storage, name)
    except (KeyError, StoreError):
        return []


def test_ctrl_c_leaves_a_study_that_goes_on(here, monkeypatch):
    monkeypatch.chdir(here)
    process = start(here, "--trials", 100_000, "--sampler", "random", "--storage", "study.log")
    wait(process, lambda: Path("study.log").exists() and len(finished("study.log")) > 20)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert (process.returncode, out) == (1, "")
    assert err.splitlines()[-1] == "perflaw: stopped; the same command goes on where study 'small' in study.log was left"
    assert not Path("results/small-optuna").exists()
    done = len(complete("study.log"))
    run(done + 5, "study.log")
    assert len(complete("study.log")) == done + 5


@pytest.fixture(scope="module")
def postgresql():
    pytest.importorskip("psycopg", reason="no psycopg, the driver of PostgreSQL: pip install 'perflaw_jax[postgres]'")
    with server() as url:
        yield url


def test_two_processes_share_a_study_on_postgresql(postgresql, here, judge):
    both = [start(here, "--trials", 150, "--sampler", "random", "--storage", postgresql) for _ in range(2)]
    for process in both:
        out, err = process.communicate()
        assert process.returncode == 0, err
        assert "150 trials by random" in out
    assert len(complete(postgresql)) == 150
    assert len({t.user_attrs["process"] for t in complete(postgresql)}) == 2
    assert not [t for t in trials_of(postgresql) if not t.state.is_finished()]
    check_trials(postgresql, judge)
    check_results(here / "results" / "small-optuna", postgresql, judge)


def test_a_search_killed_on_postgresql_goes_on(postgresql, here):
    process = start(here, "--trials", 5000, "--sampler", "random", "--storage", postgresql, "--study", "killed")
    wait(process, lambda: len(finished(postgresql, "killed")) >= 5)
    process.kill()
    process.communicate()
    kept = complete(postgresql, "killed")
    size = parse_spec(tomllib.loads(TEXT)).space().size
    counts = {name: d.high + 1 for name, d in kept[0].distributions.items()}
    with study_of(postgresql, "killed") as study:
        assert Stored(study, postgresql, counts, size, len(kept) + 3).missing() == 3
    assert not [t for t in trials_of(postgresql, "killed") if not t.state.is_finished()]
