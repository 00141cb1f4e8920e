"""A sweep that is killed, stopped or out of disk space, as a process, loses nothing: resumed, it is byte for byte the same.

``PERFLAW_KILLS`` says how many times it is killed; ``make faults`` asks for 50.
"""

import os
import random
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from processes import PERFLAW, started

from perflaw_jax.verify import verify
from sweeps import files

KILLS = int(os.environ.get("PERFLAW_KILLS", "6"))
SPEC = """
name = "faults"
[axes]
num_hidden_layers = { start = 16, stop = 124, step = 1 }
hidden_size       = { start = 1024, stop = 8192, step = 128 }
intermediate_size = { ratio_to = "hidden_size", values = [2.0, 3.5], multiple_of = 256 }
training_tokens   = { geometric = ["100B", "10T"], num = 1024 }
[limits]
training_flops = 1e24
[output]
rows = "feasible"
"""
DEADLY = """
import itertools, os, signal, sys
calls, fatal = itertools.count(1), int(sys.argv.pop(1))

def deadly(real):
    def call(*arguments, **named):
        if next(calls) == fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **named)
    return call

for name in ("fsync", "replace", "unlink", "rmdir"):
    setattr(os, name, deadly(getattr(os, name)))
"""


def start(out: Path, *arguments: str, fatal: int | None = None) -> subprocess.Popen:
    """The command as a process; with ``fatal`` it is killed at that call of what makes files safe or takes them away."""
    arguments = ("sweep", out.parent / "faults.toml", "--out", out, *arguments)
    return started(*arguments) if fatal is None else started(fatal, *arguments, script=DEADLY + PERFLAW)


def finish(process: subprocess.Popen) -> tuple[int, str]:
    _, err = process.communicate()
    return process.returncode, err


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A folder with the spec."""
    folder = tmp_path_factory.mktemp("faults")
    (folder / "faults.toml").write_text(SPEC)
    return folder


@pytest.fixture(scope="module")
def seconds(here):
    """How long an undisturbed run takes."""
    begin = time.monotonic()
    assert finish(start(here / "whole"))[0] == 0
    return time.monotonic() - begin


@pytest.fixture(scope="module")
def whole(here, seconds):
    """What an undisturbed run writes."""
    return files(here / "whole")


def test_the_sweep_is_worth_killing(whole):
    parts = [name for name in whole if name.startswith("rows/")]
    assert len(parts) > 30 and sum(len(whole[name]) for name in parts) > 10_000_000


def test_killed_at_any_moment_nothing_is_lost_or_doubled(here, whole, seconds):
    """By the clock, and in the middle of making a file safe, in turns; whenever a run gets through, the next begins anew.

    Killed after its manifest is whole and before its records are gone, a run leaves these over, and verify tells so.
    """
    expected = re.compile(
        r"manifest\.json: the run has not finished|shards/.*: (has not finished|missing)|shards: left over by .*"
    )
    moments, out = random.Random(20261122), here / "killed"
    kills = completed = 0
    while kills < KILLS or not completed:
        by_clock = kills % 2 == 0
        process = start(out, "--resume", fatal=None if by_clock else moments.randint(1, 60))
        try:
            process.wait(moments.uniform(0.2, 1) * seconds if by_clock and kills < KILLS else None)
        except subprocess.TimeoutExpired:
            process.kill()
        code, err = finish(process)
        assert code in (0, -signal.SIGKILL), err
        if code == 0:
            assert files(out) == whole
            shutil.rmtree(out)
            completed += 1
        else:
            kills += 1
            if out.exists() and (out / "manifest.json").exists():
                assert all(map(expected.fullmatch, verify(out))), verify(out)
    print(f"\nkilled {kills} times, {completed} runs got through, each byte for byte the same")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_process_that_is_told_to_stop_says_how_to_go_on(number, here, whole):
    out = here / f"stopped-{number}"
    process = start(out, fatal=None)
    while process.poll() is None and not any((out / "rows").glob("part-*")):
        pass
    process.send_signal(number)
    code, err = finish(process)
    assert code == 1, err
    finishing, last = err.splitlines()[-2:]
    assert finishing == "perflaw: finishing what is under way; once more to stop at once"
    assert re.fullmatch(rf"perflaw: stopped; {out} has \d+ % of the sweep: go on with --resume", last)
    assert verify(out) == ["manifest.json: the run has not finished", "shards/shard-0-of-1: has not finished"]
    assert not [*out.rglob(".*")]
    assert finish(start(out, "--resume"))[0] == 0
    assert files(out) == whole


@pytest.fixture
def small_disk(here):
    """A file system of a few megabytes."""
    disk = here / "disk"
    disk.mkdir(exist_ok=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no right to mount a small file system here: {mounted.stderr.strip()}")
    shutil.copy(here / "faults.toml", disk)
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_full_disk_is_told_and_what_was_written_is_kept(small_disk, whole):
    out = small_disk / "out"
    code, err = finish(start(out))
    assert code == 1
    way_out = "what is finished is kept: go on with --resume"
    assert re.fullmatch(rf"perflaw: cannot write {out}/\S+: No space left on device; {way_out}", err.splitlines()[-1]), err
    parts = {name: content for name, content in files(out).items() if name.startswith("rows/")}
    assert parts and all(whole[name] == content for name, content in parts.items())
    assert verify(out) == ["manifest.json: the run has not finished", "shards/shard-0-of-1: has not finished"]
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    stamps = {name: (out / name).stat().st_mtime_ns for name in parts}
    code, err = finish(start(out, "--resume"))
    assert code == 0 and files(out) == whole, err
    kept = [name for name, stamp in stamps.items() if (out / name).stat().st_mtime_ns == stamp]
    assert len(kept) > len(parts) // 2
