"""The commands as functions: the same results as an object, with frames that are those of the files."""

import gc
import io
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

import perflaw_jax as pl
from perflaw_jax.files import StoreError
from perflaw_jax.spec import load_spec, parse_spec

SPEC = {
    "name": "small",
    "law": "performance-dense",
    "axes": {
        "num_hidden_layers": {"start": 16, "stop": 64, "step": 8},
        "hidden_size": [2048, 4096],
        "intermediate_size": {"ratio_to": "hidden_size", "values": [2.0, 3.5]},
        "training_tokens": {"geometric": [1e12, 1e13], "num": 4},
    },
    "limits": {"training_flops": 4e23},
    "output": {"top": 5, "rows": "feasible"},
}


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    return pl.sweep(SPEC, tmp_path_factory.mktemp("api") / "out")


def test_the_frames_are_the_files(swept):
    assert swept.tables == ("top", "frontier", "marginals")
    pd.testing.assert_frame_equal(swept.top, pd.read_parquet(swept.directory / "top.parquet"))
    assert len(swept.top) == 5 and list(swept.top["score"]) == sorted(swept.top["score"], reverse=True)
    rows = swept.rows.to_table(columns=["candidate_id", "score"]).to_pandas()
    assert len(rows) == swept.counts["feasible"]
    assert rows["score"].max() == np.float32(swept.top["score"].iloc[0])
    assert swept.spec == parse_spec(SPEC) and swept.verify() == []


def test_loaded_results_are_the_same(swept):
    again = pl.load(str(swept.directory))
    pd.testing.assert_frame_equal(again.frontier, swept.frontier)
    assert repr(again) == repr(swept)
    with pytest.raises(ValueError, match="has no table trials; it has top, frontier, marginals"):
        _ = again.trials


def test_a_searchs_optimum_is_the_sweeps(swept):
    found = pl.search(SPEC)
    assert found.top["candidate_id"].tolist() == swept.top["candidate_id"].tolist()
    assert found.counts["feasible"] is None
    with pytest.raises(ValueError, match="has no rows"):
        _ = found.rows


def test_trials_are_a_frame():
    found = pl.search(SPEC, method="optuna", trials=32, sampler="random")
    assert len(found.trials) == 32


def test_files_nobody_named_live_as_long_as_the_object():
    results = pl.sweep(SPEC, settings=["output.rows=none"])
    place = results.directory
    assert place.is_dir() and len(results.top) == 5
    del results
    gc.collect()
    assert not place.exists()


def test_settings_override_every_kind_of_spec(tmp_path):
    path = tmp_path / "spec.toml"
    path.write_text(
        'name = "file"\n[axes]\nnum_hidden_layers = [16, 32]\n[fixed]\n'
        'hidden_size = 1024\nintermediate_size = 4096\ntraining_tokens = "1T"\n'
    )
    for spec in (path, str(path), load_spec(path)):
        top = pl.sweep(spec, settings=["output.top=1", "fixed.hidden_size=2048"]).top
        assert top["hidden_size"].tolist() == [2048]


def test_what_follows_from_a_design(swept):
    design = swept.design(2)
    assert design["hidden_size"] == swept.top["hidden_size"].iloc[1]
    told = pl.predict(limits=SPEC["limits"], **design)
    assert told["score"] == pytest.approx(swept.top["score"].iloc[1], abs=1e-9)
    assert told["explanation"]["sentences"] == [*swept.explain(2).sentences]
    with pytest.raises(ValueError, match="rank: must be 1 to 5, not 6"):
        swept.design(6)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: pl.search(SPEC, method="exakt"), "no method named 'exakt'; did you mean 'exact'"),
        (lambda: pl.search(SPEC, trials=3), "trials: only method='optuna' takes it"),
        (lambda: pl.search(SPEC, method="optuna", trails=3), "trails: unknown; did you mean 'trials'"),
        (lambda: pl.sweep({"axes": {}}), "num_hidden_layers"),
        (lambda: pl.predict(hidden_size=3), "num_hidden_layers is missing"),
        (lambda: pl.predict(num_hidden_layers=3, hidden_size=3, training_tokens=1, layers=3), "layers"),
        (lambda: pl.sweeep, "no attribute 'sweeep'"),
    ],
)
def test_mistakes_are_told_in_one_line(call, told):
    with pytest.raises((ValueError, AttributeError), match=told) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_no_results_are_an_error(tmp_path):
    with pytest.raises(StoreError, match="holds no perflaw results"):
        pl.load(tmp_path)


def test_reprs_tell_the_best(swept):
    html = swept._repr_html_()
    assert "small: " in html and "<table" in html and "MMLU" in html
    console = Console(record=True, width=100, file=io.StringIO())
    console.print(swept)
    assert f"{swept.top['score'].iloc[0]:.2f}" in console.export_text()
    told = repr(swept)
    assert "feasible of 112 candidates by performance-dense" in told and "\n" not in told


def test_importing_the_package_loads_nothing_heavy():
    heavy = "{'jax', 'pandas', 'pyarrow', 'numpy', 'plotly', 'matplotlib', 'streamlit', 'transformers'}"
    code = f"import sys, perflaw_jax as pl; dir(pl); print(sorted({heavy} & {{*sys.modules}}))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
