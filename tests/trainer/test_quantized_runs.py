"""Weights in 4 bits, and optimizer states in bf16: whole runs with real DeepSpeed on the CPU."""

import json
import sys

import pytest


@pytest.fixture
def run(tuned, launch, trainer_script, tmp_path):
    """Two steps of packed rows with these sections; returns what was printed, and the folder."""

    def go(*, lora=None, zero=None, **training):
        path = tuned(
            pack_tokens=256, max_steps=2, eval_steps=0, save_steps=0, logging_steps=1, **training
        )
        document = json.loads(path.read_text())
        document["model"]["dtype"] = "bf16"
        document["lora"], document["deepspeed"] = lora or {}, zero or {}
        path.write_text(json.dumps(document))
        out = tmp_path / "out"
        words = [sys.executable, trainer_script, "--config", path, "--output_dir", out]
        started = launch(words, cwd=tmp_path, log=tmp_path / "log")
        assert started.wait() == 0, started.read()
        return started.read(), out

    return go


def test_adapters_are_trained_with_weights_in_4_bits(run):
    """Stage 3 gives way where the file is silent; the merged model has every weight again."""
    log, out = run(lora={"r": 4, "quantize": "4bit"})
    assert "ZeRO stage: 1" in log
    assert (out / "final_adapter" / "adapter_config.json").is_file()
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(out / "final_model")
    assert sum(p.numel() for p in model.parameters()) == 1_017_664


@pytest.mark.parametrize("stage", [2, 3])
def test_states_in_bf16_are_read_back_as_such(run, stage):
    """The checklist asks DeepSpeed's optimizer, and the run learns."""
    none = {"offload_optimizer": "none", "offload_param": "none"}
    log, out = run(optimizer_states="bf16", zero={"stage": stage, **none})
    assert "master weights in bfloat16" in log
    assert json.loads((out / "results.json").read_text())["steps"] == 2


def test_fewer_recomputed_layers_and_fused_ones_under_zero_3(run):
    """Hooks of ZeRO-3 gather the weights for the fused layers too, also when they are recomputed."""
    none = {"offload_optimizer": "none", "offload_param": "none"}
    zero = {"stage": 3, "param_persistence_threshold": 1, **none}
    log, _ = run(fused_layers="on", checkpoint_layers=1, zero=zero)
    assert "activation checkpointing: partly on (1 of 3 layers)" in log
    assert "fused norms and gated blocks" in log
