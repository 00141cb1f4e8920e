"""Results on an object store: a real S3 server on loopback, and what is no place at all."""

import sys

import boto3
import pytest
from moto.server import ThreadedMotoServer
from test_cli import complaint, perflaw

from perflaw_jax.files import StoreError, as_place, copy, write_atomic
from perflaw_jax.portion import Portion
from perflaw_jax.record import read_records
from perflaw_jax.runner import merge
from perflaw_jax.verify import verify
from sweeps import files, sweep


@pytest.fixture(scope="module")
def bucket():
    """The URL of an empty bucket, and the environment that leads to it."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    environment = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": "something",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="sweeps")
        yield "s3://sweeps"
    server.stop()


class Killed(BaseException):
    pass


@pytest.mark.parametrize("rows", ["none", "feasible"])
def test_a_sweep_on_an_object_store_is_that_on_a_disk(rows, bucket, tmp_path):
    sweep(rows, tmp_path / "disk")
    place = as_place(f"{bucket}/{rows}/out")
    sweep(rows, place)
    assert files(place) == files(tmp_path / "disk") and verify(place) == []


def test_shards_on_an_object_store_are_resumed_and_joined(bucket, tmp_path):
    sweep("feasible", tmp_path / "disk")
    place = as_place(f"{bucket}/shards/out")

    def dies(*now):
        if now[0] > 0.5:
            raise Killed

    sweep("feasible", place, Portion(1, 2))
    with pytest.raises(Killed):
        sweep("feasible", place, Portion(0, 2), dies)
    assert verify(place) == ["manifest.json: the run has not finished", "shards/shard-0-of-2: has not finished"]
    sweep("feasible", place, Portion(0, 2), resume=True)
    assert files(place) == files(tmp_path / "disk")
    part = next(name for name in files(place) if name.startswith("rows/"))
    write_atomic(place / part, lambda temporary: temporary.write_bytes(b"PAR1"))
    assert verify(place)[0].startswith(f"{part}: truncated: 4 bytes")


def test_shards_on_disks_are_merged_on_an_object_store(bucket, tmp_path):
    sweep("feasible", tmp_path / "disk")
    places = [tmp_path / "a", as_place(f"{bucket}/merged/b")]
    for i, place in enumerate(places):
        sweep("feasible", place, Portion(i, 2))
    merge(places, as_place(f"{bucket}/merged/out"))
    assert files(as_place(f"{bucket}/merged/out")) == files(tmp_path / "disk")


def test_results_of_something_else_are_left_alone(bucket):
    place = as_place(f"{bucket}/other")
    write_atomic(place / "thesis.tex", lambda temporary: temporary.write_text("years of work"))
    with pytest.raises(StoreError, match="s3://sweeps/other is not empty and holds no perflaw results"):
        sweep("none", place)
    assert [*files(place)] == ["thesis.tex"]


def test_a_store_that_fails_is_one_line(bucket, monkeypatch):
    with pytest.raises(StoreError, match="cannot write s3://nowhere-at-all/out/manifest.json: .*bucket"):
        sweep("none", as_place("s3://nowhere-at-all/out"))
    place = as_place(f"{bucket}/refused")

    def refuses(*_, **__):
        raise RuntimeError("quota\nexceeded")

    monkeypatch.setattr(place.fs, "put_file", refuses)
    with pytest.raises(StoreError, match=r"cannot write s3://sweeps/refused/manifest.json: RuntimeError: quota exceeded"):
        sweep("none", place)
    assert not place.exists() and not read_records(place)


def test_the_command_takes_urls(bucket, tmp_path):
    (tmp_path / "tiny.toml").write_text(
        "axes = { num_hidden_layers = [16, 32], hidden_size = [1024, 2048], training_tokens = [1e12] }\n"
        "fixed = { intermediate_size = 4096 }\n"
    )
    done = perflaw("sweep", "tiny.toml", "--out", f"{bucket}/command", cwd=tmp_path)
    assert done.code == 0 and f"results in {bucket}/command\n" in done.out, done.err
    assert "sound; 3 files" in perflaw("verify", f"{bucket}/command", cwd=tmp_path).out
    done = perflaw("sweep", "tiny.toml", "--out", "file://" + str(tmp_path / "by url"), cwd=tmp_path)
    assert done.code == 0 and (tmp_path / "by url" / "manifest.json").exists()
    assert "cannot open what://ever/out" in complaint(
        perflaw("sweep", "tiny.toml", "--out", "what://ever/out", cwd=tmp_path), 2
    )


@pytest.mark.parametrize("url", ["what://ever", "://", "http+ftp://x"])
def test_what_is_no_place_is_one_line(url):
    with pytest.raises(ValueError, match="cannot open .*allowed: a path, s3://, gs://"):
        as_place(url)


def test_the_extra_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "upath", None)
    with pytest.raises(ValueError, match=r"pip install 'perflaw_jax\[gs\]'"):
        as_place("gs://bucket/out")


def test_a_copy_on_one_disk_takes_no_space(tmp_path):
    (tmp_path / "a").write_bytes(b"rows")
    copy(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"rows" and (tmp_path / "a").samefile(tmp_path / "b")
    with pytest.raises((StoreError, FileNotFoundError)):
        copy(tmp_path / "none", tmp_path / "c")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a", "b"]
