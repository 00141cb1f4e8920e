"""Shards joined are the result of one process, byte for byte, whoever computed them, in what order, however interrupted."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perflaw_jax import record as record_module
from perflaw_jax import shard as shard_module
from perflaw_jax.files import StoreError, write_json
from perflaw_jax.interrupt import Stopped
from perflaw_jax.lock import locked
from perflaw_jax.manifest import SEAL, difference, read_manifest, sealed, source_sha256
from perflaw_jax.portion import Portion
from perflaw_jax.progress import silent
from perflaw_jax.record import read_records
from perflaw_jax.runner import How, merge, run_sweep, sweep_shard
from perflaw_jax.settling import MarginExceeded
from perflaw_jax.spec import parse_spec
from perflaw_jax.verify import verify
from perflaw_jax.work import Work
from sweeps import SPEC, files, process, sweep

ROOT = Path(__file__).resolve().parent.parent
KINDS = ["none", "feasible", "compact"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What one undisturbed process writes, by the kind of rows."""
    written = {}
    for kind in KINDS:
        out = tmp_path_factory.mktemp(kind) / "whole"
        sweep(kind, out)
        written[kind] = files(out)
        assert verify(out) == []
    assert sum(name.startswith("rows/") for name in written["feasible"]) > 3
    return written


@pytest.fixture(autouse=True)
def every_tile_is_recorded(monkeypatch):
    monkeypatch.setattr(shard_module, "LEAST_PAUSE", 0.0)
    monkeypatch.setattr(shard_module, "PATIENCE", 0.0)


# --- sharding -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", KINDS)
@pytest.mark.parametrize("order", [[0], [1, 0], [2, 0, 1], [3, 6, 0, 2, 5, 1, 4], [*range(40)]])
def test_the_last_shard_joins_them(order, rows, whole, tmp_path):
    out, count = tmp_path / "out", len(order)
    for i in order[:-1]:
        outcome = sweep(rows, out, Portion(i, count))
        assert str(Portion(order[-1], count)) in outcome.missing and not read_manifest(out)["complete"]
    outcome = sweep(rows, out, Portion(order[-1], count))
    assert not outcome.missing and files(out) == whole[rows]
    counts = json.loads(whole[rows]["manifest.json"])["counts"]
    assert (outcome.counts.candidates, outcome.counts.feasible) == (counts["candidates"], counts["feasible"])


GRIDS = {
    "tokens": {"training_tokens": {"geometric": [1e10, 3e13], "num": 70_000}},
    "three": {"hidden_size": [*range(1024, 9216, 128)], "num_hidden_layers": [*range(2, 37)], "training_tokens": [1e12, 2e12]},
}


@pytest.mark.parametrize("axes", GRIDS.values(), ids=GRIDS)
def test_of_what_is_kept_each_lies_in_one_shard(axes, tmp_path):
    """And the shards of a grid with a single axis, which is both outermost and innermost, make up the whole."""
    fixed = {"num_hidden_layers": 32, "hidden_size": 4096, "intermediate_size": 14336, "training_tokens": 1e12}
    output = {"top": 50, "frontier": ["training_flops"]}
    spec = parse_spec(
        {"name": "few", "axes": axes, "fixed": {k: v for k, v in fixed.items() if k not in axes}, "output": output}
    )
    work = Work(spec, devices=1)
    work.make_ready()
    count = min(7, work.tiles)
    assert count > 1
    for i in range(count):
        sweep_shard(work, tmp_path / "shards", silent, How(portion=Portion(i, count)))
        parts = [work.kept_in(Portion(j, count)).tolist() for j in range(count)]
        assert sorted(sum(parts, [])) == sorted(set(work.kept.hopeful().tolist()))
    run_sweep(spec, tmp_path / "whole", how=How(devices=1))
    assert files(tmp_path / "shards") == files(tmp_path / "whole")


def test_each_shard_is_a_contiguous_part_of_the_outermost_axis(tmp_path):
    import pyarrow.parquet as pq

    out = tmp_path / "out"
    for i in (0, 2):
        sweep("feasible", out, Portion(i, 3))
    found = {record.index: record for record, _ in read_records(out)}
    layers = {}
    for i, record in found.items():
        parts = [pq.read_table(out / s.file.path)["num_hidden_layers"].to_pylist() for s in record.stretches if s.file]
        layers[i] = {n for part in parts for n in part}
    assert layers == {0: {22}, 2: {40, 46}}  # 16 layers are below the limit
    assert verify(out) == ["manifest.json: the run has not finished", "shards/shard-1-of-3: missing"]


