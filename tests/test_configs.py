"""Configs of real models against the table of models, both spellings of keys, refusals, and round trips field by field."""

import json

import designs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perflaw_jax import datasets
from perflaw_jax.configs import CannotHold, HeadCount, Imported, read_config, read_megatron, write_config
from perflaw_jax.configs.hf_families import FAMILIES
from perflaw_jax.configs.imported import SHAPE
from perflaw_jax.configs.megatron_flags import IGNORED, IGNORED_PREFIXES, NUMBERS, SWITCHES


def config(model_type, layers, width, ffn, heads, vocab, **more):
    """A config.json as it is published."""
    sizes = {"num_hidden_layers": layers, "hidden_size": width, "intermediate_size": ffn}
    return {"model_type": model_type, **sizes, "num_attention_heads": heads, "vocab_size": vocab, **more}


LLAMA = config("llama", 32, 4096, 14336, 32, 128256, num_key_value_heads=8, max_position_embeddings=8192)
LLAMA |= {"architectures": ["LlamaForCausalLM"], "rope_theta": 500000.0, "rope_scaling": None, "torch_dtype": "bfloat16"}
LATENT = {"kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128}
QUANTIZED = {"quantization_config": {"quant_method": "fp8"}}

REAL = {  # row of models.csv -> the config published with the model
    "LLaMA-7B": config("llama", 32, 4096, 11008, 32, 32000, max_sequence_length=2048),
    "Llama-3-8B": LLAMA,
    "Llama-3.2-1B": config(
        "llama", 16, 2048, 8192, 32, 128256, num_key_value_heads=8, head_dim=64, tie_word_embeddings=True, mlp_bias=False
    ),
    "Mistral-7B-v0.1": config("mistral", 32, 4096, 14336, 32, 32000, num_key_value_heads=8, sliding_window=4096),
    "Mistral-Nemo-12B": config("mistral", 40, 5120, 14336, 32, 131072, num_key_value_heads=8, head_dim=128),
    "Qwen2-0.5B": config("qwen2", 24, 896, 4864, 14, 151936, num_key_value_heads=2, tie_word_embeddings=True),
    "Qwen2.5-7B": config("qwen2", 28, 3584, 18944, 28, 152064, num_key_value_heads=4, use_sliding_window=False),
    "Gemma-2B": config("gemma", 18, 2048, 16384, 8, 256000, num_key_value_heads=1, head_dim=256, hidden_act="gelu"),
    "Gemma-2-9B": config("gemma2", 42, 3584, 14336, 16, 256000, num_key_value_heads=8, head_dim=256),
    "Mixtral-8x7B-v0.1": config(
        "mixtral", 32, 4096, 14336, 32, 32000, num_key_value_heads=8, num_local_experts=8, num_experts_per_tok=2
    ),
    "Qwen1.5-MoE-A2.7B": config("qwen2_moe", 24, 2048, 5632, 16, 151936, num_experts=60, num_experts_per_tok=4)
    | {"moe_intermediate_size": 1408, "shared_expert_intermediate_size": 5632, "decoder_sparse_step": 1},
    "DeepSeek-V2-Lite": config("deepseek_v2", 27, 2048, 10944, 16, 102400, num_key_value_heads=16, q_lora_rank=None)
    | {**LATENT, "n_routed_experts": 64, "n_shared_experts": 2, "num_experts_per_tok": 6, "moe_intermediate_size": 1408}
    | {"first_k_dense_replace": 1, "moe_layer_freq": 1, "topk_method": "greedy", "aux_loss_alpha": 0.001, "seq_aux": True},
    "DeepSeek-V3": config("deepseek_v3", 61, 7168, 18432, 128, 129280, num_key_value_heads=128, q_lora_rank=1536)
    | {**LATENT, "n_routed_experts": 256, "n_shared_experts": 1, "num_experts_per_tok": 8, "moe_intermediate_size": 2048}
    | {"first_k_dense_replace": 3, "num_nextn_predict_layers": 1, "scoring_func": "sigmoid", "ep_size": 1, **QUANTIZED},
    "OLMoE-1B-7B": config("olmoe", 16, 2048, 1024, 16, 50304, num_experts=64, num_experts_per_tok=8, clip_qkv=None),
    "OLMo-2-7B": config("olmo2", 32, 4096, 11008, 32, 100352),
    "Pythia-1b-deduped": config("gpt_neox", 16, 2048, 8192, 8, 50304, rotary_pct=0.25, use_parallel_residual=True),
}
QWEN3 = config("qwen3", 36, 4096, 12288, 32, 151936, num_key_value_heads=8, head_dim=128)
QWEN3_MOE = config("qwen3_moe", 48, 2048, 6144, 32, 151936, num_key_value_heads=4, head_dim=128) | {
    **{"num_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": 768, "mlp_only_layers": []},
}


def read(tmp_path, value):
    (tmp_path / "config.json").write_text(json.dumps(value) if not isinstance(value, str) else value, encoding="utf-8")
    return read_config(tmp_path)


@pytest.mark.parametrize("name", REAL)
def test_a_published_config_is_its_row_of_the_table(tmp_path, name):
    frame = datasets.load_models()
    row = int(np.flatnonzero(frame["name"] == name)[0])
    expected = {field: column[row] for field, column in datasets.model_fields(frame).items() if field != "training_tokens"}
    imported = read(tmp_path, REAL[name])
    assert {field: imported.fields[field] for field in expected} == expected
    assert imported.family == REAL[name]["model_type"]
    assert {*imported.fields} == {*SHAPE}


@pytest.mark.parametrize(
    ("value", "flags"),
    [
        (LLAMA, {}),
        (LLAMA | {"attention_bias": True, "mlp_bias": True}, {"attention_bias": 1, "mlp_bias": 1}),
        (REAL["Qwen2-0.5B"], {"qkv_bias": 1, "tie_word_embeddings": 1}),
        (QWEN3, {"qk_norm": 1}),
        (QWEN3_MOE, {"qk_norm": 1}),
        (REAL["Qwen1.5-MoE-A2.7B"], {"qkv_bias": 1}),
        (REAL["Qwen1.5-MoE-A2.7B"] | {"qkv_bias": False}, {}),
        (REAL["Gemma-2B"], {"tie_word_embeddings": 1}),
        (REAL["Pythia-1b-deduped"], {"gated_ffn": 0, "attention_bias": 1, "mlp_bias": 1}),
    ],
    ids=str,
)
def test_biases_norms_and_ties_are_those_of_the_family(tmp_path, value, flags):
    fields = read(tmp_path, value).fields
    expected = {name: 0 for name in designs.FLAGS} | {"gated_ffn": 1} | flags
    assert {name: fields[name] for name in designs.FLAGS} == expected


def test_context_is_the_longest_position_and_tokens_are_never_read(tmp_path):
    fields = read(tmp_path, LLAMA).fields
    assert fields["context_length"] == 8192
    assert "training_tokens" not in fields


@pytest.mark.parametrize("key", ["num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"])
def test_every_spelling_of_the_experts_is_read(tmp_path, key):
    value = {key if name == "num_experts" else name: number for name, number in QWEN3_MOE.items()}
    assert read(tmp_path, value).fields == read(tmp_path, QWEN3_MOE).fields


def test_keys_of_transformers_5_are_read_as_those_of_4(tmp_path):
    five = {name: value for name, value in LLAMA.items() if name not in ("rope_theta", "rope_scaling", "torch_dtype")}
    five |= {"rope_parameters": {"rope_theta": 500000.0, "rope_type": "default"}, "dtype": "bfloat16"}
    assert read(tmp_path, five) == read(tmp_path, LLAMA)


def test_what_others_add_to_a_config_is_no_mistake(tmp_path):
    added = {"is_llama_config": True, "transformers.js_config": {}, "unsloth_fixed": True, "auto_map": {"AutoModel": "x.Y"}}
    assert read(tmp_path, LLAMA | added) == read(tmp_path, LLAMA)
    mlx = {"quantization": {"group_size": 64, "bits": 4}}
    assert read(tmp_path, LLAMA | mlx) == read(tmp_path, LLAMA | QUANTIZED) != read(tmp_path, LLAMA)


def test_two_spellings_that_disagree_are_refused(tmp_path):
    with pytest.raises(ValueError, match="num_local_experts: 64, but another spelling of it says 128"):
        read(tmp_path, QWEN3_MOE | {"num_local_experts": 64})
    assert read(tmp_path, QWEN3_MOE | {"num_local_experts": 128}).fields["num_experts"] == 128


def test_leading_dense_layers_are_read_and_interleaved_ones_refused(tmp_path):
    assert read(tmp_path, QWEN3_MOE | {"mlp_only_layers": [0, 1]}).fields["first_k_dense_replace"] == 2
    assert read(tmp_path, QWEN3_MOE | {"mlp_only_layers": [0, 1]}).fields["intermediate_size"] == 6144
    with pytest.raises(ValueError, match="mlp_only_layers: must be the leading layers.*interleaved"):
        read(tmp_path, QWEN3_MOE | {"mlp_only_layers": [0, 2]})
    with pytest.raises(ValueError, match="decoder_sparse_step: must be 1"):
        read(tmp_path, QWEN3_MOE | {"decoder_sparse_step": 2})


def test_the_text_part_of_gemma_3_is_read_with_the_defaults_that_it_leaves_out(tmp_path):
    text = {"model_type": "gemma3_text", "hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34}
    text |= {"sliding_window": 1024, "rope_scaling": {"factor": 8.0, "rope_type": "linear"}}
    imported = read(tmp_path, {"model_type": "gemma3", "text_config": text, "vision_config": {"hidden_size": 1152}})
    assert imported.family == "gemma3"
    assert (imported.fields["num_attention_heads"], imported.fields["vocab_size"]) == (8, 262208)
    assert imported.fields["qk_norm"] == imported.fields["tie_word_embeddings"] == 1
    assert any("vision" in note for note in imported.notes)
    assert read(tmp_path, text).fields == imported.fields


@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("Llama-3-8B", ()),
        ("Gemma-2-9B", ("norms after attention and FFN: 301,056 parameters more",)),  # 2 x 42 x 3584
        ("Qwen1.5-MoE-A2.7B", ("the shared expert's gate: 49,152 parameters more",)),  # 24 x 2048
        ("OLMoE-1B-7B", ("whole width: 65,536 parameters more",)),  # 16 x (2048 + 2048)
        ("Pythia-1b-deduped", ("biases of LayerNorm: 67,584 parameters more",)),  # 33 x 2048
        # per layer 2048x16x192 + 2048x576 + 512 + 512x16x256 + 16x128x2048, read as 4x2048x2048
        ("DeepSeek-V2-Lite", ("latent attention read as 16 heads of 128: 81,381,888 parameters fewer",)),
        ("DeepSeek-V3", ("quantized", "17,241,937,920 parameters fewer", "not counted")),
    ],
)
def test_notes_say_what_a_design_does_not_hold(tmp_path, name, note):
    notes = read(tmp_path, REAL[name]).notes
    assert len(notes) == len(note)
    assert all(part in said for part, said in zip(note, notes, strict=True))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{", "not a JSON file"),
        ("[" * 100_000, "not a JSON file"),
        ([], "no model_type"),
        ({}, "no model_type"),
        ({"model_type": "mamba"}, "model_type: 'mamba' is not known; allowed: llama, .*gemma3"),
        ({"model_type": ["llama"]}, "model_type: .* is not known"),
        (LLAMA | {"hiden_size": 1}, "unknown key 'hiden_size' for model_type llama; nothing is guessed"),
        (LLAMA | {"a": 1, "b": 2}, "unknown keys 'a', 'b'"),
        (LLAMA | {"num_local_experts": 8}, "unknown key 'num_local_experts' for model_type llama"),
        (LLAMA | {"hidden_size": "4096"}, "hidden_size: must be a whole number >= 1, not '4096'"),
        (LLAMA | {"hidden_size": 4096.5}, "hidden_size: must be a whole number"),
        (LLAMA | {"hidden_size": True}, "hidden_size: must be a whole number"),
        (LLAMA | {"hidden_size": -1}, "hidden_size: must be a whole number"),
        (LLAMA | {"hidden_size": 10**400}, "hidden_size: must be a whole number"),
        (LLAMA | {"hidden_size": None}, "hidden_size: missing"),
        (LLAMA | {"tie_word_embeddings": 1}, "tie_word_embeddings: must be true or false, not 1"),
        (LLAMA | {"num_key_value_heads": 7}, "num_key_value_heads: must divide num_attention_heads = 32, not 7"),
        (LLAMA | {"num_attention_heads": 40}, "head_dim: missing, and hidden_size = 4096 is no multiple"),
        (LLAMA | {"is_encoder_decoder": True}, "is_encoder_decoder: must be false"),
        (QWEN3_MOE | {"num_experts_per_tok": 129}, "num_experts_per_tok: must be 1 to num_experts = 128"),
        (QWEN3_MOE | {"mlp_only_layers": 3}, "mlp_only_layers: must be the leading layers"),
        (REAL["DeepSeek-V3"] | {"first_k_dense_replace": 62}, "first_k_dense_replace: must be at most num_hidden_layers"),
        (REAL["DeepSeek-V3"] | {"attention_bias": True}, "attention_bias: must be false"),
        (REAL["DeepSeek-V3"] | {"v_head_dim": 0}, "v_head_dim: must be a whole number >= 1"),
        (REAL["DeepSeek-V3"] | {"n_shared_experts": "1"}, "n_shared_experts: must be a whole number"),
        (REAL["DeepSeek-V3"] | {"moe_layer_freq": 2}, "moe_layer_freq: must be 1"),
        ({"model_type": "gemma3"}, "text_config: must be an object"),
        ({"model_type": "gemma3", "text_config": {}, "audio_config": {}}, "unknown key 'audio_config'"),
    ],
)
def test_a_wrong_config_is_one_line_that_names_the_key(tmp_path, value, message):
    with pytest.raises(ValueError, match=message) as refused:
        read(tmp_path, value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_key_is_in_one_place_of_its_family(family):
    table = FAMILIES[family]
    said = {*table.keys} | {*table.must}
    assert not said & table.ignored
    assert {*table.keys.values()} <= {*SHAPE}


SCRIPT = """
# Llama 3 8B
GPT_MODEL_ARGS=(
    --num-layers 32 \\
    --hidden-size 4096   # the width
    --ffn-hidden-size 14336
    --num-attention-heads 32 --group-query-attention --num-query-groups=8
    --max_position_embeddings 8192
    --seq-length 4096
    --position-embedding-type rope --rotary-base 500000
    --swiglu --disable-bias-linear --normalization "RMSNorm"
    --untie-embeddings-and-output-weights
    --vocab-size 128256
)
TRAINING="x" """.rpartition("\n")[0]
MOE = "--num-layers 61 --hidden-size 7168 --ffn-hidden-size 18432 --num-attention-heads 128 --kv-channels 128 --swiglu "
MOE += "--vocab-size 129280 --seq-length 4096 --use-rotary-position-embeddings --normalization RMSNorm --disable-bias-linear "
MOE += "--untie-embeddings-and-output-weights --num-experts 256 --moe-router-topk 8 --moe-ffn-hidden-size 2048 --qk-layernorm "
MOE += "--moe-shared-expert-intermediate-size 2048 --moe-layer-freq ([0]*3+[1]*58) --moe-router-dtype fp32 --lr 1e-4 --bf16"


def test_a_megatron_script_is_read(tmp_path):
    imported = read_megatron(SCRIPT)
    assert imported.notes == ()
    assert imported.fields == read(tmp_path, LLAMA).fields
    (tmp_path / "args.sh").write_text(SCRIPT)
    assert read_megatron(tmp_path / "args.sh") == read_megatron(str(tmp_path / "args.sh")) == imported


def test_a_megatron_moe_is_the_row_of_the_table(tmp_path):
    imported = read_megatron(MOE)
    assert imported.fields == read(tmp_path, REAL["DeepSeek-V3"]).fields | {"qk_norm": 1}
    assert imported.notes == ()


def test_what_megatron_assumes_is_assumed():
    imported = read_megatron("--num-layers 2 --hidden-size 96 --num-attention-heads 3 --vocab-size 1000 --seq-length 64")
    expected = {"intermediate_size": 384, "num_key_value_heads": 3, "head_dim": 32, "vocab_size": 1024}
    expected |= {"gated_ffn": 0, "tie_word_embeddings": 1, "attention_bias": 1, "mlp_bias": 1, "qk_norm": 0}
    assert {name: imported.fields[name] for name in expected} == expected
    assert [note.partition(" parameters")[0] for note in imported.notes] == [
        "vocab_size is 1,000 padded to a multiple of 128: 1,024",
        "biases of LayerNorm: 480",  # 5 norms of 96
        "learned positions: 6,144",  # 64 x 96
    ]


@pytest.mark.parametrize(
    ("arguments", "field", "value"),
    [
        ("--swiglu", "intermediate_size", 10880),  # floor(4 x 4096 x 2/3 / 64) x 64
        ("--group-query-attention", "num_key_value_heads", 1),
        ("--num-query-groups 8", "num_key_value_heads", 32),
        ("--num-experts 8", "num_experts_per_tok", 2),
        ("--num-experts 8", "moe_intermediate_size", 16384),
        ("--num-experts 8 --moe-layer-freq 1", "first_k_dense_replace", 0),
        ("--num-experts 8 --moe-layer-freq [0]*2+[1]*2", "first_k_dense_replace", 2),
        ("--num-experts 8 --moe-layer-freq \"'([0]+[1]*3)'\"", "first_k_dense_replace", 1),
        ("--make-vocab-size-divisible-by 64 --tensor-model-parallel-size 8", "vocab_size", 1024),
        ("--num-layers 7 --num-layers 9", "num_hidden_layers", 9),
    ],
)
def test_megatron_derives_what_is_not_given(arguments, field, value):
    base = "--num-layers 4 --hidden-size 4096 --num-attention-heads 32 --vocab-size 1000 --max-position-embeddings 128 "
    assert read_megatron(base + arguments).fields[field] == value


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--hidden-sise 3", "unknown argument --hidden-sise; did you mean 'hidden-size'?"),
        ("--bogus 3 --other", "unknown arguments --bogus, --other; nothing is guessed"),
        ("--multi-latent-attention", "--multi-latent-attention: a Design has grouped-query attention"),
        ("--mtp-num-layers 1", "--mtp-num-layers: "),
        ("--swiglu yes", "--swiglu: takes no value, got 'yes'"),
        ("--num-layers $LAYERS", r"--num-layers: \$LAYERS is a variable of a shell: write its value"),
        ("--tensor-model-parallel-size ${TP}", r"--tensor-model-parallel-size: \$\{TP\} is a variable"),
        ("--bf16 ${MOE_ARGS[@]}", r"\$\{MOE_ARGS\[@\]\} stands for further arguments"),
        ("--data-path x $MOE_OPTIONS", r"\$MOE_OPTIONS stands for further arguments"),
        (") stray", "'stray' stands where a flag"),
        ("--num-layers", "--num-layers: must be a whole number >= 1, not ''"),
        ("--num-layers 1 2", "--num-layers: must be a whole number"),
        ("--normalization BatchNorm", "--normalization: must be LayerNorm, RMSNorm, not 'BatchNorm'"),
        ("--position-embedding-type relative", "--position-embedding-type: must be"),
        ("--num-experts 8 --moe-layer-freq 2", "--moe-layer-freq: only leading layers may be dense"),
        ("--num-experts 8 --moe-layer-freq [1]*3", "--moe-layer-freq: must be a 0 or 1 for each of 4 layers, got 3"),
        ("--num-experts 8 --moe-layer-freq __import__('os')", "--moe-layer-freq: must be a number or a list"),
        ("--num-experts 8 --moe-layer-freq [1]*1000*1000*1000", "--moe-layer-freq: must be a number or a list"),
        ("--num-experts 8 --moe-router-topk 9", "--moe-router-topk: must be 1 to num_experts = 8"),
        ("--group-query-attention --num-query-groups 5", "--num-query-groups: must divide"),
        ("--num-attention-heads 3", "--kv-channels: missing, and --hidden-size 64 is no multiple"),
        ("'", "not an argument list"),
    ],
)
def test_a_wrong_argument_list_is_one_line_that_names_the_flag(arguments, message):
    base = "--num-layers 4 --hidden-size 64 --num-attention-heads 4 --vocab-size 128 --seq-length 32 "
    with pytest.raises(ValueError, match=message) as refused:
        read_megatron(base + arguments)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "missing", ["num-layers", "hidden-size", "num-attention-heads", "vocab-size", "max-position-embeddings"]
)
def test_a_missing_size_is_named(missing):
    sizes = {"num-layers": 4, "hidden-size": 64, "num-attention-heads": 4, "vocab-size": 128, "max-position-embeddings": 32}
    text = " ".join(f"--{flag} {value}" for flag, value in sizes.items() if flag != missing)
    with pytest.raises(ValueError, match=f"--{missing}: missing"):
        read_megatron(text)


