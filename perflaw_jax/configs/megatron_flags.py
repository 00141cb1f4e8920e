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

IGNORED = {  # of training, data, parallelism and numerics
    *("attention-backend", "attention-softmax-in-fp32", "apply-layernorm-1p", "apply-residual-connection-post-layernorm"),
    *("apply-query-key-layer-scaling", "bf16", "fp16", "fp32-residual-connection", "calculate-per-token-loss", "clip-grad"),
    *("disable-bf16-reduced-precision-matmul", "deterministic-mode", "eod-mask-loss", "grad-reduce-in-bf16", "hidden-dropout"),
    *(
        "attention-dropout",
        "initial-loss-scale",
        "loss-scale",
        "min-loss-scale",
        "load",
        "save",
        "lr",
        "min-lr",
        "split",
        "seed",
    ),
    *("micro-batch-size", "global-batch-size", "batch-size", "rampup-batch-size", "mock-data", "norm-epsilon", "num-workers"),
    *("openai-gelu", "squared-relu", "sequence-parallel", "start-weight-decay", "end-weight-decay", "weight-decay", "seed"),
    *(
        "transformer-impl",
        "use-mcore-models",
        "use-legacy-models",
        "use-cpu-initialization",
        "use-flash-attn",
        "use-rope-scaling",
    ),
    *(
        "vocab-file",
        "vocab-extra-ids",
        "merge-file",
        "window-size",
        "window-attn-skip-freq",
        "profile",
        "pretrained-checkpoint",
    ),
    *("moe-grouped-gemm", "moe-permute-fusion", "moe-layer-recompute", "moe-per-layer-logging", "moe-shared-expert-overlap"),
    *("moe-input-jitter-eps", "moe-enable-deepep", "moe-extended-tp", "moe-apply-probs-on-input", "finetune", "optimizer"),
    *("no-bias-gelu-fusion", "no-bias-swiglu-fusion", "no-bias-dropout-fusion", "no-masked-softmax-fusion", "no-rope-fusion"),
    *(
        "no-gradient-accumulation-fusion",
        "no-persist-layer-norm",
        "no-create-attention-mask-in-dataloader",
        "no-mmap-bin-files",
    ),
    *("no-rope-freq", "no-check-for-nan-in-loss-and-grad", "no-query-key-layer-scaling", "onnx-safe", "no-initialization"),
    *(
        "no-save-optim",
        "no-save-rng",
        "no-load-optim",
        "no-load-rng",
        "no-one-logger",
        "bias-gelu-fusion",
        "empty-unused-memory-level",
    ),
}
IGNORED_PREFIXES = (
    *("accumulate-", "adam-", "async-", "auto-detect-ckpt", "check-", "checkpoint-", "ckpt-", "context-parallel-", "cp-comm-"),
    *("cross-entropy-", "cuda-graph", "data-", "dataloader-", "ddp-", "decoupled-", "defer-", "delay-", "dist-ckpt-"),
    *("distribute-", "distributed-", "enable-", "eval-", "exit-", "expert-model-parallel-", "expert-tensor-parallel-"),
    *("external-cuda-", "first-last-layers-bf16", "fp4-", "fp8-", "hysteresis", "inference-", "init-method-", "keep-fp8-"),
    *("legacy-tokenizer", "load-", "local-rank", "log-", "loss-scale-", "lr-", "manual-gc", "main-", "exp-avg-", "microbatch-"),
    *(
        "moe-aux-loss-",
        "moe-deepep-",
        "moe-expert-capacity-",
        "moe-flex-dispatcher-",
        "moe-hybridep-",
        "moe-pad-",
        "moe-router-",
    ),
    *("moe-token-", "moe-upcycling-", "moe-use-", "moe-z-loss-", "muon-", "num-ckpt", "num-dataset-builder-"),
    *(
        "num-distributed-",
        "num-layers-in-",
        "num-layers-per-",
        "num-layers-at-",
        "num-virtual-stages-",
        "nccl-",
        "non-persistent-",
    ),
    *("object-storage-", "one-logger", "optimizer-", "override-opt", "overlap-", "per-split-", "pipeline-model-parallel-"),
    *("profile-", "recompute-", "rerun-", "reset-", "rope-scaling-", "rotary-", "sample-rate", "save-", "sgd-", "straggler-"),
    *("target-expert-training-", "te-", "tensorboard-", "test-data-", "tiktoken-", "timing-", "tokenizer-", "tp-comm-"),
    *("train-", "use-checkpoint-", "use-custom-fsdp", "use-dist-ckpt", "use-distributed-", "use-fused-", "use-megatron-fsdp"),
    *("use-persistent-", "use-precision-aware-", "use-pytorch-", "use-ring-", "use-torch-", "use-tp-pp-", "valid-data-"),
    *("wandb-", "weight-decay-", "high-priority-", "hierarchical-context-", "batch-invariant-", "disable-straggler-"),
)
