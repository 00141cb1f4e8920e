import jax
import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st

from perflaw_jax import accounting, datasets
from perflaw_jax.design import COUNTS, QUANTITIES, RATIOS, Design

LLAMA_3_8B = Design(32, 4096, 14336, 32, 15e12, vocab_size=128256, context_length=8192)
QUANTITY_OF = jax.jit(lambda design: {name: accounting.quantity(name, design) for name in QUANTITIES})
PARAMETERS = jax.jit(accounting.parameters)

# Parameters as the checkpoints on Hugging Face hold them.
CHECKPOINTS = {
    "Llama-2-7B": (Design(32, 4096, 11008, 32, 2e12, 32, vocab_size=32000), 6_738_415_616),
    "Llama-3-8B": (LLAMA_3_8B, 8_030_261_248),
    "Llama-3-70B": (Design(80, 8192, 28672, 64, 15e12, vocab_size=128256), 70_553_706_496),
    "Llama-3.1-405B": (Design(126, 16384, 53248, 128, 15e12, vocab_size=128256), 405_853_388_800),
    "Mistral-7B": (Design(32, 4096, 14336, 32, 8e12, vocab_size=32000), 7_241_732_096),
    "TinyLlama-1.1B": (Design(22, 2048, 5632, 32, 3e12, 4, 64, 32000), 1_100_048_384),
    "Qwen2-7B": (Design(28, 3584, 18944, 28, 7e12, 4, vocab_size=152064, qkv_bias=1), 7_615_616_512),
    "Qwen2.5-0.5B": (
        Design(24, 896, 4864, 14, 18e12, 2, 64, 151936, tie_word_embeddings=1, qkv_bias=1),
        494_032_768,
    ),
    "Qwen3-8B": (Design(36, 4096, 12288, 32, 36e12, vocab_size=151936, qk_norm=1), 8_190_735_360),
    "Mixtral-8x7B": (
        Design(32, 4096, 0, 32, 1e12, vocab_size=32000, num_experts=8, num_experts_per_tok=2, moe_intermediate_size=14336),
        46_702_792_704,
    ),
    "DeepSeekMoE-16B": (
        Design(28, 2048, 10944, 16, 2e12, 16, 128, 102400, 0, 1, 64, 6, 1408, 2816, first_k_dense_replace=1),
        16_375_728_128,
    ),
}


@st.composite
def configs(draw) -> dict[str, int]:
    """Every field of a small design as an int: dense or MoE, with every flag."""

    def whole(low: int, high: int) -> int:
        return draw(st.integers(low, high))

    layers, experts = whole(1, 5), draw(st.sampled_from((0, 1, 2, 7)))
    return {
        "num_hidden_layers": layers,
        "hidden_size": whole(1, 5000),
        "intermediate_size": whole(1, 20000),
        "num_attention_heads": whole(1, 64),
        "training_tokens": whole(1, 10**12),
        "num_key_value_heads": whole(1, 64),
        "head_dim": whole(1, 256),
        "vocab_size": whole(1, 300_000),
        "num_experts": experts,
        "num_experts_per_tok": whole(min(1, experts), experts),
        "moe_intermediate_size": whole(1, 5000) if experts else 0,
        "shared_expert_intermediate_size": draw(st.sampled_from((0, 1, 2816))) if experts else 0,
        "first_k_dense_replace": whole(0, layers) if experts else 0,
        "context_length": whole(1, 10**6),
    } | {
        flag: whole(0, 1) for flag in ("tie_word_embeddings", "gated_ffn", "attention_bias", "qkv_bias", "mlp_bias", "qk_norm")
    }


def exactly(function, design: Design):
    """``function(design)`` in float64 on a design of floats: its leaves as Python floats."""
    with jax.enable_x64(True):
        return jax.tree.map(float, function(jax.tree.map(float, design)))


@given(configs())
def test_parameters_are_those_of_every_matrix_and_vector(config):
    design = Design(**config)
    expected = reference.parameters(config)
    assert exactly(PARAMETERS, design)._asdict() == expected
    counts = exactly(QUANTITY_OF, design)
    assert counts["total_params"] == reference.total_params(config)
    assert counts["exact_params"] == sum(expected.values())
    assert counts["active_params"] == pytest.approx(
        reference.active_params(config), rel=1e-15
    )  # the share of experts is a fraction


@given(configs())
def test_what_follows_from_the_parameters(config):
    counts = exactly(QUANTITY_OF, Design(**config))
    active, total, tokens = counts["active_params"], counts["total_params"], config["training_tokens"]
    assert counts["training_flops"] == pytest.approx(6 * active * tokens, rel=1e-15)
    assert counts["inference_flops_per_token"] == 2 * active
    assert counts["weight_bytes"] == 2 * total
    assert counts["optimizer_bytes"] == 12 * total
    per_layer = 2 * config["num_key_value_heads"] * config["head_dim"] * config["context_length"]
    assert counts["kv_cache_bytes"] == 2 * config["num_hidden_layers"] * per_layer
    assert counts["aspect_ratio"] == config["hidden_size"] / config["num_hidden_layers"]
    assert counts["expert_ratio"] == config["moe_intermediate_size"] / config["hidden_size"]
    assert counts["tokens_per_param"] == pytest.approx(tokens / total, rel=1e-15)


