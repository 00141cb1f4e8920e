"""The commands as a user sees them: output, exit codes, and one line for every mistake."""

import errno
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq
import pytest
import reference
from processes import started

from perflaw_jax import answers, display, progress, runner
from perflaw_jax.cli import main
from perflaw_jax.design import FIELDS, Design

DENSE = """
name = "tiny"
[axes]
num_hidden_layers = [16, 32, 48]
hidden_size       = { start = 1024, stop = 4096, step = 1024 }
training_tokens   = { geometric = ["100B", "10T"], num = 5 }
[fixed]
intermediate_size = 8192
[limits]
training_flops = 1e23
[output]
top      = 7
frontier = ["training_flops", "total_params"]
"""
MOE = """
name = "sparse"
law  = "performance-moe"
[axes]
num_hidden_layers = [16, 32]
num_experts       = [8, 64]
[fixed]
hidden_size           = 4096
num_experts_per_tok   = 2
moe_intermediate_size = 14336
training_tokens       = 4e12
"""


class Done(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


def perflaw(*arguments, cwd: Path) -> Done:
    """Run the command in this process, in a directory."""
    out, err = StringIO(), StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(cwd)
        patch.setattr(sys, "argv", ["perflaw", *map(str, arguments)])
        patch.setattr(sys, "path", [*sys.path])
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as stop:
            main()
    return Done(stop.value.code, out.getvalue(), err.getvalue())


def process(*arguments, cwd: Path) -> Done:
    """Run the command as a user does."""
    done = started(*arguments, cwd=cwd)
    out, err = done.communicate()
    return Done(done.returncode, out, err)


def complaint(done: Done, code: int) -> str:
    """The one line that a failed command says, after any line of progress; there is no traceback and no result."""
    lines = [line for line in done.err.splitlines() if not re.fullmatch(r"[\w.-]+: [\d,]+ candidates", line)]
    assert (done.code, done.out, len(lines)) == (code, "", 1), done
    assert lines[0].startswith("perflaw: ") and done.err.endswith("\n")
    return lines[0]


def files(directory: Path) -> list[str]:
    return sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*") if "__pycache__" not in path.parts)


@pytest.fixture
def here(tmp_path):
    """A directory with two small specs."""
    (tmp_path / "tiny.toml").write_text(DENSE)
    (tmp_path / "sparse.toml").write_text(MOE)
    return tmp_path


@pytest.fixture(scope="module")
def swept(tmp_path_factory) -> Iterator[tuple[Path, Done]]:
    """A directory where the dense spec was swept, and what the command said."""
    where = tmp_path_factory.mktemp("swept")
    (where / "tiny.toml").write_text(DENSE)
    yield where, perflaw("sweep", "tiny.toml", cwd=where)


# --- help ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["", "predict", "laws", "models", "sweep", "search", "verify"])
def test_help(command, tmp_path):
    done = perflaw(*command.split(), "--help", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("Usage: perflaw") and len(done.out.splitlines()) > 5


def test_no_command_is_help(tmp_path):
    done = process(cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert all(name in done.out for name in ("predict", "laws", "models", "sweep", "verify"))


@pytest.mark.parametrize(("arguments", "word"), [(["swep"], "swep"), (["sweep"], "SPEC"), (["laws", "--jsn"], "--jsn")])
def test_a_mistake_on_the_command_line(arguments, word, tmp_path):
    assert word in complaint(perflaw(*arguments, cwd=tmp_path), 2)


# --- predict ------------------------------------------------------------------------------------------------------------


def expected(tokens: float, gamma: float = 1.0, **fields: float) -> float:
    """The law's score by the oracle."""
    heads = fields["hidden_size"] // 128
    config = {
        name: int(value)
        for name, value in {**Design._field_defaults, "num_attention_heads": heads, **fields}.items()
        if name in FIELDS
    }
    return reference.clamp(reference.raw(config, tokens / 1e12, gamma))


LLAMA_FIELDS = {"num_hidden_layers": 32, "hidden_size": 4096, "intermediate_size": 14336, "vocab_size": 128256}
LLAMA = ("--layers", 32, "--hidden", 4096, "--ffn", 14336, "--tokens", "15T", "--vocab", 128256)
MIXTRAL = ("--layers", 32, "--hidden", 4096, "--tokens", "6T", "--experts", 8, "--experts-per-tok", 2, "--expert-ffn", 14336)


def test_predict_a_dense_design(tmp_path):
    text, data = (perflaw("predict", *LLAMA, *more, cwd=tmp_path) for more in ((), ("--json",)))
    assert (text.code, data.code, text.err, data.err) == (0, 0, "", "")
    result = json.loads(data.out)
    assert result["score"] == pytest.approx(expected(15e12, **LLAMA_FIELDS), rel=1e-12)
    parts = result["parameters"]
    assert result["counts"]["total_params"] == parts["embedding"] + parts["attention"] + parts["ffn"]
    assert result["counts"]["training_flops"] == 6 * result["counts"]["active_params"] * 15e12
    assert result["nearest"][0]["name"].startswith("Llama-3") and result["note"] == ""
    assert text.out.startswith(f"MMLU {result['score']:.2f} by performance-dense\nlimited by size")
    assert "reconstruction" not in text.out


def test_predict_a_mixture_of_experts(tmp_path):
    text, data = (perflaw("predict", *MIXTRAL, *more, cwd=tmp_path) for more in ((), ("--json",)))
    result = json.loads(data.out)
    experts = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 14336}
    score = expected(6e12, num_hidden_layers=32, hidden_size=4096, intermediate_size=0, **experts)
    assert result["score"] == pytest.approx(score, rel=1e-12)
    assert result["counts"]["active_params"] < result["counts"]["total_params"] / 3
    assert "reconstruction" in result["note"] and "reconstruction" in text.out.splitlines()[0]


def test_predict_takes_gamma(tmp_path):
    result = json.loads(perflaw("predict", *LLAMA, "--gamma", 1.5, "--json", cwd=tmp_path).out)
    assert result["score"] == pytest.approx(expected(15e12, gamma=1.5, **LLAMA_FIELDS), rel=1e-12)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((*LLAMA, "--layers", "many"), "num_hidden_layers"),
        ((*LLAMA, "--layers", 0), "num_hidden_layers"),
        ((*LLAMA, "--hidden", -4096), "hidden_size"),
        ((*LLAMA, "--hidden", 4096.5), "hidden_size"),
        ((*LLAMA, "--ffn", 0), "intermediate_size"),
        ((*LLAMA, "--tokens", "nan"), "training_tokens"),
        ((*LLAMA, "--tokens", "1e999"), "training_tokens"),
        ((*LLAMA, "--heads", "x"), "num_attention_heads"),
        ((*LLAMA, "--kv-heads", 0), "num_key_value_heads"),
        ((*LLAMA, "--vocab", "big"), "vocab_size"),
        ((*LLAMA, "--gamma", "nan"), "--gamma"),
        ((*LLAMA, "--gamma", "inf"), "gamma"),
        ((*LLAMA, "--gamma", 0.5), "--gamma"),
        ((*LLAMA, "--law", "performance-dens"), "did you mean 'performance-dense'?"),
        ((*MIXTRAL, "--law", "performance-dense"), "num_experts"),
        ((*MIXTRAL, "--experts-per-tok", 9), "num_experts_per_tok"),
        ((*MIXTRAL, "--experts-per-tok", 0), "num_experts_per_tok"),
        ((*MIXTRAL, "--ffn", 4096, "--dense-layers", 33), "first_k_dense_replace"),
        (LLAMA[2:], "--layers"),
    ],
)
def test_predict_nonsense(arguments, named, tmp_path):
    assert named in complaint(perflaw("predict", *arguments, cwd=tmp_path), 2)


