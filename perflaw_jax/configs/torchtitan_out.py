"""Writing the model of a design for torchtitan, whose configurations are Python: a flavor of its Qwen3Model.

Source: torchtitan 0.3.0, ``models/common/config_utils.py`` and ``models/qwen3``. Its Qwen3Model takes a list of layers, each
with a norm of queries and keys or none, and an FFN or experts with an FFN beside: more than its Llama 3 holds.
"""

from collections.abc import Mapping

from perflaw_jax.configs.held import refuse

_IMPORTS = '''"""A model of torchtitan 0.3: model_config() is a flavor for qwen3_configs of torchtitan.models.qwen3."""

from functools import partial

from torch import nn
from torchtitan.models.common import CosSinRoPE, Embedding, Linear
from torchtitan.models.common import config_utils as make
from torchtitan.models.common.nn_modules import RMSNorm
from torchtitan.models.common.param_init import skip_param_init
from torchtitan.models.qwen3.model import Qwen3Model, Qwen3TransformerBlock

'''

_HELPERS = """INIT = {"weight": partial(nn.init.normal_, std=0.02)}


def norm(width):
    return RMSNorm.Config(normalized_shape=width, eps=1e-6, param_init={"weight": nn.init.ones_})


def ffn(width):
    return make.make_ffn_config(dim=DIM, hidden_dim=width, w1_param_init=INIT, w2w3_param_init=INIT)


"""

_MOE = """def moe(backend):
    router = make.make_router_config(
        dim=DIM, num_experts=NUM_EXPERTS, gate_param_init=INIT, top_k=TOP_K, score_func="softmax", route_norm=True
    )
    experts = make.make_routed_experts_config(
        dim=DIM,
        hidden_dim=MOE_HIDDEN_DIM,
        num_experts=NUM_EXPERTS,
        top_k=TOP_K,
        param_init=dict.fromkeys(("w1_EFD", "w2_EDF", "w3_EFD"), INIT["weight"]),
        comm_backend=backend,
    )
    shared = ffn(SHARED_HIDDEN_DIM) if SHARED_HIDDEN_DIM else None
    return make.make_moe_config(num_experts=NUM_EXPERTS, router=router, routed_experts=experts, shared_experts=shared)


"""

_MODEL = """def layer(index, attn_backend, moe_comm_backend):
    attention = make.make_gqa_config(
        dim=DIM,
        n_heads=N_HEADS,
        n_kv_heads=N_KV_HEADS,
        head_dim=HEAD_DIM,
        wqkv_param_init=INIT,
        wo_param_init=INIT,
        inner_attention=make.get_attention_config(attn_backend),
        rope=CosSinRoPE.Config(dim=HEAD_DIM, max_seq_len=MAX_SEQ_LEN, theta=500000.0),
        qk_norm=norm(HEAD_DIM) if QK_NORM else None,
    )
    kind = {FFN}
    return Qwen3TransformerBlock.Config(attention_norm=norm(DIM), ffn_norm=norm(DIM), attention=attention, **kind)


def model_config(attn_backend="flex", moe_comm_backend="standard"):
    return Qwen3Model.Config(
        dim=DIM,
        vocab_size=VOCAB_SIZE,
        enable_weight_tying=WEIGHT_TYING,
        tok_embeddings=Embedding.Config(
            num_embeddings=VOCAB_SIZE,
            embedding_dim=DIM,
            param_init={"weight": skip_param_init} if WEIGHT_TYING else INIT,
        ),
        norm=norm(DIM),
        lm_head=Linear.Config(in_features=DIM, out_features=VOCAB_SIZE, param_init=INIT),
        layers=[layer(index, attn_backend, moe_comm_backend) for index in range(N_LAYERS)],
    )
"""


def write_torchtitan(shape: Mapping[str, int], family: str | None = None) -> str:
    """A Python module; ``model_config()`` in it makes the configuration of the model."""
    refuse(shape, "torchtitan", {"gated_ffn": (1,), "attention_bias": (0,), "qkv_bias": (0,), "mlp_bias": (0,)})
    moe, dense = shape["num_experts"], shape["first_k_dense_replace"]
    sizes = {
        "N_LAYERS": shape["num_hidden_layers"],
        "DIM": shape["hidden_size"],
        "N_HEADS": shape["num_attention_heads"],
        "N_KV_HEADS": shape["num_key_value_heads"],
        "HEAD_DIM": shape["head_dim"],
        "VOCAB_SIZE": shape["vocab_size"],
        "WEIGHT_TYING": bool(shape["tie_word_embeddings"]),
        "QK_NORM": bool(shape["qk_norm"]),
        "MAX_SEQ_LEN": shape["context_length"],
    }
    if not moe or dense:
        sizes["HIDDEN_DIM"] = shape["intermediate_size"]
    if moe:
        sizes |= {"N_DENSE_LAYERS": dense, "NUM_EXPERTS": moe, "TOP_K": shape["num_experts_per_tok"]}
        sizes |= {"MOE_HIDDEN_DIM": shape["moe_intermediate_size"]}
        sizes |= {"SHARED_HIDDEN_DIM": shape["shared_expert_intermediate_size"]}
    feed_forward, experts = '{"feed_forward": ffn(HIDDEN_DIM)}', '{"moe": moe(moe_comm_backend)}'
    mixed = f"{feed_forward} if index < N_DENSE_LAYERS else {experts}"
    kind = mixed if moe and dense else experts if moe else feed_forward
    constants = "".join(f"{name} = {value}\n" for name, value in sizes.items())
    return _IMPORTS + constants + _HELPERS + (_MOE if moe else "") + _MODEL.replace("{FFN}", kind)
