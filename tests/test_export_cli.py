"""``perflaw export``: a design of a small sweep as another tool's configuration, and every mistake in one line."""

import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_cli import DENSE, perflaw

from perflaw_jax.configs import read_config, read_megatron, write_config
from perflaw_jax.configs.imported import SHAPE

HEADS = DENSE.replace("step = 1024", "step = 512").replace("[output]", "score = { min = 1 }\n[output]")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Results whose best design has 28 heads for 8 key/value heads."""
    folder = tmp_path_factory.mktemp("export")
    (folder / "spec.toml").write_text(HEADS)
    assert perflaw("sweep", "spec.toml", "--out", "results", cwd=folder).code == 0
    return folder


def designs(place, table="top"):
    return pq.read_table(place / "results" / f"{table}.parquet", columns=list(SHAPE)).to_pylist()


def fitting(place, table="top"):
    """Ranks whose heads can be shared."""
    return [rank for rank, row in enumerate(designs(place, table), 1) if row["num_attention_heads"] % 8 == 0]


@pytest.mark.parametrize("table", ["top", "frontier"])
def test_the_config_is_the_design_of_that_rank(place, tmp_path, table):
    for rank in fitting(place, table)[:2]:
        row = designs(place, table)[rank - 1]
        done = perflaw("export", "results", "--rank", rank, "--format", "hf", "--from", table, cwd=place)
        assert (done.code, done.err) == (0, "")
        (tmp_path / "config.json").write_text(done.out)
        assert read_config(tmp_path).fields == row
        done = perflaw("export", "results", "--rank", rank, "--format", "megatron", "--from", table, cwd=place)
        assert read_megatron(done.out).fields == row


@pytest.mark.parametrize("format", ["hf", "megatron", "torchtitan", "maxtext"])
def test_a_file_is_what_would_be_printed(place, tmp_path, format):
    rank = fitting(place)[0]
    printed = perflaw("export", "results", "--rank", rank, "--format", format, cwd=place)
    written = perflaw("export", "results", "--rank", rank, "--format", format, "--out", tmp_path / "new" / "f", cwd=place)
    assert (written.code, written.out, written.err) == (0, "", "")
    assert (tmp_path / "new" / "f").read_text() == printed.out != ""
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["f"]


def test_the_family_can_be_named(place):
    rank = fitting(place)[0]
    done = perflaw("export", "results", "--rank", rank, "--format", "hf", "--family", "mistral", cwd=place)
    assert json.loads(done.out)["model_type"] == "mistral"
    done = perflaw("export", "results", "--rank", rank, "--format", "hf", "--family", "qwen3", cwd=place)
    assert (done.code, done.out) == (2, "")
    assert done.err == f"perflaw: rank {rank}: qk_norm = 0: qwen3 has no switch for it; must be 1\n"


def test_heads_that_cannot_be_shared_come_with_the_way_out(place):
    rank = next(rank for rank in range(1, 8) if rank not in fitting(place))
    heads = designs(place)[rank - 1]["num_attention_heads"]
    done = perflaw("export", "results", "--rank", rank, "--format", "hf", cwd=place)
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        f"perflaw: rank {rank}: num_attention_heads = {heads}: must be a multiple of num_key_value_heads = 8; "
        f"first that fits: --rank {fitting(place)[0]}; "
        "limits.num_attention_heads = { multiple_of = 8 } in the spec keeps such designs out\n"
    )


def test_the_limit_that_the_message_names_keeps_such_designs_out(place, tmp_path):
    (tmp_path / "spec.toml").write_text(HEADS.replace("[limits]", "[limits]\nnum_attention_heads = { multiple_of = 8 }"))
    assert perflaw("sweep", "spec.toml", "--out", "results", cwd=tmp_path).code == 0
    assert len(fitting(tmp_path)) == len(designs(tmp_path)) > 0
    assert perflaw("export", "results", "--format", "hf", cwd=tmp_path).code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("results", "--format", "hff"), 2, "--format: no format named 'hff'; did you mean 'hf'?"),
        (("results",), 2, "--format"),
        (("results", "--format", "hf", "--family", "lama"), 2, "no family named 'lama'; did you mean 'llama'?"),
        (("results", "--format", "maxtext", "--family", "llama"), 2, "--family: goes with --format hf alone"),
        (("results", "--format", "hf", "--from", "tops"), 2, "--from: no list named 'tops'; did you mean 'top'?"),
        (("results", "--format", "hf", "--rank", "8"), 2, "--rank 8: ranks in top.parquet of results: 1 to 7"),
        (("results", "--format", "hf", "--rank", "0"), 2, "--rank 0: ranks in top.parquet of results: 1 to 7"),
        (("results", "--format", "hf", "--rank", "x"), 2, "Invalid value for '--rank'"),
        (("nothing", "--format", "hf"), 1, "nothing holds no perflaw results"),
        (("s4://bucket/x", "--format", "hf"), 2, "cannot open s4://bucket/x"),
    ],
)
def test_a_mistake_is_one_line(place, arguments, code, message):
    done = perflaw("export", *arguments, cwd=place)
    assert (done.code, done.out) == (code, "")
    assert message in done.err
    assert done.err.startswith("perflaw: ") and done.err.count("\n") == 1


def test_results_that_are_not_whole_are_refused(place, tmp_path):
    shutil.copytree(place / "results", tmp_path / "results")
    file, top = tmp_path / "results" / "manifest.json", tmp_path / "results" / "top.parquet"
    manifest = json.loads(file.read_text())

    def refused(message):
        done = perflaw("export", "results", "--format", "hf", cwd=tmp_path)
        assert (done.code, done.out) == (1, "")
        assert message in done.err and done.err.count("\n") == 1

    top.write_bytes(top.read_bytes()[:100])
    refused("top.parquet is not readable")
    pq.write_table(pa.table({"a": [1]}), top)
    refused("top.parquet is not readable")
    top.unlink()
    refused("top.parquet is missing")
    file.write_text(json.dumps(manifest | {"complete": False}))
    refused("the run has not finished")
    file.write_text(json.dumps(manifest | {"shards": [shard for shard in manifest["shards"] if "top" not in shard["path"]]}))
    refused("holds no top.parquet; it holds frontier.parquet, marginals.parquet")
    file.write_text("{")
    refused("is not valid JSON")


@pytest.mark.parametrize(("format", "option"), [("hf", "--hf-config"), ("megatron", "--megatron-args")])
def test_an_exported_design_predicts_as_it_was_found(place, tmp_path, format, option):
    rank = fitting(place)[0]
    row = pq.read_table(place / "results" / "top.parquet").to_pylist()[rank - 1]
    perflaw("export", "results", "--rank", rank, "--format", format, "--out", tmp_path / "model", cwd=place)
    done = perflaw("predict", option, tmp_path / "model", "--tokens", row["training_tokens"], "--json", cwd=tmp_path)
    assert json.loads(done.out)["score"] == pytest.approx(row["score"], abs=1e-9)
    other = perflaw(
        "predict", option, tmp_path / "model", "--tokens", row["training_tokens"], "--layers", 1, "--json", cwd=tmp_path
    )
    assert json.loads(other.out)["design"]["num_hidden_layers"] == 1  # options change what the config says


def test_a_curve_has_a_design_per_budget(place, tmp_path):
    budgets = ("--over", "training_flops=1e22:1e23", "--num", 2, "--set", "limits.num_attention_heads={ multiple_of = 8 }")
    assert perflaw("curve", "spec.toml", *budgets, "--out", "curve", cwd=place).code == 0
    rows = pq.read_table(place / "curve" / "curve.parquet", columns=list(SHAPE)).to_pylist()
    done = perflaw("export", "curve", "--format", "megatron", "--from", "curve", "--rank", len(rows), cwd=place)
    assert read_megatron(done.out).fields["num_hidden_layers"] == rows[-1]["num_hidden_layers"]
    assert "holds no top.parquet; it holds curve.parquet" in perflaw("export", "curve", "--format", "megatron", cwd=place).err


def test_a_model_is_read_from_its_directory(tmp_path):
    done = perflaw("predict", "--hf-config", tmp_path, "--tokens", "1T", cwd=tmp_path)
    assert (done.code, done.err) == (2, f"perflaw: {tmp_path}: no config.json in this directory\n")
    config = write_config({"num_hidden_layers": 2, "hidden_size": 1024, "intermediate_size": 4096}, "hf")
    (tmp_path / "config.json").write_text(config)
    assert perflaw("predict", "--hf-config", tmp_path, "--tokens", "1T", "--json", cwd=tmp_path).code == 0


def test_two_configs_are_a_mistake(tmp_path):
    (tmp_path / "a").write_text("{}")
    done = perflaw("predict", "--hf-config", tmp_path / "a", "--megatron-args", tmp_path / "a", "--tokens", "1T", cwd=tmp_path)
    assert (done.code, done.err) == (2, "perflaw: --hf-config and --megatron-args: give one of the two\n")
