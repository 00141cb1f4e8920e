"""Configurations of other tools: read into Design fields, and written from them.

What a format has no place for is refused by name, never approximated; what is read and has no place in a Design is a note.
"""

from collections.abc import Mapping

from perflaw_jax.configs.held import CannotHold as CannotHold
from perflaw_jax.configs.held import shape_of
from perflaw_jax.configs.hf_in import read_config as read_config
from perflaw_jax.configs.hf_out import write_hf
from perflaw_jax.configs.imported import Imported as Imported
from perflaw_jax.configs.maxtext_out import write_maxtext
from perflaw_jax.configs.megatron_in import read_megatron as read_megatron
from perflaw_jax.configs.megatron_out import write_megatron
from perflaw_jax.configs.torchtitan_out import write_torchtitan
from perflaw_jax.design import nearest

FORMATS = {"hf": write_hf, "megatron": write_megatron, "torchtitan": write_torchtitan, "maxtext": write_maxtext}


def check_format(format: str, family: str | None) -> None:
    """ValueError for a format that is not known, or a family beside another format than hf."""
    if format not in FORMATS:
        raise ValueError(f"--format: no format named {format!r}; {nearest(format, FORMATS)}")
    if family is not None and format != "hf":
        raise ValueError(f"--family: goes with --format hf alone, not with {format}")


def write_config(fields: Mapping[str, float], format: str, family: str | None = None) -> str:
    """The text of a configuration for one of ``FORMATS`` with exactly the design's parameters.

    Args:
        fields: Design fields; those not named have Design's defaults. Training tokens and data are in no configuration.
        format: "hf" (config.json), "megatron" (arguments), "torchtitan" (Python module) or "maxtext" (YAML).
        family: model_type for hf; else the first that holds the design.

    Raises:
        CannotHold: the format has no place for a field's value; the message names both and what is allowed.
        ValueError: an unknown format, family or field.
    """
    check_format(format, family)
    return FORMATS[format](shape_of(fields), family)