def test_a_record_holds_what_is_kept_of_its_own_shard(tmp_path):
    for i in (0, 2):
        sweep("none", tmp_path, Portion(i, 3))
    work, found = process("none"), read_records(tmp_path)
    for record, ids in found:
        assert len(ids) and set(work._tiles_with(ids)) <= set(work.tiles_of(record.portion))
    assert len(found) == 2


@pytest.mark.parametrize("rows", KINDS)
def test_shards_of_several_directories_are_merged(rows, whole, tmp_path):
    places = [tmp_path / f"node{i}" for i in range(3)]
    for i, place in enumerate(places):
        sweep(rows, place, Portion(i, 3))
    before = {place: files(place) for place in places}
    with pytest.raises(StoreError, match="lacks shards 1/3; run them"):
        merge([places[0], places[2]], tmp_path / "two")
    outcome = merge(places, tmp_path / "out")
    assert files(tmp_path / "out") == whole[rows] and outcome.counts.candidates == process(rows).engine.problem.space.size
    assert {place: files(place) for place in places} == before
    merge(places, places[0])
    assert files(places[0]) == whole[rows]


def test_shards_of_another_run_are_not_merged(tmp_path):
    sweep("none", tmp_path / "a", Portion(0, 2))
    sweep("compact", tmp_path / "b", Portion(1, 2))
    with pytest.raises(StoreError, match="b holds another run: spec.output.rows is 'compact' there and 'none' here"):
        merge([tmp_path / "a", tmp_path / "b"], tmp_path / "a")


def test_a_damaged_part_is_not_merged(tmp_path):
    for i in range(2):
        sweep("feasible", tmp_path / str(i), Portion(i, 2))
    part = next((tmp_path / "1" / "rows").iterdir())
    part.write_bytes(part.read_bytes()[:-1] + b"x")
    with pytest.raises(StoreError, match=rf"{part.name} is damaged; run shard 1/2 again with --resume"):
        merge([tmp_path / "0", tmp_path / "1"], tmp_path / "out")


def test_a_missing_part_is_named_by_the_last_shard(whole, tmp_path):
    sweep("feasible", tmp_path, Portion(0, 2))
    part = next((tmp_path / "rows").iterdir())
    part.unlink()
    with pytest.raises(StoreError, match=rf"{part.name} is missing or damaged; run shard 0/2 again with --resume"):
        sweep("feasible", tmp_path, Portion(1, 2))
    sweep("feasible", tmp_path, Portion(0, 2), resume=True)
    assert files(tmp_path) == whole["feasible"]


def test_divisions_may_be_mixed_where_they_do_not_overlap(whole, tmp_path):
    sweep("feasible", tmp_path, Portion(0, 2))
    sweep("feasible", tmp_path, Portion(3, 4))
    outcome = sweep("feasible", tmp_path, resume=True)
    assert not outcome.missing and files(tmp_path) == whole["feasible"]


# --- interruptions ------------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """Nothing in the program expects this."""


def killed_at(moment):
    """Dies at the given tile."""

    def tick(*_):
        nonlocal moment
        moment -= 1
        if moment < 0:
            raise Killed

    return tick


@pytest.mark.parametrize("rows", KINDS)
@settings(max_examples=12)
@given(moments=st.lists(st.integers(0, 9), max_size=4), leave_record=st.booleans())
def test_interrupted_and_resumed_it_is_the_same(rows, moments, leave_record, whole, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "out"
    for moment in moments:
        try:
            sweep(rows, out, tick=killed_at(moment), resume=True)
        except Killed:
            if not leave_record:  # killed before it could be written
                shutil.rmtree(out / "shards", ignore_errors=True)
    sweep(rows, out, resume=True)
    assert files(out) == whole[rows]


@pytest.mark.parametrize("rows", KINDS)
def test_what_is_done_is_not_done_again(rows, tmp_path):
    told = []
    with pytest.raises(Killed):
        sweep(rows, tmp_path, tick=killed_at(3))
    ((record, _),) = read_records(tmp_path)
    sweep(rows, tmp_path, tick=lambda *now: told.append(now), resume=True)
    assert 0 < record.candidates < told[0][1] and len(told) == process(rows).tiles - len(record.tiles)


@pytest.mark.parametrize("rows", ["none", "feasible"])
def test_a_wish_to_stop_is_granted_after_the_current_write(rows, whole, tmp_path, monkeypatch, capsys):
    def tick(*_):
        signal.raise_signal(signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Stopped, match=r"out has \d+ % of the sweep: go on with --resume"):
        sweep(rows, tmp_path / "out", tick=tick)
    assert "finishing what is under way" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) == before
    assert verify(tmp_path / "out") == ["manifest.json: the run has not finished", "shards/shard-0-of-1: has not finished"]
    sweep(rows, tmp_path / "out", resume=True)
    assert files(tmp_path / "out") == whole[rows]