# --- laws and models ----------------------------------------------------------------------------------------------------


def test_laws(tmp_path):
    text, data = perflaw("laws", cwd=tmp_path), perflaw("laws", "--json", cwd=tmp_path)
    assert (text.code, data.code, text.err, data.err) == (0, 0, "", "")
    entries = {entry["name"]: entry for entry in json.loads(data.out)}
    assert entries["performance-dense"]["coefficients"]["layers"] == 13.95018192
    assert "overrates models before 2024" in entries["performance-dense"]["valid"]
    assert "reconstruction" in entries["performance-moe"]["note"]
    for name, entry in entries.items():
        block = text.out[text.out.index(f"{name}: {entry['metric']}") :].split("\n\n")[0]
        assert all(entry[key] in block for key in ("metric", "unit", "source", "valid", "note"))


def test_models(tmp_path):
    text, data = perflaw("models", cwd=tmp_path), perflaw("models", "--json", cwd=tmp_path)
    assert (text.code, data.code, text.err, data.err) == (0, 0, "", "")
    result = json.loads(data.out)
    models = {model["name"]: model for model in result["models"]}
    assert len(models) == 225
    assert models["Llama-3-8B"]["predicted"] == pytest.approx(66, abs=2)
    assert models["DeepSeek-V3"]["law"] == "performance-moe" and "reconstruction" in result["notes"]["performance-moe"]
    bias = {(row["year"], row["kind"]): row["bias"] for row in result["errors"]}
    assert all(10 < bias[year, "dense"] < 25 for year in ("2020", "2021", "2022", "2023"))
    assert abs(bias["2024", "dense"]) < 5
    rows = [line.split() for line in text.out.splitlines()]
    assert ["2022", "dense", "20", "17.2", f"{bias['2022', 'dense']:.1f}"] in rows
    assert "performance-moe (a reconstruction)" in text.out


