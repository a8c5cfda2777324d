"""Saved models: a plain from_pretrained gives the loss of the trained model."""

import json

import pytest
from tests.trainer import families

from berth_trainer.model import lora
from berth_trainer.outcome import saved_model

pytestmark = pytest.mark.timeout(300)


def checked(run):
    assert run.code == 0, run.text
    return json.loads((run.out / "results.json").read_text())["final_model_check"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "adapted", ["q_proj,lm_head", "embed_tokens,v_proj", "lm_head,embed_tokens"]
)
def test_an_adapter_on_a_tied_weight_is_saved_as_it_was_trained(chain, adapted):
    """Head and embedding share a weight, and the adapter changes one of the two."""
    run = chain("out", "--max_steps", 6, training={"learning_rate": 2e-2},
                lora={"r": 8, "target_modules": adapted})  # fmt: skip

    check = checked(run)
    assert check["saved_loss"] == pytest.approx(check["trained_loss"], abs=1e-4)
    assert json.loads((run.out / "final_model" / "config.json").read_text())["tie_word_embeddings"] is False  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "adapted", "apart"),
    [
        ("Gemma2", "lm_head", True),
        ("Qwen3", "all-linear,lm_head", True),
        ("Qwen2", "model.embed_tokens", True),
        (families.MULTIMODAL, "lm_head", True),
        ("Llama", "lm_head,embed_tokens", False),
        ("Phi3", "all-linear", False),
    ],
)
def test_other_families_save_what_they_trained(kind, adapted, apart, chain, tokenizer, tmp_path):
    """Head and embedding part only where they shared a weight; all-linear is all of them."""
    families.make(kind, tmp_path / "start", tokenizer)
    run = chain("out", "--max_steps", 4, training={"learning_rate": 2e-2},
                model={"path": str(tmp_path / "start")},
                data={"max_train_samples": 12}, lora={"r": 4, "target_modules": adapted})  # fmt: skip

    check = checked(run)
    assert check["saved_loss"] == pytest.approx(check["trained_loss"], abs=2e-5)
    assert ("saved with a weight each" in run.text) == apart
    names = json.loads((run.out / "final_adapter" / "adapter_config.json").read_text())["target_modules"]  # fmt: skip
    assert any(name.endswith("o_proj") for name in names) == ("all-linear" in adapted)


@pytest.mark.slow
def test_adapters_beside_4_bits_are_merged_into_those_4_bits(chain):
    """Merged into the starting weights they would correct an error that is not there."""
    run = chain("out", "--max_steps", 6, training={"learning_rate": 2e-2}, model={"dtype": "bf16"},
                lora={"r": 8, "quantize": "4bit"}, deepspeed={"stage": 1})  # fmt: skip

    check = checked(run)
    assert check["saved_loss"] == pytest.approx(check["trained_loss"], abs=2e-2)


@pytest.mark.slow
def test_a_saved_model_that_is_another_fails_the_run(chain):
    """Whatever spoils it on its way to the disk: here the saving itself, made to lose the embedding."""
    spoil = "model.embed_tokens.weight"
    run = chain(
        "out", "--max_steps", 6, training={"learning_rate": 2e-2}, env={"BERTH_TEST_SPOIL": spoil}
    )

    assert run.code == 1, run.text
    assert "is not the trained model: on 4 samples its loss is" in run.text
    assert json.loads((run.out / "results.json").read_text())["outcome"] == "failed"


def test_the_check_allows_for_rounding_and_no_more():
    """In fp32 a few thousandths of the loss, in bf16 a few hundredths."""
    assert saved_model.Check(4.88, 4.881).agrees("fp32")
    assert not saved_model.Check(4.88, 4.95).agrees("fp32")
    assert saved_model.Check(4.88, 4.95).agrees("bf16")
    assert not saved_model.Check(4.88, 7.71).agrees("bf16")
    assert saved_model.Check(4.88, None, "no room").agrees("fp32")


def test_a_merge_in_bf16_rounds_once():
    """The product of the adapter's factors is added in fp32, not rounded before."""
    import torch
    from peft import LoraConfig, get_peft_model
    from torch import nn

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64, bias=False)).to(torch.bfloat16)
    start = model[0].weight.detach().clone()
    wrapped = get_peft_model(model, LoraConfig(r=8, target_modules=["0"]))
    layer = wrapped.base_model.model[0]
    nn.init.normal_(layer.lora_B["default"].weight, std=0.02)
    delta = (
        layer.lora_B["default"].weight.float() @ layer.lora_A["default"].weight.float()
    ) * layer.scaling["default"]
    expected = (start.float() + delta).to(torch.bfloat16)

    lora._merge_layers(wrapped)

    assert torch.equal(wrapped.unload()[0].weight, expected)


def test_probes_are_short_samples_that_have_an_answer():
    """Of the first split that has any; a sample whose answer is cut off tells nothing."""
    blank = {"input_ids": [1] * 3, "labels": [-100] * 3}
    long = {"input_ids": [1] * 9, "labels": [-100] * 8 + [1]}
    short = {"input_ids": [1] * 5, "labels": [-100] * 4 + [1]}

    assert saved_model.probe([], [blank, long, short], [long]) == [short, long]
    assert saved_model.probe([blank]) == []