@pytest.mark.parametrize("others", [[], [Portion(3, 4)]])
def test_a_shard_that_is_stopped_does_not_say_that_it_is_done(others, whole, tmp_path, capsys):
    for portion in others:
        sweep("feasible", tmp_path, portion)
    with pytest.raises(Stopped, match=r"has \d+ % of shard 0/2: go on with --resume"):
        sweep("feasible", tmp_path, Portion(0, 2), lambda *_: signal.raise_signal(signal.SIGTERM))
    capsys.readouterr()
    assert "shards/shard-0-of-2: has not finished" in verify(tmp_path)
    sweep("feasible", tmp_path, resume=True)
    assert files(tmp_path) == whole["feasible"]


def test_a_process_killed_at_its_very_end_leaves_nothing_behind(whole, tmp_path, monkeypatch):
    from perflaw_jax import joining

    def dies(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(joining, "clear_records", dies)
        with pytest.raises(Killed):
            sweep("feasible", tmp_path)
    assert verify(tmp_path) == ["shards: left over by a run that was killed at its end; sweep --resume takes it away"]
    sweep("feasible", tmp_path, resume=True)
    assert files(tmp_path) == whole["feasible"]


def test_a_shard_that_was_joined_already_writes_no_record_any_more(whole, tmp_path, monkeypatch):
    real, joined = shard_module.write_record, []

    def write(directory, header, record, ids):
        real(directory, header, record, ids)
        if record.portion == Portion(0, 2) and record.complete and not joined:
            joined.append(sweep("none", tmp_path, Portion(1, 2)))  # another process comes in between, and is the last

    monkeypatch.setattr(shard_module, "write_record", write)
    outcome = sweep("none", tmp_path, Portion(0, 2))
    assert not joined[0].missing and not outcome.missing and files(tmp_path) == whole["none"]


def test_a_margin_that_was_too_narrow_begins_anew(whole, tmp_path, monkeypatch):
    real, calls = shard_module.run, []

    def run(engine, *arguments):
        calls.append(engine.margin)
        for i, tile in enumerate(real(engine, *arguments)):
            if i == 2 and len(calls) == 1:
                raise MarginExceeded
            yield tile

    monkeypatch.setattr(shard_module, "run", run)
    sweep("none", tmp_path)
    assert calls[1] == 10 * calls[0] and files(tmp_path) == whole["none"]


def test_a_resumed_run_does_not_search_at_a_narrower_margin(tmp_path):
    with pytest.raises(Killed):
        sweep("none", tmp_path, tick=killed_at(3))
    ((record, ids),) = read_records(tmp_path)
    header = json.dumps({k: v for k, v in read_manifest(tmp_path).items() if k not in ("complete", "shards", SEAL)})
    record_module.write_record(tmp_path, header, record.model_copy(update={"margin": 0.5}), ids)
    work = process("none")
    work.engine.margin, before = 1e-5, work.engine.margin
    from perflaw_jax.runner import How, silent, sweep_shard

    sweep_shard(work, tmp_path, silent, How(resume=True))
    assert work.engine.margin >= 0.5
    work.engine.margin = before


# --- what is kept -------------------------------------------------------------------------------------------------------


@pytest.fixture
def unfinished(tmp_path):
    """A run with rows that was killed half way."""
    with pytest.raises(Killed):
        sweep("feasible", tmp_path / "out", tick=killed_at(4))
    return tmp_path / "out"


@pytest.mark.parametrize("harm", ["flip", "truncate", "remove"])
def test_parts_that_are_not_as_they_were_written_are_computed_again(harm, unfinished, whole):
    parts = sorted((unfinished / "rows").iterdir())
    content = parts[1].read_bytes()
    if harm == "flip":
        parts[1].write_bytes(content[:100] + bytes([content[100] ^ 8]) + content[101:])
    elif harm == "truncate":
        os.truncate(parts[1], 50)
    else:
        parts[1].unlink()
    (problem,) = [p for p in verify(unfinished) if p.startswith("rows/")]
    assert problem.startswith(f"rows/{parts[1].name}: ")
    sweep("feasible", unfinished, resume=True)
    assert files(unfinished) == whole["feasible"]


@pytest.mark.parametrize("portion", [None, Portion(1, 2)])
def test_rows_of_another_shard_that_were_damaged_are_not_joined(portion, whole, tmp_path):
    sweep("feasible", tmp_path, Portion(0, 2))
    part = sorted((tmp_path / "rows").iterdir())[0]
    content = part.read_bytes()
    part.write_bytes(content[:100] + bytes([content[100] ^ 8]) + content[101:])
    if portion:
        with pytest.raises(StoreError, match=f"{part.name} is missing or damaged; run shard 0/2 again with --resume"):
            sweep("feasible", tmp_path, portion, resume=True)
        sweep("feasible", tmp_path, Portion(0, 2), resume=True)
    else:
        sweep("feasible", tmp_path, resume=True)
    assert files(tmp_path) == whole["feasible"]


@pytest.mark.parametrize("change", [{"sha256": "0" * 64}, {"rows": 7}, {"path": "rows/part-0000-9999.parquet"}])
def test_a_manifest_that_says_otherwise_is_written_anew(change, whole, tmp_path):
    sweep("feasible", tmp_path)
    manifest = read_manifest(tmp_path)
    (shard, *_) = [shard for shard in manifest["shards"] if shard["path"].startswith("rows/")]
    shard |= change
    write_json(tmp_path / "manifest.json", sealed(manifest))
    sweep("feasible", tmp_path, resume=True)
    assert files(tmp_path) == whole["feasible"]


def test_shards_of_others_are_not_lost_by_forgetting_to_resume(whole, tmp_path):
    sweep("none", tmp_path, Portion(0, 2))
    with pytest.raises(StoreError, match="holds 1 shards of this sweep: go on with --resume, or start anew with --force"):
        sweep("none", tmp_path)
    sweep("none", tmp_path, force=True)
    assert files(tmp_path) == whole["none"]


@pytest.mark.parametrize("how", [{"resume": True}, {"portion": Portion(0, 2)}, {"portion": Portion(0, 2), "resume": True}])
def test_results_of_a_search_are_no_sweep(how, tmp_path):
    from perflaw_jax.exact_runner import run_exact

    run_exact(parse_spec(SPEC), tmp_path)
    before = files(tmp_path)
    with pytest.raises(StoreError, match="holds another run: it is of a search by exact, not of a sweep"):
        sweep("none", tmp_path, **how)
    assert files(tmp_path) == before


def test_complete_results_are_not_merged(whole, tmp_path):
    sweep("none", tmp_path / "a")
    with pytest.raises(StoreError, match="a holds complete results: there is nothing to merge"):
        merge([tmp_path / "a"], tmp_path / "b")
    assert not (tmp_path / "b").exists()
    merge([tmp_path / "a"], tmp_path / "a")
    manifest = read_manifest(tmp_path / "a")
    write_json(tmp_path / "a" / "manifest.json", sealed({k: v for k, v in manifest.items() if k != "spec"}))
    with pytest.raises(StoreError, match="a holds no sweep"):
        merge([tmp_path / "a"], tmp_path / "a")


def test_a_damaged_record_is_as_good_as_none(unfinished, whole):
    (record,) = (unfinished / "shards").iterdir()
    os.truncate(record, 100)
    assert "shards/shard-0-of-1.parquet: damaged" in verify(unfinished)
    sweep("feasible", unfinished, resume=True)
    assert files(unfinished) == whole["feasible"]


def test_a_manifest_that_is_lost_takes_no_shard_with_it(unfinished, whole):
    (unfinished / "manifest.json").unlink()
    with pytest.raises(StoreError, match="holds no perflaw results; choose another --out"):
        sweep("feasible", unfinished)
    ticks = []
    sweep("feasible", unfinished, tick=lambda *now: ticks.append(now), resume=True)
    assert files(unfinished) == whole["feasible"]
    assert ticks[0][1] > process("feasible").engine.problem.space.size / 4  # it did not start anew


def test_what_stands_in_the_way_is_named(whole, tmp_path):
    sweep("none", tmp_path)
    (tmp_path / "top.parquet").unlink()
    (tmp_path / "top.parquet").mkdir()
    with pytest.raises(StoreError, match=r"cannot remove .*top\.parquet: Is a directory"):
        sweep("none", tmp_path, resume=True)
    (tmp_path / "top.parquet").rmdir()
    sweep("none", tmp_path, resume=True)
    assert files(tmp_path) == whole["none"]


def test_a_finished_run_is_kept_and_a_damaged_one_repaired(whole, tmp_path):
    sweep("feasible", tmp_path)
    stamps = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.parquet")}
    outcome = sweep("feasible", tmp_path, resume=True)
    assert {file: file.stat().st_mtime_ns for file in stamps} == stamps
    assert outcome.counts.feasible == json.loads(whole["feasible"]["manifest.json"])["counts"]["feasible"]
    assert len(outcome.top["score"]) == 20 and outcome.frontier_points > 10
    parts = sorted((tmp_path / "rows").iterdir())
    os.truncate(parts[0], 50)
    parts[2].unlink()
    sweep("feasible", tmp_path, resume=True)
    assert files(tmp_path) == whole["feasible"]
    kept = [file for file, stamp in stamps.items() if file.stat().st_mtime_ns == stamp]
    assert len(kept) == len(stamps) - 2  # nothing else was touched
    os.truncate(parts[1], 50)
    (tmp_path / "top.parquet").write_bytes(b"PAR1")
    sweep("feasible", tmp_path, resume=True)
    assert files(tmp_path) == whole["feasible"]


def test_without_resume_it_starts_anew(unfinished, whole):
    told = []
    sweep("feasible", unfinished, tick=lambda *now: told.append(now))
    assert len(told) == process("feasible").tiles and files(unfinished) == whole["feasible"]


def changed(work, **header):
    work.header = json.dumps(json.loads(work.header) | header)
    return work


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"device": "gpu (H100)"}, "device is 'cpu (cpu)' there and 'gpu (H100)' here"),
        ({"spec_sha256": "ab"}, "spec_sha256 is "),
        ({"law": {"name": "kaplan"}}, "law.name is 'performance-dense' there and 'kaplan' here"),
        ({"versions": {"jax": "9.9"}}, "versions.jax is "),
        ({"source_sha256": "ab"}, "source_sha256 is "),
    ],
)
def test_a_changed_run_is_refused_with_the_difference(change, words, unfinished, whole):
    from perflaw_jax.runner import How, silent, sweep_shard

    before = files(unfinished)
    with pytest.raises(StoreError) as refused:
        sweep_shard(changed(process("feasible"), **change), unfinished, silent, How(resume=True))
    assert words in str(refused.value) and "--force" in str(refused.value)
    with pytest.raises(StoreError, match="holds another run"):
        sweep_shard(changed(process("feasible"), **change), unfinished, silent, How(portion=Portion(0, 2)))
    assert files(unfinished) == before
    sweep_shard(changed(process("feasible"), **change), unfinished, silent, How(resume=True, force=True))
    assert difference(read_manifest(unfinished), change) is None and verify(unfinished) == []


