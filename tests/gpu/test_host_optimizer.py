"""
The out-of-memory ladder on a GPU: the optimizer moves to the host, and the run resumes there.

Alone: `python -m pytest tests/gpu/test_host_optimizer.py`. DeepSpeed's Adam for the host is built
first where TORCH_EXTENSIONS_DIR holds none (two minutes); the runs take less than one.
"""

import json

import pytest

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(500)]


def losses(out):
    lines = map(json.loads, (out / "metrics.jsonl").read_text().splitlines())
    return {line["step"]: line["loss"] for line in lines if "loss" in line}


@pytest.mark.parametrize("stage", [2, 3])
def test_an_optimizer_moves_to_the_host_and_back(config, start, tmp_path, stage):
    """
    Torch's fused Adam counts its steps in tensors on the GPU, DeepSpeed's on the host in numbers.
    Steps 3 and 4 on the host and 5 and 6 on the GPU again go on from the same states: the losses
    are those of the run that never moved.
    """
    training = {"max_length": 128, "batch_size": 2, "learning_rate": 4e-3, "warmup_steps": 0,
                "lr_scheduler": "constant", "logging_steps": 1, "eval_steps": 0, "save_steps": 2}  # fmt: skip
    zero = {"stage": stage, "offload_optimizer": "none", "offload_param": "none"}
    path = config("run", training=training, data={"max_eval_samples": 4}, deepspeed=zero)

    def run(out, steps, *words, ladder=""):
        words = ["--config", path, "--output_dir", tmp_path / out, "--max_steps", steps, *words]
        variables = {"BERTH_OOM_STEPS": ladder} if ladder else {}
        handle = start(f"{out}-{steps}", *words, more=variables)
        handle.done()
        return handle.read()

    run("whole", 6)
    run("out", 2)
    moved = run("out", 4, "--resume", ladder="offload")
    run("out", 6, "--resume")

    assert "the optimizer is offloaded to the host" in moved
    assert losses(tmp_path / "out") == pytest.approx(losses(tmp_path / "whole"), abs=2e-3)