@pytest.mark.parametrize(
    "form",
    [
        "torchrun --nproc_per_node $GPUS pretrain_gpt.py {0} {1}",
        "MODEL_ARGS=(\n{0}\n)\nMOE_ARGS=(\n{1}\n)",
        "ONE=({0})\nONE+=( {1} )",
        'options=" \\\n {0}" \nmore="{1} --bf16"',
        "--data-path ${{DATA}} --load $CHECKPOINT_PATH/iter {0} {1}",
    ],
)
def test_megatron_arguments_are_read_as_scripts_have_them(form):
    one, two = "--num-layers 4 --hidden-size 64 --num-attention-heads=4", "--vocab-size 128 --seq-length 32"
    assert read_megatron(form.format(one, two)) == read_megatron(f"{one} {two}")


def test_a_whole_script_is_no_argument_list():
    with pytest.raises(ValueError, match="'export' stands where a flag such as --num-layers should"):
        read_megatron("export OMP_NUM_THREADS=1\nARGS=(\n--num-layers 3\n)")


def test_no_flag_of_the_shape_is_ignored():
    shape = {*NUMBERS, *SWITCHES}
    assert not shape & IGNORED
    prefixed = {flag for flag in shape if flag.startswith(IGNORED_PREFIXES)}
    assert prefixed == {"moe-router-topk"}  # which is looked up first


