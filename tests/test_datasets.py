import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT

from perflaw_jax import datasets
from perflaw_jax.datasets import REQUIRED, errors, gqa_rows, load_models, model_fields, scored_rows
from perflaw_jax.design import Design


@pytest.fixture(scope="module")
def models():
    return load_models()


@pytest.fixture
def table(tmp_path):
    """Writes a table with one dense model in the required columns, changed by the arguments; None drops a column."""

    def write(**change):
        row = dict(name="Mine-7B", released="2024-05", kind="dense", num_hidden_layers=32, hidden_size=4096, vocab_size=32000)
        row |= dict(intermediate_size=11008, num_attention_heads=32, num_key_value_heads=32, head_dim=128)
        row |= dict(tie_word_embeddings=False, gated_ffn=True, tokens_t=2, mmlu=45.3) | change
        path = tmp_path / "mine.csv"
        pd.DataFrame([{name: value for name, value in row.items() if value is not None}]).to_csv(path, index=False)
        return path

    return write


def test_the_shipped_table_is_the_published_one(models, shared_data):
    assert datasets.MODELS.read_bytes() == (shared_data / "models.csv").read_bytes()
    assert len(models) == 225


def test_import_loads_neither_jax_nor_pandas():
    code = "import perflaw_jax.datasets, sys; print(*sorted({'jax', 'pandas', 'pyarrow'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()) == (0, []), done.stderr


def test_rows_by_kind_and_what_is_known(models):
    counts = models.assign(scored=scored_rows(models)).groupby("kind").agg(rows=("name", "size"), scored=("scored", "sum"))
    assert counts.to_dict("index") == {"dense": {"rows": 196, "scored": 183}, "moe": {"rows": 29, "scored": 22}}
    assert models["score_is_post_trained"].sum() == 6


def test_fields_are_float64_and_those_of_a_design(models):
    fields = model_fields(models)
    design = Design(**fields)
    assert all(values.dtype == np.float64 and values.shape == (225,) for values in fields.values())
    assert not any(np.isnan(values).any() for name, values in fields.items() if name != "training_tokens")
    dense = (models["kind"] == "dense").to_numpy()
    np.testing.assert_array_equal(design.num_experts == 0, dense)
    assert (design.intermediate_size[dense] > 0).all()
    assert set(np.unique(design.tie_word_embeddings)) == set(np.unique(design.gated_ffn)) == {0.0, 1.0}


def test_fields_of_known_models(models):
    fields = pd.DataFrame(model_fields(models)).set_index(models["name"])
    assert fields.loc["Llama-3-8B"].to_dict() == {
        "num_hidden_layers": 32,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 128256,
        "tie_word_embeddings": 0,
        "gated_ffn": 1,
        "num_experts": 0,
        "num_experts_per_tok": 0,
        "moe_intermediate_size": 0,
        "shared_expert_intermediate_size": 0,
        "first_k_dense_replace": 0,
        "training_tokens": 15e12,
    }
    moe = fields.loc["DeepSeekMoE-16B"]
    assert (moe.num_experts, moe.num_experts_per_tok, moe.first_k_dense_replace, moe.intermediate_size) == (64, 6, 1, 10944)
    assert fields.loc["Gopher 280B"].tie_word_embeddings == 0  # undisclosed: as a Design has it
    assert np.isnan(fields.loc["Mixtral-8x7B-v0.1"].training_tokens)


def test_attention_that_is_not_gqa(models):
    names = models["name"][~gqa_rows(models)].tolist()
    latent, others = ["DeepSeek-V2-Lite", "DeepSeek-V2", "DeepSeek-V3"], ["JetMoE-8B", "Hunyuan-Large", "OpenMoE-8B"]
    assert names == ["Gopher 280B", "Chinchilla 70B", *latent, *others]


def test_a_users_table(table):
    mine = load_models(table())
    fields = model_fields(mine)
    assert fields["training_tokens"] == [2e12] and fields["num_experts"] == [0] and fields["gated_ffn"] == [1]
    assert mine["score_is_post_trained"].tolist() == [False]
    assert not scored_rows(load_models(table(mmlu=""))).any()
    experts = dict(num_experts=8, num_experts_per_tok=2, moe_intermediate_size=1024)
    assert model_fields(load_models(table(kind="moe", intermediate_size="", **experts)))["num_experts"] == [8]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokens_t": None}, "missing column tokens_t; needed: name, released, kind"),
        ({"tokens_t": None, "mmlu": None}, "missing columns tokens_t, mmlu"),
        ({"hidden_size": "wide"}, "hidden_size: must be a number, not wide (row Mine-7B)"),
        ({"hidden_size": ""}, "hidden_size: must be > 0, not blank (row Mine-7B)"),
        ({"num_hidden_layers": -3}, "num_hidden_layers: must be > 0, not -3 (row Mine-7B)"),
        ({"intermediate_size": ""}, "intermediate_size: must be > 0 in a dense model, not blank"),
        ({"gated_ffn": "perhaps"}, "gated_ffn: must be True or False, not perhaps"),
        ({"kind": "sparse"}, "kind: must be dense or moe, not sparse"),
        ({"kind": ""}, "kind: must be dense or moe, not blank"),
        ({"num_experts": 8}, "num_experts: must be blank or 0 in a dense model, not 8"),
        ({"kind": "moe"}, "num_experts: must be > 0 in an MoE model, not blank"),
        ({"released": "soon"}, "released: must be a year and month such as 2024-05, not soon"),
    ],
)
def test_what_is_wrong_with_a_users_table(table, change, message):
    path = table(**change)
    with pytest.raises(ValueError) as caught:
        load_models(path)
    assert str(caught.value).startswith(f"{path}: {message}") and "\n" not in str(caught.value)


def test_no_table_at_all(tmp_path):
    (tmp_path / "empty.csv").write_bytes(b"")
    (tmp_path / "binary.csv").write_bytes(bytes(range(256)))
    for name in ("empty.csv", "binary.csv"):
        with pytest.raises(ValueError, match=f"{name}: not a CSV table"):
            load_models(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        load_models(tmp_path / "absent.csv")


def test_required_columns_are_in_the_shipped_table(models):
    assert set(REQUIRED) <= set(models.columns)


def test_errors_by_year_and_kind():
    frame = pd.DataFrame(
        [
            ("2023-01", "dense", 30, 40, False),
            ("2023-11", "dense", 60, 50, False),
            ("2024-02", "dense", 70, 65, False),
            ("2024-02", "dense", 70, 10, True),  # post-trained
            ("2024-03", "moe", 50, 53, False),
            ("2024-04", "moe", 50, None, False),  # not scored
        ],
        columns=["released", "kind", "predicted", "mmlu", "score_is_post_trained"],
    )
    assert list(errors(frame).itertuples(index=False, name=None)) == [
        ("2023", "dense", 2, 10.0, 0.0),
        ("2024", "dense", 1, 5.0, 5.0),
        ("2024", "moe", 1, 3.0, -3.0),
        ("all", "dense", 3, 25 / 3, 5 / 3),
        ("all", "moe", 1, 3.0, -3.0),
        ("all", "all", 4, 7.0, 0.5),
    ]
    assert errors(frame, post_trained=True)["count"].tolist() == [2, 2, 1, 4, 1, 5]
    assert errors(frame.drop(columns="score_is_post_trained"))["count"].tolist() == [2, 2, 1, 4, 1, 5]
    assert errors(frame.iloc[-1:]).empty
    assert list(errors(frame).columns) == ["year", "kind", "count", "mean_absolute_error", "bias"]
