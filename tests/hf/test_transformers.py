"""transformers builds the exported configs, and those that can be read, with exactly the parameters that are counted.

On the meta device, so that no weight is made. ``make configs`` installs what this needs.
"""

import json
import os
import re
from importlib.util import find_spec

import designs
import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perflaw_jax import accounting
from perflaw_jax.configs import read_config, write_config
from perflaw_jax.configs.hf_families import MODEL_TYPES
from perflaw_jax.configs.hf_out import TARGETS
from perflaw_jax.design import Design

os.environ["HF_HUB_OFFLINE"] = "1"  # read when transformers is imported
needed = "needs transformers and torch: pip install 'perflaw_jax[hf]', or make configs"
if not (find_spec("transformers") and find_spec("torch")):  # imported by the tests: seconds, in each of xdist's workers
    pytest.skip(needed, allow_module_level=True)

pytestmark = pytest.mark.filterwarnings("ignore:Initializing zero-element tensors is a no-op:UserWarning:torch")

GIVEN = {  # what the config class has no default for, or a default that cannot be built
    "deepseek_v2": {"num_experts_per_tok": 6},
    "glm4_moe": {"head_dim": 128},
}


@pytest.fixture(scope="module")
def transformers():
    import transformers

    return transformers


def built_params(config) -> int:
    """Parameters of the model, tied ones once."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    return sum(parameter.numel() for parameter in model.parameters())


def counted_params(fields) -> int:
    with jax.enable_x64(True):
        design = Design(**{name: np.float64(value) for name, value in fields.items()}, training_tokens=np.float64(1e12))
        return int(accounting.exact_params(design))


def noted_params(notes) -> int:
    """What the notes say that the config has more than is counted."""
    differences = [re.search(r": ([\d,]+) parameters (more|fewer) ", note) for note in notes]
    return sum(int(d[1].replace(",", "")) * (1 if d[2] == "more" else -1) for d in differences if d)


@pytest.mark.parametrize("family", TARGETS)
@settings(max_examples=8)
@given(data=st.data())
def test_an_exported_config_builds_with_exactly_the_parameters(transformers, tmp_path_factory, family, data):
    shape = data.draw(designs.shapes(**designs.HF[family]))
    path = tmp_path_factory.mktemp("exported")
    (path / "config.json").write_text(write_config(shape, "hf", family))
    config = transformers.AutoConfig.from_pretrained(path)
    assert type(config).model_type == family
    assert config.architectures == [transformers.AutoModelForCausalLM._model_mapping[type(config)].__name__]
    assert built_params(config) == counted_params(shape)
    config.save_pretrained(path)  # in the words of this version
    assert read_config(path).fields == shape


@pytest.mark.parametrize("family", [name for name in MODEL_TYPES if name != "gemma3"])
def test_a_config_of_transformers_is_read_up_to_what_the_notes_say(transformers, tmp_path, family):
    config = transformers.AutoConfig.for_model(family, **GIVEN.get(family, {}))
    (tmp_path / "config.json").write_text(config.to_json_string(use_diff=False))
    imported = read_config(tmp_path)
    assert imported.fields["context_length"] == config.max_position_embeddings
    assert built_params(config) == counted_params(imported.fields) + noted_params(imported.notes)


@pytest.mark.parametrize("family", [name for name in MODEL_TYPES if name != "gemma3"])
def test_absent_keys_mean_what_they_mean_in_transformers(transformers, tmp_path, family):
    config = transformers.AutoConfig.for_model(family, **GIVEN.get(family, {}))
    whole = json.loads(config.to_json_string(use_diff=False))
    (tmp_path / "config.json").write_text(json.dumps(whole))
    fields = read_config(tmp_path).fields
    for key in whole:
        (tmp_path / "config.json").write_text(json.dumps({name: value for name, value in whole.items() if name != key}))
        try:
            assert read_config(tmp_path).fields == fields, key
        except ValueError as refused:
            assert "missing" in str(refused) or key == "model_type"


def test_the_text_part_of_gemma_3_is_the_language_model(transformers, tmp_path):
    config = transformers.AutoConfig.for_model("gemma3")
    (tmp_path / "config.json").write_text(config.to_json_string(use_diff=False))
    imported = read_config(tmp_path)
    assert built_params(config.text_config) == counted_params(imported.fields) + noted_params(imported.notes)