def test_models_of_ones_own(tmp_path):
    (tmp_path / "mine.csv").write_text("name,kind\na,dense\n")
    assert "mine.csv: missing columns" in complaint(perflaw("models", "--models", "mine.csv", cwd=tmp_path), 2)
    assert "absent.csv" in complaint(perflaw("models", "--models", "absent.csv", cwd=tmp_path), 2)


# --- sweep --------------------------------------------------------------------------------------------------------------

PROGRESS = r"tiny: 60 candidates\n(tiny: \d+% done.*\n)*"  # now and then a line, if it takes long


def test_sweep_prints_the_best_and_where_they_lie(swept):
    where, done = swept
    assert done.code == 0 and re.fullmatch(PROGRESS, done.err)
    top = pq.read_table(where / "results" / "tiny" / "top.parquet").to_pylist()
    lines = done.out.splitlines()
    assert lines[0] == "tiny: the best by performance-dense"
    assert lines[2].split() == ["layers", "hidden", "FFN", "tokens", "params", "FLOPs", "budget", "MMLU"]
    shown = [line.split() for line in lines[4 : 4 + len(top)]]
    assert [row[:3] for row in shown] == [[str(r[n]) for n in list(r)[1:4]] for r in top]
    assert [row[-1] for row in shown] == [f"{r['score']:.2f}" for r in top]
    counts = json.loads((where / "results" / "tiny" / "manifest.json").read_text())["counts"]
    assert f"{counts['feasible']} of 60 candidates are feasible" in lines
    assert lines[-1].endswith("s; results in results/tiny")
    assert files(where / "results") == [
        "tiny",
        *(f"tiny/{name}" for name in ("frontier.parquet", "manifest.json", "marginals.parquet", "top.parquet")),
    ]


def test_sweep_json_and_set(here):
    settings = ("--set", "output.top=3", "--set", "law_settings.gamma=1.25", "--set", "name=other")
    done = perflaw("sweep", "tiny.toml", *settings, "--out", "deep/er", "--json", cwd=here)
    events = [json.loads(line) for line in done.err.splitlines()]
    assert done.code == 0 and events[0] == {"event": "begin", "name": "other", "candidates": 60}
    assert events[-1].items() >= {"event": "progress", "share": 1.0, "candidates": 60, "failures": 0, "retries": 0}.items()
    result = json.loads(done.out)
    assert (result["out"], result["law"], result["note"]) == ("deep/er", "performance-dense", "")
    assert result["counts"]["candidates"] == 60 and len(result["best"]["score"]) == 3
    first = {name: values[0] for name, values in result["best"].items()}
    fields = {name: first[name] for name in ("num_hidden_layers", "hidden_size", "intermediate_size")}
    assert first["score"] == pytest.approx(expected(first["training_tokens"], gamma=1.25, **fields), rel=1e-12)
    top = pq.read_table(here / "deep" / "er" / "top.parquet")
    assert top["candidate_id"].to_pylist() == result["best"]["candidate_id"]


