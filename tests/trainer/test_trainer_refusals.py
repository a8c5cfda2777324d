"""Refusals of a real run, and the number of times each is printed."""

import json
import sys

import pytest
from tests.trainer.launching import command

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_bad_input_is_said_once_by_rank_0(launch, trainer_script, tuned, tmp_path):
    """Under a launcher too: one sentence, not one a rank."""
    words = ["--config", tuned(), "--ablation_config", "profile_and_histroy"]

    run = launch(command("torchrun", trainer_script, tmp_path, *words), cwd=tmp_path, log=tmp_path / "log")  # fmt: skip

    assert run.wait() != 0
    assert run.read().count("error: --ablation_config profile_and_histroy is not known") == 1


def test_an_incomplete_checkpoint_is_refused_under_zero3(launch, trainer_script, tuned, workspace, tmp_path):  # fmt: skip
    """Weights that the checkpoint lacks would start from noise, and transformers only logs it."""
    import shutil

    from safetensors.torch import load_file, save_file

    start = tmp_path / "holed"
    shutil.copytree(workspace / "model", start)
    weights = load_file(start / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, start / "model.safetensors", metadata={"format": "pt"})
    config = tuned(max_steps=1)
    document = json.loads(config.read_text())
    document["model"]["path"] = str(start)
    config.write_text(json.dumps(document))

    run = launch([sys.executable, trainer_script, "--config", config], cwd=tmp_path, log=tmp_path / "log")  # fmt: skip

    assert run.wait() == 2, run.read()
    assert "lacks 1 of the model's weights (model.layers.1.mlp.up_proj.weight" in run.read()