@pytest.mark.parametrize("family", designs.HF)
@settings(max_examples=30)
@given(data=st.data())
def test_what_is_written_for_hf_is_read_back(tmp_path_factory, family, data):
    shape = data.draw(designs.shapes(**designs.HF[family]))
    path = tmp_path_factory.getbasetemp() / "round.json"
    path.write_text(write_config(shape, "hf", family))
    assert read_config(path) == Imported(family, shape)
    assert write_config(shape, "hf")  # some family is found without help


@given(designs.shapes(even=(True, False)))
def test_whatever_hf_does_not_refuse_is_read_back(tmp_path_factory, shape):
    path = tmp_path_factory.getbasetemp() / "round.json"
    try:
        path.write_text(write_config(shape, "hf"))
    except CannotHold as refused:
        assert refused.field in designs.FLAGS or refused.field in ("num_attention_heads", "first_k_dense_replace")
        return
    assert read_config(path).fields == shape


@given(designs.shapes())
def test_what_is_written_for_megatron_is_read_back(shape):
    shape["mlp_bias"] = shape["attention_bias"] * (not shape["shared_expert_intermediate_size"])
    shape["attention_bias"] = shape["mlp_bias"]
    shape["qkv_bias"] *= 1 - shape["attention_bias"]
    assert read_megatron(write_config(shape, "megatron")) == Imported("megatron", shape)


