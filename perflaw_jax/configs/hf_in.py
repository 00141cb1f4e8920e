"""Reading a Hugging Face config.json into Design fields; what no table knows is refused."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from perflaw_jax.configs.hf_families import FAMILIES, METADATA, MODEL_TYPES, MUST, SPELLINGS, VISION, Family
from perflaw_jax.configs.imported import Imported, field_value, imported
from perflaw_jax.spec_values import show


def read_config(path: str | Path) -> Imported:
    """The design in a config.json, or in the directory of a model.

    Raises:
        ValueError: not JSON, a model_type or a key that is not known, or a value that the Design cannot hold; one line.
        OSError: the file cannot be read.
    """
    file = Path(path) / "config.json" if Path(path).is_dir() else Path(path)
    if file != Path(path) and not file.exists():
        raise ValueError(f"{path}: no config.json in this directory")
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        raise ValueError(f"{file}: not a JSON file") from None
    try:
        return _read(config)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None


def _read(config: Any) -> Imported:
    if not isinstance(config, dict) or "model_type" not in config:
        raise ValueError("no model_type: not the config of a model")
    family = config["model_type"]
    if not isinstance(family, str) or family not in MODEL_TYPES:
        raise ValueError(f"model_type: {show(family)} is not known; allowed: {', '.join(MODEL_TYPES)}")
    quantized = any(config.get(key) for key in ("quantization_config", "quantization"))
    notes = ["the weights are quantized; bytes are counted at 2 per parameter"] if quantized else []
    if family == "gemma3":
        config = _text_part(config)
        notes.append("the vision tower and its projection are not counted")
    table = FAMILIES["gemma3_text" if family == "gemma3" else family]
    values = _values(config, table, family)
    fields = _fields(values, table)
    for rule in table.rules:
        changed, said = rule(values, fields)
        fields, notes = fields | changed, notes + said
    return imported(family, fields, notes, lambda field, wrong: ValueError(f"{_key_of(table, field)}: {wrong}"))


def _text_part(config: Mapping[str, Any]) -> dict[str, Any]:
    """The language model inside of Gemma 3."""
    text = config.get("text_config")
    if not isinstance(text, dict):
        raise ValueError(f"text_config: must be an object, not {show(text)}")
    _refuse_unknown(config, {*VISION, "text_config", "tie_word_embeddings"}, "gemma3")
    tied = config.get("tie_word_embeddings")
    return text if tied is None else {"tie_word_embeddings": tied, **text}


def _values(config: Mapping[str, Any], table: Family, family: str) -> dict[str, Any]:
    """Key, in the table's spelling -> value, with what transformers has for keys that are absent."""
    must = MUST | {**table.must}
    _refuse_unknown(config, {*table.keys, *table.defaults, *table.ignored, *must}, family)
    given: dict[str, Any] = {}
    for key, value in config.items():
        name = SPELLINGS.get(key, key)
        if name in given and given[name] != value:
            raise ValueError(f"{key}: {show(value)}, but another spelling of it says {show(given[name])}")
        given[name] = value
    for key, allowed in must.items():
        value = given.get(key)
        if value is not None and value not in allowed:
            wanted = " or ".join(map(show, allowed))
            raise ValueError(f"{key}: must be {wanted}, a Design holds nothing else, not {show(value)}")
    return {**table.defaults, **given}


def _refuse_unknown(config: Mapping[str, Any], known: set[str], family: str) -> None:
    unknown = [show(key) for key in config if SPELLINGS.get(key, key) not in known | METADATA | {*MUST}]
    if unknown:
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        plural = "s" if len(unknown) > 1 else ""
        raise ValueError(f"unknown key{plural} {', '.join(unknown[:5])}{more} for model_type {family}; nothing is guessed")


def _fields(values: Mapping[str, Any], table: Family) -> dict[str, int]:
    fields = dict(table.always)
    for key, field in table.keys.items():
        value = values.get(key)
        if value is None and field not in ("num_key_value_heads", "head_dim"):
            value = table.defaults.get(key)
            if value is None:
                raise ValueError(f"{key}: missing")
        if value is not None:
            fields[field] = _checked(key, field_value, field, value)
    fields.setdefault("num_key_value_heads", fields["num_attention_heads"])
    if "head_dim" not in fields and "v_head_dim" not in values:  # that is the width of a head with latent attention
        width, heads = fields["hidden_size"], fields["num_attention_heads"]
        if width % heads:
            raise ValueError(f"head_dim: missing, and hidden_size = {width} is no multiple of num_attention_heads = {heads}")
        fields["head_dim"] = width // heads
    return fields


def _checked(key: str, check: Callable[[str, Any], int], field: str, value: Any) -> int:
    try:
        return check(field, value)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None


def _key_of(table: Family, field: str) -> str:
    return next((key for key, name in table.keys.items() if name == field), field)