@given(configs())
def test_float32_counts_are_close(config):
    exact = exactly(QUANTITY_OF, Design(**config))
    close = jax.tree.map(float, QUANTITY_OF(jax.tree.map(float, Design(**config))))
    for name in (*COUNTS, *RATIOS):
        assert close[name] == pytest.approx(exact[name], rel=1e-6), name


@given(st.integers(1, 200), st.integers(1, 150), st.integers(1, 200_000))
def test_the_planners_size(layers, heads, ffn):
    hidden = 128 * heads
    counts = exactly(QUANTITY_OF, Design(layers, hidden, ffn, heads, 1e12))
    assert counts["total_params"] == counts["active_params"] == reference.planner_size(layers, hidden, ffn)


@given(configs())
def test_one_expert_of_one_is_a_dense_model(config):
    dense = config | dict.fromkeys(("num_experts", "num_experts_per_tok", "moe_intermediate_size"), 0)
    dense |= {"shared_expert_intermediate_size": 0, "first_k_dense_replace": 0}
    moe = dense | {"num_experts": 1, "num_experts_per_tok": 1, "moe_intermediate_size": dense["intermediate_size"]}
    expected, found = exactly(QUANTITY_OF, Design(**dense)), exactly(QUANTITY_OF, Design(**moe))
    for name in {*COUNTS, *RATIOS} - {"expert_ratio"}:
        assert found[name] == expected[name], name
    assert (expected["expert_ratio"], found["expert_ratio"]) == (0, dense["intermediate_size"] / dense["hidden_size"])


@pytest.mark.parametrize(("design", "expected"), CHECKPOINTS.values(), ids=CHECKPOINTS)
def test_exact_params_of_real_checkpoints(design, expected):
    assert exactly(QUANTITY_OF, design)["exact_params"] == expected


def test_every_real_model_with_gqa():
    models = datasets.load_models()
    models = models[datasets.gqa_rows(models)]
    with jax.enable_x64(True):
        found = np.asarray(QUANTITY_OF(Design(**datasets.model_fields(models)))["total_params"])
    error = np.abs(found / (models["total_params_b"].to_numpy(float) * 1e9) - 1)
    assert len(error) == 217
    assert np.median(error) <= 5e-4
    assert error.max() <= 0.06, models["name"].iloc[int(error.argmax())]


def test_flops_of_every_matrix_product():
    # Llama-3-8B at a context of 8192: per token 2 FLOPs per weight but those of the input embedding, and per layer 2 for the
    # score and 2 for its use, times 32 heads, 128 numbers and 8192 tokens
    weights = 32 * 4096 * (2 * 4096 + 2 * 1024 + 3 * 14336) + 128256 * 4096
    forward = 2 * weights + 32 * (2 + 2) * 32 * 128 * 8192
    assert exactly(QUANTITY_OF, LLAMA_3_8B)["exact_training_flops"] == pytest.approx(3 * forward * 15e12, rel=1e-15)


def test_tied_embeddings_save_parameters_and_no_flops():
    tied = exactly(QUANTITY_OF, LLAMA_3_8B._replace(tie_word_embeddings=1))
    untied = exactly(QUANTITY_OF, LLAMA_3_8B)
    assert untied["total_params"] - tied["total_params"] == 128256 * 4096
    assert untied["exact_training_flops"] == tied["exact_training_flops"]


def test_a_plain_ffn_has_two_matrices():
    plain = exactly(PARAMETERS, LLAMA_3_8B._replace(gated_ffn=0)).ffn
    assert 3 * plain == 2 * exactly(PARAMETERS, LLAMA_3_8B).ffn


def test_kv_cache_of_llama_3_8b_is_one_gibibyte():
    assert exactly(QUANTITY_OF, LLAMA_3_8B)["kv_cache_bytes"] == 2**30
    every_head = LLAMA_3_8B._replace(num_key_value_heads=32)
    assert exactly(QUANTITY_OF, every_head)["kv_cache_bytes"] == 2**32


def test_ffn_width_that_a_token_passes():
    moe = Design(28, 2048, 10944, 16, 2e12, num_experts=64, num_experts_per_tok=6, moe_intermediate_size=1408)
    assert float(accounting.ffn_width(moe._replace(shared_expert_intermediate_size=2816))) == 6 * 1408 + 2816
    assert exactly(QUANTITY_OF, moe)["ffn_ratio"] == 6 * 1408 / 2048
    assert exactly(QUANTITY_OF, LLAMA_3_8B)["ffn_ratio"] == 3.5


@given(configs(), st.floats(1e18, 1e28))
def test_affordable_tokens_are_the_most_that_the_budget_buys(config, budget):
    with jax.enable_x64(True):
        tokens = float(jax.jit(accounting.affordable_tokens)(jax.tree.map(float, Design(**config)), budget))
    per_token = 6 * reference.active_params(config)
    assert tokens == int(tokens)
    assert per_token * tokens <= budget * (1 + 1e-15) and per_token * (tokens + 1) >= budget * (1 - 1e-15)