DENSE = {"num_hidden_layers": 4, "hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 8}
SPARSE = DENSE | {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 512}


@pytest.mark.parametrize(
    ("fields", "family"),
    [
        (DENSE, "llama"),
        (DENSE | {"attention_bias": 1, "mlp_bias": 1}, "llama"),
        (DENSE | {"attention_bias": 1, "qkv_bias": 1}, "llama"),
        (DENSE | {"num_attention_heads": 24}, "mistral"),
        (DENSE | {"qkv_bias": 1}, "qwen2"),
        (DENSE | {"qk_norm": 1, "attention_bias": 1}, "qwen3"),
        (SPARSE, "mixtral"),
        (SPARSE | {"qk_norm": 1, "first_k_dense_replace": 2}, "qwen3_moe"),
        (SPARSE | {"first_k_dense_replace": 2}, "glm4_moe"),
        (SPARSE | {"shared_expert_intermediate_size": 1024, "qkv_bias": 1}, "glm4_moe"),
    ],
)
def test_the_family_is_the_first_that_holds_the_design(fields, family):
    assert json.loads(write_config(fields, "hf"))["model_type"] == family
    assert json.loads(write_config(fields, "hf", family))["model_type"] == family


@pytest.mark.parametrize(
    ("fields", "format", "family", "message"),
    [
        (DENSE | {"gated_ffn": 0}, "hf", None, "gated_ffn = 0: hf has families with a gated FFN alone; must be 1"),
        (DENSE | {"gated_ffn": 0}, "torchtitan", None, "gated_ffn = 0: torchtitan holds only 1"),
        (DENSE | {"gated_ffn": 0}, "maxtext", None, "gated_ffn = 0: maxtext holds only 1"),
        (DENSE | {"qk_norm": 1, "mlp_bias": 1}, "hf", None, "no family of hf .*qk_norm = 1: llama.*mlp_bias = 1: qwen3"),
        (DENSE | {"qk_norm": 1}, "hf", "llama", "qk_norm = 1: llama has no switch for it; must be 0"),
        (DENSE, "hf", "qwen3", "qk_norm = 0: qwen3 has no switch for it; must be 1"),
        (DENSE, "hf", "mixtral", "num_experts = 0: mixtral is an MoE model"),
        (DENSE | {"num_attention_heads": 24}, "hf", "llama", "num_attention_heads = 24: llama needs a divisor of .* 1024"),
        (SPARSE | {"shared_expert_intermediate_size": 700}, "hf", None, "= 700: glm4_moe .* multiple of moe_.* = 512"),
        (SPARSE | {"first_k_dense_replace": 2}, "hf", "mixtral", "first_k_dense_replace = 2: mixtral has MoE layers alone"),
        (SPARSE | {"shared_expert_intermediate_size": 512}, "maxtext", None, "shared_.* = 512: maxtext holds only 0"),
        (DENSE | {"qkv_bias": 1}, "maxtext", None, "qkv_bias = 1: maxtext holds only 0"),
        (DENSE | {"qkv_bias": 1}, "torchtitan", None, "qkv_bias = 1: torchtitan holds only 0"),
        (DENSE | {"attention_bias": 1}, "megatron", None, "attention_bias = 1: megatron has biases on attention and FFN"),
        (DENSE | {"mlp_bias": 1}, "megatron", None, "mlp_bias = 1: megatron has biases on attention and FFN together"),
        (SPARSE | {"num_experts": 1}, "hf", None, "num_experts = 1: .* must be 0 or >= 2"),
        (SPARSE | {"num_experts_per_tok": 9}, "hf", None, "num_experts_per_tok = 9: must be 1 to num_experts = 8"),
        (SPARSE | {"moe_intermediate_size": 0}, "megatron", None, "moe_intermediate_size = 0: must be > 0"),
        (
            SPARSE | {"first_k_dense_replace": 4},
            "hf",
            None,
            "first_k_dense_replace = 4: must be less than num_hidden_layers = 4",
        ),
        (DENSE | {"intermediate_size": 0}, "hf", None, "intermediate_size = 0: must be > 0 where a layer is dense"),
        (DENSE | {"num_hidden_layers": 4.5}, "hf", None, "num_hidden_layers = 4.5: must be a whole number"),
        (DENSE | {"hidden_size": float("nan")}, "hf", None, "hidden_size = nan: must be a finite number"),
        (DENSE | {"num_attention_heads": 12}, "hf", None, "num_attention_heads = 12: .* multiple of num_key_value_heads = 8"),
        (DENSE | {"num_attention_heads": None, "hidden_size": 1600}, "hf", None, "num_attention_heads = 12.5: .* multiple"),
        (DENSE | {"num_attention_heads": 0}, "megatron", None, "num_attention_heads = 0: "),
    ],
)
def test_what_a_format_cannot_hold_is_refused_by_name(fields, format, family, message):
    with pytest.raises(CannotHold, match=message):
        write_config(fields, format, family)


@pytest.mark.parametrize(
    ("fields", "format", "family", "message"),
    [
        (DENSE, "hff", None, "--format: no format named 'hff'; did you mean 'hf'?"),
        (DENSE, "hf", "lama", "--family: no family named 'lama'; did you mean 'llama'?"),
        (DENSE, "megatron", "llama", "--family: goes with --format hf alone"),
        (DENSE | {"hiden_size": 3}, "hf", None, "hiden_size: unknown field; did you mean 'hidden_size'?"),
        ({}, "hf", None, "missing"),
    ],
)
def test_a_wrong_request_is_named(fields, format, family, message):
    with pytest.raises(ValueError, match=message) as refused:
        write_config(fields, format, family)
    assert not isinstance(refused.value, CannotHold)


def test_heads_that_are_not_given_follow_from_the_width():
    fields = {name: value for name, value in DENSE.items() if name != "num_attention_heads"}
    assert json.loads(write_config(fields, "hf"))["num_attention_heads"] == 8
    with pytest.raises(HeadCount) as refused:
        write_config(fields | {"hidden_size": 1152}, "hf")
    assert refused.value.groups == 8


def test_a_config_has_the_keys_of_both_eras():
    written = json.loads(write_config(SPARSE | {"qk_norm": 1}, "hf"))
    assert written["num_experts"] == written["num_local_experts"] == 8
    assert written["rope_theta"] == written["rope_parameters"]["rope_theta"]
    assert written["torch_dtype"] == written["dtype"]
    assert written["max_position_embeddings"] == 4096
    assert written["head_dim"] == 128


def test_megatron_is_told_what_it_would_refuse_or_change():
    lines = write_config(SPARSE | {"num_experts_per_tok": 1, "first_k_dense_replace": 1}, "megatron").splitlines()
    assert {"--make-vocab-size-divisible-by 1", "--moe-router-pre-softmax", "--moe-layer-freq [0]*1+[1]*3"} <= {*lines}
    assert "--moe-router-pre-softmax" not in write_config(SPARSE, "megatron")


def test_a_file_that_is_no_text_is_named(tmp_path):
    (tmp_path / "config.json").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="config.json: not a JSON file"):
        read_config(tmp_path)
    with pytest.raises(ValueError, match="config.json: not an argument list"):
        read_megatron(tmp_path / "config.json")
    with pytest.raises(FileNotFoundError):
        read_config(tmp_path / "none.json")