def test_a_swept_mixture_of_experts_is_labelled(here):
    done = perflaw("sweep", "sparse.toml", cwd=here)
    assert done.code == 0
    lines = done.out.splitlines()
    assert "performance-moe (reconstruction: " in lines[0]
    assert {"experts", "chosen", "active"} <= {*lines[2].split()} and "…" not in done.out
    law = json.loads((here / "results" / "sparse" / "manifest.json").read_text())["law"]
    assert "reconstruction" in law["note"] and law["coefficients"]["expansion_exponent"] == 0.5


def test_no_candidate_satisfies_the_limits(here):
    limits = ("--set", "limits.total_params=1e6", "--set", "limits.training_flops=1e18")
    done = perflaw("sweep", "tiny.toml", *limits, cwd=here)
    line = complaint(done, 3)
    assert "none of 60 candidates" in line and "total_params cuts 60" in line and "training_flops cuts 60" in line
    checked = perflaw("verify", "results/tiny", cwd=here)
    assert (checked.code, checked.out) == (0, "results/tiny: sound; 3 files, 12 rows\n")


WIDE = "{start=1,stop=1000000,step=1}"

BROKEN_LAW = """
import jax.numpy as jnp
def branches(design):
    return 1.0 if design.hidden_size > 3 else 2.0
def vector(design):
    return design.hidden_size * jnp.ones(3)
def nothing(design):
    pass
"""


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        (["output.colour=1"], "output.colour: unknown key"),
        (["axes.hiden_size=[1024]"], "axes.hiden_size: unknown field; did you mean 'hidden_size'?"),
        (["limit.total_params=1e9"], "did you mean 'limits'?"),
        (['output.top="many"'], "output.top"),
        (["axes.hidden_size=true"], "axes.hidden_size"),
        (["limits.total_params=nan"], "limits.total_params"),
        (["fixed.vocab_size=-1"], "fixed.vocab_size: must be > 0, not -1"),
        (["limits.total_params=-1"], "limits.total_params"),
        (["axes.hidden_size=[]"], "axes.hidden_size"),
        (["axes.num_hidden_layers={start=16,stop=8,step=2}"], "axes.num_hidden_layers.step: 2 never reaches stop 8"),
        (["axes.num_hidden_layers={start=16,stop=31,step=2}"], "axes.num_hidden_layers.stop"),
        (
            [f"axes.{name}={WIDE}" for name in ("num_hidden_layers", "hidden_size", "vocab_size", "context_length", "head_dim")]
            + ['output.rows="feasible"'],
            "axes: 5.0e+30 candidates",
        ),
        (["limits.total_params={min=2e9,max=1e9}"], "limits.total_params: min 2e+09 is above max 1e+09"),
        (["law=performance-dens"], "law: no law named 'performance-dens'; did you mean 'performance-dense'?"),
        (["law=nowhere:score"], "law: cannot load nowhere:score"),
        (["law=broken_law:branches"], "law: broken_law:branches cannot be traced on one design"),
        (["law=broken_law:vector"], "law: broken_law:vector must return a scalar for one design"),
        (["law=broken_law:nothing"], "law: broken_law:nothing cannot be traced on one design"),
        (
            ["axes.num_experts=[8]", "fixed.num_experts_per_tok=2", "fixed.moe_intermediate_size=1024"],
            "law: performance-dense scores dense models only; drop num_experts",
        ),
        (["law_settings.gama=1"], "law_settings.gama: performance-dense has no such setting; did you mean 'gamma'?"),
        (["output.top"], "--set"),
    ],
)
def test_a_wrong_spec_writes_nothing(settings, named, here):
    (here / "broken_law.py").write_text(BROKEN_LAW)
    before = files(here)
    with pytest.MonkeyPatch.context() as patch:
        patch.delitem(sys.modules, "broken_law", raising=False)
        done = perflaw("sweep", "tiny.toml", *(part for text in settings for part in ("--set", text)), cwd=here)
    assert named in complaint(done, 2)
    assert files(here) == before


