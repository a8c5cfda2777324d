"""Required contents of a model's folder, and the sentence if one is missing."""

import json
import shutil

import pytest
from tests.trainer import families

from berth_trainer.errors import UserError
from berth_trainer.model.hardware import Hardware
from berth_trainer.model.loading import load_config, load_model, load_tokenizer

CPU = Hardware(cuda=False, precision="fp32", attention="auto", cpu_adam=False)


@pytest.fixture
def model_folder(workspace, tmp_path):
    """A copy of the demo model, to be broken."""
    return shutil.copytree(workspace / "model", tmp_path / "model")


def test_a_folder_without_tokenizer_is_refused(model_folder):
    """Transformers makes one up that knows no word: every sample would be a row of unknowns."""
    for file in model_folder.glob("tokenizer*"):
        file.unlink()

    with pytest.raises(UserError, match=r"holds no usable tokenizer: copy tokenizer\.json"):
        load_tokenizer(str(model_folder))


def test_a_broken_chat_template_is_one_sentence(model_folder):
    """It names the file to fix."""
    (model_folder / "chat_template.jinja").write_text("{% if %}")

    with pytest.raises(UserError, match=r"the chat template of .* fails: .*Fix its chat_template"):
        load_tokenizer(str(model_folder))


def test_weights_that_are_cut_short_are_one_sentence(model_folder):
    """A copy that broke off is reported as that."""
    weights = model_folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100_000])

    with pytest.raises(UserError, match=r"cut short or damaged .*: copy or download them again"):
        load_model(str(model_folder), load_config(str(model_folder)), CPU)


def test_weights_of_other_shapes_are_one_sentence(model_folder):
    """And it is the config file that is to be fixed."""
    config = model_folder / "config.json"
    document = json.loads(config.read_text())
    config.write_text(json.dumps(document | {"intermediate_size": 96}))

    with pytest.raises(UserError, match=r"mlp\.down_proj\.weight, …\) do not have the shapes"):
        load_model(str(model_folder), load_config(str(model_folder)), CPU)


@pytest.mark.parametrize(
    "changed", ["{", '{"model_type": "gemma3_text", "num_hidden_layers": "x"}']
)
def test_a_folder_is_not_reported_to_check_the_network(model_folder, changed):
    """That advice is for names on the hub."""
    (model_folder / "config.json").write_text(changed)

    with pytest.raises(UserError, match="cannot be loaded") as caught:
        load_config(str(model_folder))

    assert "network" not in caught.value.sentence


def test_a_multimodal_gemma_3_is_read_under_both_namings(tokenizer, tmp_path):
    """The hub's names of weights, and those that the class itself has and other tools write."""
    import torch
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "model"
    families.make(families.MULTIMODAL, folder, tokenizer)
    stored = load_file(folder / "model.safetensors")

    def loaded():
        return load_model(str(folder), load_config(str(folder)), CPU).state_dict()

    expected = loaded()
    prefix = "language_model.model."
    renamed = {
        key.replace(prefix, "model.language_model.").replace(
            "language_model.lm_head", "lm_head"
        ): value
        for key, value in stored.items()
    }
    assert renamed.keys() != stored.keys()
    save_file(renamed, folder / "model.safetensors", metadata={"format": "pt"})

    found = loaded()
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    stem = "model.layers.0.mlp.up_proj.weight"
    assert torch.equal(found[stem], stored[stem.replace("model.", prefix, 1)])