def test_maxtext_and_torchtitan_say_every_size():
    text = write_config(SPARSE | {"qk_norm": 1, "tie_word_embeddings": 1}, "maxtext")
    said = dict(line.split(": ") for line in text.splitlines())
    expected = {"decoder_block": '"qwen3_moe"', "base_num_decoder_layers": "4", "base_emb_dim": "1024", "base_mlp_dim": "512"}
    expected |= {"base_num_query_heads": "8", "base_num_kv_heads": "8", "head_dim": "128", "vocab_size": "150000"}
    expected |= {"num_experts": "8", "num_experts_per_tok": "2", "base_moe_mlp_dim": "512", "max_target_length": "4096"}
    expected |= {"logits_via_embedding": "true", "use_qk_norm": "true"}
    assert expected.items() <= said.items()
    module = write_config(SPARSE | {"first_k_dense_replace": 1, "shared_expert_intermediate_size": 700}, "torchtitan")
    compile(module, "model", "exec")
    constants = dict(line.split(" = ", 1) for line in module.splitlines() if line[:1].isupper())
    expected = {"N_LAYERS": "4", "DIM": "1024", "N_HEADS": "8", "N_KV_HEADS": "8", "HEAD_DIM": "128", "VOCAB_SIZE": "150000"}
    expected |= {"HIDDEN_DIM": "4096", "N_DENSE_LAYERS": "1", "NUM_EXPERTS": "8", "TOP_K": "2", "MOE_HIDDEN_DIM": "512"}
    expected |= {"SHARED_HIDDEN_DIM": "700", "WEIGHT_TYING": "False", "QK_NORM": "False", "MAX_SEQ_LEN": "4096"}
    assert expected.items() <= constants.items()