@pytest.mark.parametrize("content", [None, "axes = [", "\0"])
def test_a_spec_that_cannot_be_read(content, tmp_path):
    if content is not None:
        (tmp_path / "bad.toml").write_text(content)
    before = files(tmp_path)
    assert "bad.toml: " in complaint(perflaw("sweep", "bad.toml", cwd=tmp_path), 2)
    assert files(tmp_path) == before


# --- what the disk and the user do to a sweep -----------------------------------------------------------------------------


def test_output_below_a_file_cannot_be_made(here):
    before = files(here)
    assert "cannot write to tiny.toml/sub: " in complaint(perflaw("sweep", "tiny.toml", "--out", "tiny.toml/sub", cwd=here), 1)
    if Path("/proc").is_dir():
        assert "cannot write to /proc/sub: " in complaint(perflaw("sweep", "tiny.toml", "--out", "/proc/sub", cwd=here), 1)
    assert files(here) == before


def test_output_without_permission(here, monkeypatch):
    (here / "locked").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: mode == os.R_OK)  # root may write anywhere
    done = perflaw("sweep", "tiny.toml", "--out", "locked", cwd=here)
    assert "cannot write to locked: Permission denied" in complaint(done, 1)
    assert files(here / "locked") == []


def test_output_that_is_a_file(here):
    (here / "taken").write_text("mine")
    done = perflaw("sweep", "tiny.toml", "--out", "taken", cwd=here)
    assert "taken is not a directory; choose another --out" in complaint(done, 1)
    assert (here / "taken").read_text() == "mine"


def test_output_that_holds_something_else(here):
    done = perflaw("sweep", "tiny.toml", "--out", ".", cwd=here)
    assert "not empty and holds no perflaw results" in complaint(done, 1)


def test_output_that_holds_the_results_of_another_spec(swept, here):
    shutil.copytree(swept[0] / "results", here / "results")
    before = {path: path.read_bytes() for path in (here / "results").rglob("*.*")}
    done = perflaw("sweep", "tiny.toml", "--set", "output.top=8", cwd=here)
    assert "results/tiny holds the results of another spec 'tiny'; choose another --out" in complaint(done, 1)
    assert {path: path.read_bytes() for path in (here / "results").rglob("*.*")} == before


def full(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("place", "name", "settings"),
    [
        (os, "fsync", ()),
        (pq.ParquetWriter, "write_table", ("--set", 'output.rows="feasible"')),
    ],
)
def test_disk_full(place, name, settings, here, monkeypatch):
    before = files(here)
    monkeypatch.setattr(place, name, full)
    done = perflaw("sweep", "tiny.toml", *settings, cwd=here)
    line = complaint(done, 1)
    assert "cannot write results/tiny/" in line and line.endswith("No space left on device")
    assert files(here) == before


