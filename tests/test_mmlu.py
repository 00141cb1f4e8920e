"""The calibrated MMLU law and its baseline: the formulas in plain numbers, the interval, and what a sweep makes of it."""

import re

import jax
import numpy as np
import pyarrow.parquet as pq
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from test_cli import DENSE, complaint, perflaw
from test_laws import GRADIENT, configs, floats, raw

from perflaw_jax.catalogue import find_law
from perflaw_jax.datasets import load_models, model_fields
from perflaw_jax.design import Design
from perflaw_jax.fitted import FittedLaw, save_fitted
from perflaw_jax.held_out import Rows, scores
from perflaw_jax.law_forms import as_record, from_record
from perflaw_jax.laws import LAWS, ComputeSigmoid, MmluCalibrated, Quantile
from perflaw_jax.manifest import read_manifest
from perflaw_jax.report.recompute import load_law
from perflaw_jax.scoreboard import year_of
from perflaw_jax.spec import parse_spec

LLAMA = Design(32, 4096, 14336, 32, 1.5e13)._asdict()
SHARES = (0.05, 0.5, 0.95)
ENDS = jax.jit(jax.vmap(lambda law, score: law.interval(score), in_axes=(None, 0)))
SCORED = {  # models of data/models.csv and what the calibration says of them, computed once with NumPy alone
    "GPT-3 175B": 43.53256586537752,
    "LLaMA-7B": 32.2008948610228,
    "Llama-2-70B": 70.83675777487721,
    "Llama-3-8B": 69.67792288158005,
    "Llama-3.1-405B": 83.29948444561802,
    "DeepSeek-V3": 80.55733468107115,
    "OLMoE-1B-7B": 38.294773844300465,
}


@given(config=configs(), year=st.floats(2020, 2030))
def test_the_formula_as_it_reads(config, year):
    N, h, T = config["num_hidden_layers"], config["hidden_size"], config["training_tokens"] / 1e12
    S, A = reference.total_params(config) / 1e9, reference.active_params(config) / 1e9
    law = MmluCalibrated(release_year=year)
    assert raw(law, config) == pytest.approx(reference.mmlu_calibrated(N, h, T, S, A, year), rel=1e-9)
    assert raw(ComputeSigmoid(), config) == pytest.approx(reference.compute_sigmoid(6e21 * A * T), rel=1e-9)


def test_real_models():
    models = load_models().set_index("name", drop=False).loc[[*SCORED]]
    rows = Rows(model_fields(models), np.array([year_of(d, "") for d in models["released"]]), np.array([]))
    np.testing.assert_allclose(scores(MmluCalibrated(), rows), [*SCORED.values()], rtol=1e-9)


@given(st.lists(st.floats(25, 90), min_size=20, max_size=20))
def test_the_interval_holds_the_score_and_never_falls(found):
    with jax.enable_x64(True):
        lower, upper = map(np.asarray, ENDS(MmluCalibrated(), np.sort(found)))
    expected = [reference.mmlu_interval(score) for score in sorted(found)]
    np.testing.assert_allclose(np.transpose([lower, upper]), expected, rtol=1e-9)
    assert (lower < np.sort(found)).all() and (np.sort(found) < upper).all()
    assert (np.diff(lower) >= -1e-12).all() and (np.diff(upper) >= 0).all()


def test_quantiles_of_a_design_are_laws_of_their_own():
    design = floats(LLAMA)
    law = MmluCalibrated()
    with jax.enable_x64(True):
        found = [float(Quantile(law, share).raw(design)) for share in SHARES]
    lower, upper = reference.mmlu_interval(found[1])
    assert found == pytest.approx([lower, raw(law, design._asdict()), upper])
    with pytest.raises(ValueError, match="knows its quantiles 0.05, 0.5, 0.95, not 0.25"):
        law.quantile(design, 0.25)


def test_designs_beyond_any_use_are_at_chance_or_at_the_ceiling():
    nothing = {"num_hidden_layers": 1, "hidden_size": 1, "intermediate_size": 1, "num_attention_heads": 1, "training_tokens": 1}
    everything = {name: 1e6 * value for name, value in nothing.items()} | {"training_tokens": 1e18}
    assert raw(MmluCalibrated(), nothing) == 25
    assert 85 < raw(MmluCalibrated(), everything) < 90
    gradients = GRADIENT(*jax.tree.map(float, (MmluCalibrated(), floats(nothing))))
    assert np.isfinite(jax.tree.leaves(gradients)).all()


def test_the_release_year_counts_from_the_middle_of_2022_to_the_spring_of_2024():
    entry = LAWS["mmlu-calibrated"]
    said = [raw(entry.with_settings({"release_year": year}).law, LLAMA) for year in (2020, 2022.5, 2023, 2024, 2024.25, 2026)]
    assert said == sorted(said) and said[0] == said[1] and said[-2] == said[-1] and len({*said}) == 4
    with pytest.raises(ValueError, match="law_settings.release_year: must be at least 2000, not 0.5"):
        entry.with_settings({"release_year": 0.5})


def test_as_a_file(tmp_path):
    for law in (MmluCalibrated(below=2.0), ComputeSigmoid(slope=0.5)):
        assert from_record(as_record(law)) == law
    record = as_record(MmluCalibrated(release_year=2023.0))
    save_fitted(FittedLaw(name="mine", metric="MMLU", experts=True, source="here", law=record), tmp_path / "mine.json")
    assert find_law(str(tmp_path / "mine.json")).law == MmluCalibrated(release_year=2023.0)


def test_a_sweep_ranked_by_the_lower_end(tmp_path):
    (tmp_path / "tiny.toml").write_text(DENSE)
    ranked = (
        "--set",
        "law=mmlu-calibrated",
        "--set",
        "output.rank_by=score_p05",
        "--set",
        "law_settings.release_year=2024.1",
        "--set",
        "output.frontier=[]",
    )
    shown = perflaw("sweep", "tiny.toml", *ranked, cwd=tmp_path)
    assert shown.code == 0 and "MMLU (5 % quantile)" in shown.out
    manifest = read_manifest(tmp_path / "results" / "tiny")
    assert load_law(parse_spec(manifest["spec"]), manifest).metric == "MMLU (5 % quantile)"  # a report knows it again
    top = pq.read_table(tmp_path / "results" / "tiny" / "top.parquet").to_pydict()
    assert top["score"] == top["score_p05"] == sorted(top["score"], reverse=True)
    for low, middle, high in zip(*(top[f"score_p{p}"] for p in ("05", "50", "95")), strict=True):
        assert (low, high) == pytest.approx(reference.mmlu_interval(middle))


def test_predict(tmp_path):
    shape = ("--layers", 32, "--hidden", 4096, "--tokens", "15T", "--vocab", 128256, "--law", "mmlu-calibrated")
    dense = perflaw("predict", *shape, "--ffn", 14336, cwd=tmp_path)
    assert "MMLU 69.68 by mmlu-calibrated" in dense.out and re.search(r"nine of ten between 55\.5\d and 81\.1\d", dense.out)
    experts = ("--experts", 8, "--experts-per-tok", 2, "--expert-ffn", 14336)
    assert "MMLU 74.5" in perflaw("predict", *shape, *experts, cwd=tmp_path).out
    assert "has no such setting" in complaint(perflaw("predict", *shape, "--ffn", 14336, "--gamma", 2, cwd=tmp_path), 2)
