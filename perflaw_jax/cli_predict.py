"""The command that scores one design, given by options or by the config of a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from perflaw_jax import answers
from perflaw_jax.cli_common import INFEASIBLE, Json, Law, fail

if TYPE_CHECKING:
    from perflaw_jax.configs import Imported


def predict(
    tokens: Annotated[str, typer.Option(help="training_tokens, e.g. 15T; no config has them.")],
    hf_config: Annotated[
        Path | None, typer.Option(exists=True, help="A Hugging Face config.json, or a model's directory; options change it.")
    ] = None,
    megatron_args: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="A file with an argument list of Megatron-LM.")
    ] = None,
    layers: Annotated[str | None, typer.Option(help="num_hidden_layers")] = None,
    hidden: Annotated[str | None, typer.Option(help="hidden_size")] = None,
    ffn: Annotated[str | None, typer.Option(help="intermediate_size")] = None,
    heads: Annotated[str | None, typer.Option(help="num_attention_heads; hidden / head_dim if not given")] = None,
    kv_heads: Annotated[str | None, typer.Option(help="num_key_value_heads, 8 if not given")] = None,
    head_dim: Annotated[str | None, typer.Option(help="head_dim, 128 if not given")] = None,
    vocab: Annotated[str | None, typer.Option(help="vocab_size, 150000 if not given")] = None,
    tied: Annotated[bool, typer.Option("--tied", help="Input and output embeddings are one matrix.")] = False,
    plain_ffn: Annotated[bool, typer.Option("--plain-ffn", help="Two FFN matrices, no gate.")] = False,
    experts: Annotated[str | None, typer.Option(help="num_experts")] = None,
    experts_per_tok: Annotated[str | None, typer.Option(help="num_experts_per_tok")] = None,
    expert_ffn: Annotated[str | None, typer.Option(help="moe_intermediate_size")] = None,
    shared_ffn: Annotated[str | None, typer.Option(help="shared_expert_intermediate_size")] = None,
    dense_layers: Annotated[str | None, typer.Option(help="first_k_dense_replace")] = None,
    context: Annotated[str | None, typer.Option(help="context_length, 4096 if not given")] = None,
    data: Annotated[
        list[str] | None, typer.Option("--data-fraction", metavar="SOURCE=SHARE", help="For a law of a mixture of data.")
    ] = None,
    limit: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Hold the design against a limit, e.g. training_flops=1e24.")
    ] = None,
    gamma: Annotated[float, typer.Option(min=1, help="Precision loss of the training infrastructure.")] = 1.0,
    law: Law = None,
    as_json: Json = False,
) -> None:
    """Score one design: why it scores so, exact counts, what limits it, the nearest real models."""
    from perflaw_jax.spec_toml import override

    given = {
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "intermediate_size": ffn,
        "num_attention_heads": heads,
        "training_tokens": tokens,
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim,
        "vocab_size": vocab,
        "tie_word_embeddings": 1 if tied else None,
        "gated_ffn": 0 if plain_ffn else None,
        "num_experts": experts,
        "num_experts_per_tok": experts_per_tok,
        "moe_intermediate_size": expert_ffn,
        "shared_expert_intermediate_size": shared_ffn,
        "first_k_dense_replace": dense_layers,
        "context_length": context,
    }
    shares = (part.partition("=") for part in data or ())
    given |= {f"data_fraction.{source.strip()}": share.strip() for source, _, share in shares}
    imported = _imported(hf_config, megatron_args)
    fields: dict[str, Any] = {} if imported is None else dict(imported.fields)
    fields |= {name: value for name, value in given.items() if value is not None}
    for option, name in (("--layers", "num_hidden_layers"), ("--hidden", "hidden_size")):
        if name not in fields:
            raise ValueError(f"{option} is missing ({name}); or give --hf-config FILE")
    limits: dict[str, Any] = {}
    for text in limit or ():
        override(limits, text, "--limit", "training_flops=1e24")
    from perflaw_jax.prediction import predict_one

    result = predict_one(fields, law, {} if gamma == 1.0 else {"gamma": gamma}, limits)
    if imported is not None:
        result |= {"family": imported.family, "import_notes": [*imported.notes]}
    answers.predicted(result, as_json)
    if broken := result["explanation"]["broken"]:
        raise typer.Exit(fail(f"the design breaks limits on {', '.join(broken)}", INFEASIBLE))


def _imported(hf_config: Path | None, megatron_args: Path | None) -> Imported | None:
    """The design of a config file, if one is given."""
    if hf_config is not None and megatron_args is not None:
        raise ValueError("--hf-config and --megatron-args: give one of the two")
    if hf_config is not None:
        from perflaw_jax.configs import read_config

        return read_config(hf_config)
    if megatron_args is not None:
        from perflaw_jax.configs import read_megatron

        return read_megatron(megatron_args)
    return None