def test_a_commit_that_leaves_the_package_as_it_was_changes_nothing(unfinished, whole, monkeypatch):
    monkeypatch.setattr("perflaw_jax.store.git_state", lambda _: {"commit": "another", "dirty": True})
    sweep("feasible", unfinished, resume=True)
    assert read_manifest(unfinished)["git"] == {"commit": "another", "dirty": True} and verify(unfinished) == []
    now = files(unfinished)
    assert now.keys() == whole["feasible"].keys()
    assert {name for name in now if now[name] != whole["feasible"][name]} == {"manifest.json"}


def test_the_source_is_what_is_in_its_files_and_their_names(tmp_path):
    (tmp_path / "a.py").write_text("1")
    first = source_sha256(tmp_path)
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "a.pyc").write_text("compiled")
    assert source_sha256(tmp_path) == first
    (tmp_path / "a.py").write_text("2")
    second = source_sha256(tmp_path)
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    assert len({first, second, source_sha256(tmp_path)}) == 3


def test_a_changed_spec_is_told_by_its_key(tmp_path):
    sweep("none", tmp_path)
    other = parse_spec({**SPEC, "limits": {**SPEC["limits"], "training_flops": 2e23}})
    from perflaw_jax.runner import How

    with pytest.raises(StoreError, match=r"spec.limits.training_flops.max is 1e\+23 there and 2e\+23 here"):
        run_sweep(other, tmp_path, how=How(resume=True))


