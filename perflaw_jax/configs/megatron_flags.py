"""Which arguments of Megatron-LM are which Design field, and which change no count.

Source: ``megatron/training/arguments.py`` and ``TransformerConfig`` of Megatron-LM, core 0.12 to 0.16.
"""

NUMBERS = {
    "num-layers": "num_hidden_layers",
    "hidden-size": "hidden_size",
    "ffn-hidden-size": "intermediate_size",
    "num-attention-heads": "num_attention_heads",
    "num-query-groups": "num_key_value_heads",
    "kv-channels": "head_dim",
    "vocab-size": "vocab_size",
    "max-position-embeddings": "context_length",
    "seq-length": "context_length",  # where there is no --max-position-embeddings
    "num-experts": "num_experts",
    "moe-router-topk": "num_experts_per_tok",
    "moe-ffn-hidden-size": "moe_intermediate_size",
    "moe-shared-expert-intermediate-size": "shared_expert_intermediate_size",
}
SWITCHES = {
    "swiglu",
    "quick-geglu",
    "group-query-attention",
    "untie-embeddings-and-output-weights",
    "disable-bias-linear",
    "add-qkv-bias",
    "qk-layernorm",
    "moe-shared-expert-gate",
    "use-rotary-position-embeddings",
    "no-position-embedding",
}
WORDS = {  # flag -> what it may say
    "normalization": ("LayerNorm", "RMSNorm"),
    "position-embedding-type": ("learned_absolute", "rope", "mrope", "yarn", "none"),
}
PADDING = {"make-vocab-size-divisible-by": 128, "tensor-model-parallel-size": 1}  # default of what the vocabulary is padded to
LAYERS = "moe-layer-freq"

REFUSED = {  # flag -> why a Design does not hold it
    "multi-latent-attention": "a Design has grouped-query attention; the model's Hugging Face config can be read",
    "mtp-num-layers": "layers that predict further tokens have no place in a Design",
    "moe-latent-size": "a Design's experts are as wide as the model at both ends",
    "heterogeneous-layers-config-path": "a Design's layers are alike",
    "hybrid-override-pattern": "a Design's layers are alike",
    "hybrid-layer-pattern": "a Design's layers are alike",
    "encoder-num-layers": "a Design is a decoder alone",
    "decoder-num-layers": "a Design is a decoder alone",
}

# of training, data, parallelism and numerics
IGNORED = frozenset(
    """
    apply-layernorm-1p apply-query-key-layer-scaling apply-residual-connection-post-layernorm attention-backend
    attention-dropout attention-softmax-in-fp32 batch-size bf16 bias-gelu-fusion calculate-per-token-loss clip-grad
    deterministic-mode disable-bf16-reduced-precision-matmul empty-unused-memory-level end-weight-decay eod-mask-loss finetune
    fp16 fp32-residual-connection global-batch-size grad-reduce-in-bf16 hidden-dropout initial-loss-scale load loss-scale lr
    merge-file micro-batch-size min-loss-scale min-lr mock-data moe-apply-probs-on-input moe-enable-deepep moe-extended-tp
    moe-grouped-gemm moe-input-jitter-eps moe-layer-recompute moe-per-layer-logging moe-permute-fusion moe-shared-expert-overlap
    no-bias-dropout-fusion no-bias-gelu-fusion no-bias-swiglu-fusion no-check-for-nan-in-loss-and-grad
    no-create-attention-mask-in-dataloader no-gradient-accumulation-fusion no-initialization no-load-optim no-load-rng
    no-masked-softmax-fusion no-mmap-bin-files no-one-logger no-persist-layer-norm no-query-key-layer-scaling no-rope-freq
    no-rope-fusion no-save-optim no-save-rng norm-epsilon num-workers onnx-safe openai-gelu optimizer pretrained-checkpoint
    profile rampup-batch-size save seed sequence-parallel split squared-relu start-weight-decay transformer-impl
    use-cpu-initialization use-flash-attn use-legacy-models use-mcore-models use-rope-scaling vocab-extra-ids vocab-file
    weight-decay window-attn-skip-freq window-size
    """.split()
)
IGNORED_PREFIXES = tuple(
    """
    accumulate- adam- async- auto-detect-ckpt batch-invariant- check- checkpoint- ckpt- context-parallel- cp-comm-
    cross-entropy- cuda-graph data- dataloader- ddp- decoupled- defer- delay- disable-straggler- dist-ckpt- distribute-
    distributed- enable- eval- exit- exp-avg- expert-model-parallel- expert-tensor-parallel- external-cuda-
    first-last-layers-bf16 fp4- fp8- hierarchical-context- high-priority- hysteresis inference- init-method- keep-fp8-
    legacy-tokenizer load- local-rank log- loss-scale- lr- main- manual-gc microbatch- moe-aux-loss- moe-deepep-
    moe-expert-capacity- moe-flex-dispatcher- moe-hybridep- moe-pad- moe-router- moe-token- moe-upcycling- moe-use- moe-z-loss-
    muon- nccl- non-persistent- num-ckpt num-dataset-builder- num-distributed- num-layers-at- num-layers-in- num-layers-per-
    num-virtual-stages- object-storage- one-logger optimizer- overlap- override-opt per-split- pipeline-model-parallel- profile-
    recompute- rerun- reset- rope-scaling- rotary- sample-rate save- sgd- straggler- target-expert-training- te- tensorboard-
    test-data- tiktoken- timing- tokenizer- tp-comm- train- use-checkpoint- use-custom-fsdp use-dist-ckpt use-distributed-
    use-fused- use-megatron-fsdp use-persistent- use-precision-aware- use-pytorch- use-ring- use-torch- use-tp-pp- valid-data-
    wandb- weight-decay-
    """.split()
)
