"""Shards as a user computes them: by option, by what the scheduler says, merged, checked, and asked for wrongly."""

import json
import re

import pytest
from test_cli import DENSE, complaint, perflaw

from sweeps import files


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    folder = tmp_path_factory.mktemp("here")
    (folder / "tiny.toml").write_text(DENSE)
    assert perflaw("sweep", "tiny.toml", "--out", "whole", cwd=folder).code == 0
    return folder


def test_shards_by_option_are_joined_by_the_last(here):
    first = perflaw("sweep", "tiny.toml", "--out", "shared", "--shard", "1/2", cwd=here)
    assert first.code == 0 and re.match(r"shard 1/2 is done: \d+ of 40 candidates are feasible\n", first.out)
    assert first.out.endswith("shared still lacks 0/2\n")
    done = perflaw("sweep", "tiny.toml", "--out", "shared", "--shard", "2/2", "--json", cwd=here)
    told = json.loads(done.out)
    assert told["missing"] == [] and told["counts"]["candidates"] == 60
    assert files(here / "shared") == files(here / "whole")
    again = perflaw("sweep", "tiny.toml", "--out", "shared", "--shard", "1/2", cwd=here)
    assert "holds the results of all shards already" in complaint(again, 1)
    assert perflaw("sweep", "tiny.toml", "--out", "shared", "--shard", "1/2", "--resume", cwd=here).code == 0


def test_the_scheduler_says_which(here, monkeypatch):
    monkeypatch.setenv("SLURM_NTASKS", "2")
    for rank in ("0", "1"):
        monkeypatch.setenv("SLURM_PROCID", rank)
        done = perflaw("sweep", "tiny.toml", "--out", "slurm", cwd=here)
        assert f"shard {rank}/2, by SLURM_PROCID and SLURM_NTASKS; --shard 0/1 is the whole grid\n" in done.err
    assert files(here / "slurm") == files(here / "whole")
    assert perflaw("sweep", "tiny.toml", "--out", "alone", "--shard", "0/1", cwd=here).code == 0
    assert files(here / "alone") == files(here / "whole")


def test_shards_of_several_directories(here):
    for i in range(3):
        perflaw("sweep", "tiny.toml", "--out", f"node{i}", "--shard", f"{i}/3", cwd=here)
    checked = perflaw("verify", "node1", "--json", cwd=here)
    assert checked.code == 1
    assert json.loads(checked.out)["problems"][1:] == ["shards/shard-0-of-3: missing", "shards/shard-2-of-3: missing"]
    lacking = perflaw("merge", "node0", "node1", "--out", "two", cwd=here)
    assert "two lacks shards 2/3; run them" in complaint(lacking, 1)
    done = perflaw("merge", "node0", "node1", "node2", "--out", "merged", cwd=here)
    assert done.code == 0 and "results in merged" in done.out
    assert files(here / "merged") == files(here / "whole")
    assert "holds another run" not in complaint(perflaw("merge", "nowhere", cwd=here), 1)


def test_resuming_by_command(here):
    perflaw("sweep", "tiny.toml", "--out", "again", cwd=here)
    before = {file: file.stat().st_mtime_ns for file in (here / "again").rglob("*.parquet")}
    done = perflaw("sweep", "tiny.toml", "--out", "again", "--resume", cwd=here)
    assert done.code == 0 and "the best" in done.out
    assert before == {file: file.stat().st_mtime_ns for file in before}
    changed = ("sweep", "tiny.toml", "--out", "again", "--resume", "--set", "output.top=3")
    line = complaint(perflaw(*changed, cwd=here), 1)
    assert "spec.output.top is 7 there and 3 here; choose another --out, or start anew with --force" in line
    assert perflaw(*changed, "--force", cwd=here).code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--shard", "3"), "--shard: write i/n with i from 0 to n - 1"),
        (("--shard", "5/4"), "--shard: write i/n"),
        (("--shards", "4"), "--shards and --cluster-option go with --cluster"),
        (("--cluster-option", "num_gpus=1"), "--shards and --cluster-option go with --cluster"),
        (("--cluster", "rya"), "--cluster: no engine named 'rya'; did you mean 'ray'?"),
        (("--cluster", "ray", "--shard", "0/2"), "--shard: with --cluster, say with --shards how many"),
        (("--cluster", "slurm", "--cluster-option", "partition"), "--cluster-option: write KEY=VALUE"),
        (("--devices", "0"), "--devices: must be 1 to "),
        (("--devices", "99"), "--devices: must be 1 to "),
        (("--out", "ftpx://a/b"), "cannot open ftpx://a/b"),
    ],
)
def test_nonsense_is_one_line(arguments, words, here):
    before = files(here)
    assert words in complaint(perflaw("sweep", "tiny.toml", *arguments, cwd=here), 2)
    assert files(here) == before