# --- two writers --------------------------------------------------------------------------------------------------------

HOLD = """
import sys
from pathlib import Path
from perflaw_jax.lock import locked
with locked(Path(sys.argv[1]), *sys.argv[2:]):
    print("held", flush=True)
    sys.stdin.read()
"""


def holding(directory, *name):
    """Another process that holds a lock until its input ends, or it is killed."""
    command = [sys.executable, "-c", HOLD, str(directory), *name]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    assert other.stdout.readline() == "held\n"
    return other


def test_a_second_process_is_refused_until_the_first_is_gone_however_it_went(whole, tmp_path):
    sweep("none", tmp_path)
    with holding(tmp_path) as other:
        with pytest.raises(StoreError, match=rf"being written by another process \(pid {other.pid} on .*\); wait for it"):
            sweep("none", tmp_path)
        with pytest.raises(StoreError, match="being written by another process"):
            sweep("none", tmp_path, Portion(0, 2), resume=True)
        other.kill()
    assert (tmp_path / ".lock").exists()  # nobody was left to take it away
    sweep("none", tmp_path)
    assert files(tmp_path) == whole["none"]


def test_shards_work_side_by_side_but_not_two_on_one(whole, tmp_path):
    sweep("none", tmp_path, Portion(0, 2))
    with holding(tmp_path, "shard-1-of-2") as other:
        with pytest.raises(StoreError, match="being written by another process"):
            sweep("none", tmp_path, Portion(1, 2))
        other.kill()
    with locked(tmp_path, shared=True):  # as another shard does
        with pytest.raises(StoreError, match="being written"):
            sweep("none", tmp_path)
    sweep("none", tmp_path, Portion(1, 2))
    assert files(tmp_path) == whole["none"]


