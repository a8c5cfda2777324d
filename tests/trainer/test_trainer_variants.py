"""Real runs of the options in addition to plain training, ZeRO-3 on two ranks."""

import json
import sys

import pytest
import torch
from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint
from safetensors.torch import load_file
from tests.trainer.launching import command, losses

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_chunks_agree_between_ranks_under_zero3(launch, trainer_script, tuned, tmp_path):
    """
    Two ranks with different numbers of learned tokens call the partitioned head equally often:
    the run does not hang, and its losses are those of the stock loss.
    """
    curves = []
    for chunk in (0, 4):
        config = tuned(max_steps=4, batch_size=2, loss_chunk=chunk, logging_steps=1,
                       eval_steps=3, save_steps=0, learning_rate=4e-3)  # fmt: skip
        out = tmp_path / f"out{chunk}"
        words = ["--config", config, "--output_dir", out]
        argv = command("torchrun", trainer_script, tmp_path, *words)
        run = launch(argv, cwd=tmp_path, log=tmp_path / f"log{chunk}")
        assert run.wait() == 0, run.read()
        reported = json.loads((out / "checklist.json").read_text())["checks"]
        assert ("chunks of 4" in str(reported)) == bool(chunk)
        curves.append([*losses(out / "metrics.jsonl").values(),
                       json.loads((out / "results.json").read_text())["test_loss"]])  # fmt: skip
    assert curves[0] == pytest.approx(curves[1], abs=3e-4)


def test_gathering_whole_layers_changes_no_loss(launch, trainer_script, tuned, tmp_path):
    """By Berth's hooks or DeepSpeed's, on two ranks: the same losses, and the checklist tells."""
    curves = []
    for gather, reported in (
        ("layers", "layers, each as a whole, by Berth's hooks"),
        ("modules", "module by module, by DeepSpeed's hooks"),
    ):
        config = tuned(max_steps=3, logging_steps=1, eval_steps=2, save_steps=0)
        document = json.loads(config.read_text())
        document["deepspeed"] = {"stage": 3, "gather": gather,
                                 "offload_optimizer": "none", "offload_param": "none"}  # fmt: skip
        config.write_text(json.dumps(document))
        out = tmp_path / gather
        words = ["--config", config, "--output_dir", out]
        argv = command("torchrun", trainer_script, tmp_path, *words)
        run = launch(argv, cwd=tmp_path, log=tmp_path / f"log_{gather}")
        assert run.wait() == 0, run.read()
        assert reported in str(json.loads((out / "checklist.json").read_text())["checks"])
        curves.append(losses(out / "metrics.jsonl"))
    assert curves[0] == pytest.approx(curves[1], abs=1e-5)  # sums in another order


def test_a_run_that_has_stopped_early_or_is_done_says_so(trainer_script, launch, tuned, tmp_path):
    """
    The model goes back to the best checkpoint, and a line names it. A run that had all its steps
    takes none more when it is resumed: it only saves and tests again.
    """
    out = tmp_path / "out"

    def train(name, steps, *words, **training):
        config = tuned(lr_scheduler="constant", eval_steps=1, save_steps=1, logging_steps=1,
                       early_stopping_patience=1, **training)  # fmt: skip
        argv = [sys.executable, trainer_script, "--config", config, "--output_dir", out]
        run = launch([*argv, "--max_steps", str(steps), *words], cwd=tmp_path, log=tmp_path / name)
        assert run.wait() == 0, run.read()
        return run.read()

    stopped = train("stopped", 60, learning_rate=0.5)
    last = json.loads((out / "results.json").read_text())["steps"]
    reported = f"stopped early at step {last} of 60: no lower evaluation loss in 1 evaluations. The model goes back to checkpoint-{last - 1},"  # fmt: skip
    assert reported in stopped
    final = load_file(out / "final_model" / "model.safetensors")
    best = get_fp32_state_dict_from_zero_checkpoint(out / f"checkpoint-{last - 1}")
    assert all(torch.equal(best[name], final[name]) for name in final)

    done = train("done", last, "--resume", learning_rate=0.5)
    assert f"all {last} steps had already been taken" in done
    assert max(losses(out / "metrics.jsonl")) == last
    assert json.loads((out / "results.json").read_text())["steps"] == last


def test_packed_rows_train_under_zero3(launch, trainer_script, tuned, tmp_path):
    """The ranks share the measuring, agree on the rows, and the loss falls."""
    config = tuned(max_steps=6, pack_tokens=256, logging_steps=1, eval_steps=0,
                   save_steps=0, learning_rate=4e-3)  # fmt: skip
    out = tmp_path / "out"
    words = ["--config", config, "--output_dir", out]

    run = launch(command("torchrun", trainer_script, tmp_path, *words), cwd=tmp_path, log=tmp_path / "log")  # fmt: skip

    assert run.wait() == 0, run.read()
    assert "rows of 256 tokens, 9" in run.read(), "more than nine tenths full"
    curve = losses(out / "metrics.jsonl")
    assert curve[6] < curve[1] - 1


def test_an_adapter_is_trained_resumed_and_merged(launch, trainer_script, tuned, workspace, tmp_path):  # fmt: skip
    """
    LoRA under ZeRO-3 on two ranks: only the adapter learns, a resume goes on, and final_model
    loads plainly and answers as the starting model with the adapter does.
    """
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    config = tuned(logging_steps=1, eval_steps=0, save_steps=2, learning_rate=2e-2)
    document = json.loads(config.read_text())
    document["lora"] = {"r": 4, "target_modules": "q_proj,v_proj"}
    config.write_text(json.dumps(document))
    out = tmp_path / "out"
    for steps, *more in ((2,), (4, "--resume")):
        words = ["--config", config, "--output_dir", out, "--max_steps", str(steps), *more]
        argv = command("torchrun", trainer_script, tmp_path, *words)
        run = launch(argv, cwd=tmp_path, log=tmp_path / f"log{steps}")
        assert run.wait() == 0, run.read()
    assert "(step 2)" in run.read()
    assert list(losses(out / "metrics.jsonl")) == [1, 2, 3, 4]

    start = AutoModelForCausalLM.from_pretrained(workspace / "model")
    final = AutoModelForCausalLM.from_pretrained(out / "final_model")
    before = start.state_dict()
    changed = {
        name.split(".")[-2]
        for name, value in final.state_dict().items()
        if not torch.equal(value, before[name])
    }
    assert changed == {"q_proj", "v_proj"}
    ids = torch.arange(20, 60)[None]
    with torch.no_grad():
        merged = final(ids).logits
        beside = PeftModel.from_pretrained(start, out / "final_adapter")(ids).logits
    torch.testing.assert_close(merged, beside, rtol=1e-3, atol=1e-3)