def test_disk_full_over_an_earlier_result(swept, here, monkeypatch):
    shutil.copytree(swept[0] / "results", here / "results")
    calls = iter([os.fsync] * 4)  # the manifest and its directory, the first file and its directory

    def fsync(descriptor):
        next(calls, full)(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    complaint(perflaw("sweep", "tiny.toml", cwd=here), 1)
    monkeypatch.undo()
    kept = ["tiny", "tiny/manifest.json", "tiny/shards", "tiny/shards/shard-0-of-1.parquet"]
    assert files(here / "results") == kept
    checked = perflaw("verify", "results/tiny", cwd=here)
    assert checked.code == 1 and "the run has not finished" in checked.out


@pytest.mark.parametrize("rows", ["none", "feasible"])
def test_ctrl_c(rows, here, monkeypatch):
    def tick(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(progress, "_lines", lambda name: tick)
    sweep = ("sweep", "tiny.toml", "--set", f"output.rows={rows}")
    assert re.search(
        r"stopped; results/tiny has what was finished of the sweep: go on with --resume$",
        complaint(perflaw(*sweep, cwd=here), 1),
    )
    assert not [name for name in files(here) if name.endswith((".tmp", ".lock"))]
    monkeypatch.undo()
    assert perflaw(*sweep, "--resume", cwd=here).code == 0
    assert "sound" in perflaw("verify", "results/tiny", cwd=here).out


def test_out_of_memory(here, monkeypatch):
    def run_out(*_):
        raise MemoryError

    monkeypatch.setattr(runner, "Work", run_out)
    assert complaint(perflaw("sweep", "tiny.toml", cwd=here), 1) == "perflaw: out of memory"


def test_running_out_of_the_memory_of_the_device_is_one_line(here, monkeypatch):
    import jax

    def exhausted(*_):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 3 bytes.\nmore")

    monkeypatch.setattr(runner, "Work", exhausted)
    assert "the device is out of memory" in complaint(perflaw("sweep", "tiny.toml", cwd=here), 1)


def test_a_defect_of_the_program_is_not_hidden(here, monkeypatch):
    monkeypatch.setattr(answers, "machine", None)
    with pytest.raises(TypeError, match="not callable"):
        perflaw("laws", "--json", cwd=here)


# --- a law of the user's own --------------------------------------------------------------------------------------------

MY_LAWS = """
import jax.numpy as jnp
def score(design, weight=2.0):
    return weight * jnp.log(design.hidden_size) + jnp.log(design.num_hidden_layers)
def loss(design):
    return 1.5 + 400.0 / jnp.sqrt(design.hidden_size * 1.0) + 1e12 / design.training_tokens
loss.higher_is_better = False
"""


def test_a_law_in_the_current_directory(here):
    (here / "my_score_law.py").write_text(MY_LAWS)
    settings = ("--set", "law=my_score_law:score", "--set", "law_settings.weight=-3")
    done = perflaw("sweep", "tiny.toml", *settings, "--json", cwd=here)
    assert done.code == 0 and all(json.loads(line)["name"] == "tiny" for line in done.err.splitlines())
    best = json.loads(done.out)["best"]
    assert (best["hidden_size"][0], best["num_hidden_layers"][0]) == (1024, 48)
    predicted = perflaw("predict", *LLAMA, "--law", "my_score_law:score", "--json", cwd=here)
    assert json.loads(predicted.out)["score"] == pytest.approx(2 * 8.317766166719343 + 3.4657359027997265)


def test_a_law_of_which_less_is_better(here):
    (here / "my_loss_law.py").write_text(MY_LAWS)
    limit = ("--set", "limits.score={min=10.0,max=20.0}")
    done = perflaw("sweep", "tiny.toml", "--set", "law=my_loss_law:loss", *limit, cwd=here)
    assert done.code == 0 and "the best by my_loss_law:loss" in done.out
    where = here / "results" / "tiny"
    top, frontier = (pq.read_table(where / name).to_pydict() for name in ("top.parquet", "frontier.parquet"))
    losses = sorted(
        value
        for hidden in (1024, 2048, 3072, 4096)
        for i in range(5)
        for _ in range(3)
        if 10 <= (value := 1.5 + 400 / hidden**0.5 + 1e12 / (1e11 * 10 ** (i / 2))) <= 20
    )
    assert top["score"] == sorted(top["score"]) and 10 <= top["score"][0] <= top["score"][-1] <= 20
    assert top["score"][0] == pytest.approx(losses[0]) and len(losses) > 7
    counts = json.loads((where / "manifest.json").read_text())["counts"]
    assert counts["cut_by_limit"]["score"] == 60 - len(losses)
    assert min(frontier["score"]) == pytest.approx(losses[0])
    by_cost = sorted(zip(frontier["training_flops"], frontier["total_params"], frontier["score"], strict=True))
    assert by_cost[0][2] >= by_cost[-1][2]
    marginals = pq.read_table(where / "marginals.parquet").to_pydict()
    known = [score for score in marginals["score"] if score is not None]
    assert min(known) == pytest.approx(losses[0]) and min(known) > 0


@pytest.mark.parametrize("name", ["branches", "vector", "nothing"])
def test_predict_by_a_law_that_does_not_work(name, here, monkeypatch):
    (here / "broken_law.py").write_text(BROKEN_LAW)
    monkeypatch.delitem(sys.modules, "broken_law", raising=False)
    assert f"law: broken_law:{name} " in complaint(perflaw("predict", *LLAMA, "--law", f"broken_law:{name}", cwd=here), 2)


# --- verify -------------------------------------------------------------------------------------------------------------


def test_verify_a_sound_directory(swept):
    where, _ = swept
    text, data = (perflaw("verify", "results/tiny", *more, cwd=where) for more in ((), ("--json",)))
    assert (text.code, text.err, data.code, data.err) == (0, "", 0, "")
    assert text.out.startswith("results/tiny: sound; 3 files, ")
    assert json.loads(data.out) == {"directory": "results/tiny", "sound": True, "problems": []}


def test_verify_names_the_file_with_a_flipped_byte(swept, here):
    shutil.copytree(swept[0] / "results", here / "results")
    file = here / "results" / "tiny" / "frontier.parquet"
    content = bytearray(file.read_bytes())
    content[100] ^= 1
    file.write_bytes(content)
    text, data = (perflaw("verify", "results/tiny", *more, cwd=here) for more in ((), ("--json",)))
    assert (text.code, text.err, data.code, data.err) == (1, "", 1, "")
    assert text.out.startswith("frontier.parquet: SHA-256 differs") and len(text.out.splitlines()) == 1
    assert json.loads(data.out)["sound"] is False


def test_verify_what_is_no_result(tmp_path):
    assert "holds no perflaw results" in complaint(perflaw("verify", tmp_path, cwd=tmp_path), 1)


# --- progress and tables ------------------------------------------------------------------------------------------------


class Terminal(StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


def test_a_bar_on_a_terminal_goes_to_stderr():
    out, err = StringIO(), Terminal()
    with redirect_stdout(out), redirect_stderr(err), progress.shown("tiny", 60) as tick:
        tick(0.5, 30, float("nan"))
        tick(1.0, 60, 51.25)
    assert out.getvalue() == "" and "tiny" in err.getvalue() and "best 51.25" in err.getvalue()


def test_plain_lines_elsewhere(monkeypatch, capsys):
    monkeypatch.setattr(progress, "LINE_EVERY", 0.0)
    with progress.shown("tiny", 60) as tick:
        tick(0.25, 15, float("nan"))
        tick(0.5, 30, 51.25)
        tick(0.75, 45, 51.25, 2, 1)
    out, err = capsys.readouterr()
    told = r"tiny: 60 candidates\ntiny: 25% done\ntiny: 50% done, \S+ candidates/s, 0:00 left, best 51.25\n"
    assert out == "" and re.fullmatch(told + r"tiny: 75% done, .*, best 51.25, 2 failed, 1 retried\n", err)


def test_tables_cut_nothing_in_a_narrow_terminal(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "20")
    display.table({"model": ["a" * 40, "b"], "score": ["1.0", "10.0"]}, title="A title")
    assert capsys.readouterr().out.splitlines() == [
        "A title",
        "",
        f"{'model':40}  score",
        f"{'-' * 40}  -----",
        f"{'a' * 40}    1.0",
        f"{'b':40}   10.0",
        "",
    ]


def test_a_limit_that_is_none_is_told_as_such(tmp_path):
    shape = ("predict", "--layers", 8, "--hidden", 512, "--ffn", 2048, "--tokens", "1T")
    told = complaint(perflaw(*shape, "--limit", "training_flops", cwd=tmp_path), 2)
    assert "--limit: write key=value such as training_flops=1e24, not 'training_flops'" in told