@pytest.mark.parametrize("method", ["curve", "exact", "optuna"])
def test_curves_and_searches_are_alone_too(method, tmp_path):
    from perflaw_jax.curve_runner import run_curve
    from perflaw_jax.exact_runner import run_exact
    from perflaw_jax.optuna_runner import Plan, run_optuna

    spec, ticks = parse_spec(SPEC), []

    def tick(*_):
        ticks.append(_)
        with pytest.raises(StoreError, match="being written"), locked(tmp_path):
            pass

    def run():
        if method == "curve":
            return run_curve(spec, tmp_path, "training_flops", [1e22], tick)
        return run_exact(spec, tmp_path, tick=tick) if method == "exact" else run_optuna(spec, tmp_path, Plan(trials=4), tick)

    with locked(tmp_path), pytest.raises(StoreError, match="being written by another process"):
        run()
    assert not any(tmp_path.iterdir())
    run()
    assert ticks and verify(tmp_path) == [] and not [*tmp_path.glob(".*")]


def test_a_lock_is_gone_when_it_is_left(tmp_path):
    with locked(tmp_path, shared=True), locked(tmp_path, shared=True), locked(tmp_path, "other"):
        assert {file.name for file in tmp_path.iterdir()} == {".lock", ".other.lock"}
    assert not any(tmp_path.iterdir())


# --- devices ------------------------------------------------------------------------------------------------------------

DEVICES = """
import json, sys
from pathlib import Path
import jax
from perflaw_jax.runner import How, run_sweep
from perflaw_jax.spec import parse_spec
spec = json.loads(sys.argv[1])
for rows in ("none", "feasible"):
    spec["output"]["rows"] = rows
    for count in (1, 8, 3):
        run_sweep(parse_spec(spec), Path(sys.argv[2]) / f"{rows}-{count}", how=How(devices=count))
try:
    run_sweep(parse_spec(spec), Path(sys.argv[2]) / "nine", how=How(devices=9))
except ValueError as error:
    print(error)
"""


def test_eight_devices_write_what_one_does(tmp_path):
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", DEVICES, json.dumps(SPEC), str(tmp_path)]
    done = subprocess.run(command, env={**os.environ, **flags}, capture_output=True, text=True)
    assert done.stdout == "--devices: must be 1 to 8, the devices of this host, not 9\n", done.stderr
    for rows in ("none", "feasible"):
        one = files(tmp_path / f"{rows}-1")
        assert files(tmp_path / f"{rows}-8") == one == files(tmp_path / f"{rows}-3")
        assert len(one) > 3
