"""Real runs under real launchers: ZeRO-3 on the CPU, a tiny model, two ranks."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.trainer.launching import LAUNCHERS, command, lines_of, losses, ranks_of, wait_for

from berth_trainer.checkpoint import checkpoints
from berth_trainer.data.prompt_variants import BUILT_IN

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_it_trains_under_each_launcher(launcher, launch, trainer_script, tuned, tmp_path):
    """
    Started as users start it: exit code 0, two ranks under ZeRO-3 with offload as the checklist
    read it back, each line once, metrics where the queue reads them, and a falling loss.
    """
    config = tuned(max_steps=10, learning_rate=4e-3, logging_steps=1, eval_steps=10, save_steps=0)
    out, job = tmp_path / "out", tmp_path / "job"
    words = ["--config", config, "--ablation_config", "profile_and_history", "--output_dir", out]

    run = launch(
        command(launcher, trainer_script, tmp_path, *words),
        cwd=tmp_path,
        log=tmp_path / "log",
        BERTH_RUN_DIR=str(job),
        BERTH_ATTEMPT="7.1",
        BERTH_GPU_UUIDS="GPU-a,GPU-b",
        ACCELERATE_MIXED_PRECISION="fp16",
    )

    assert run.wait() == 0, run.read()
    checks = {c["item"]: c for c in json.loads((out / "checklist.json").read_text())["checks"]}
    assert all(check["ok"] for check in checks.values()), checks
    assert checks["ranks"]["asked"] == checks["ranks"]["found"] == "2"
    assert checks["ZeRO stage"]["found"] == "3"
    assert checks["optimizer offload"]["found"] == checks["parameter offload"]["found"] == "cpu"
    assert checks["activation checkpointing"]["found"] == "on"
    text = run.read()
    for line in ("start-up checklist", "✓ ZeRO stage: 3", "step 10/10  loss", "finished: "):
        assert text.count(line) == 1, line
    assert (out / "metrics.jsonl").read_text() == (job / "metrics.jsonl").read_text()
    curve = losses(job / "metrics.jsonl")
    assert curve[10] < curve[1] - 1
    logged = next(line for line in lines_of(job / "metrics.jsonl") if line["step"] == 5)
    assert {
        "time", "learning_rate", "grad_norm", "tokens_per_s", "epoch", "max_steps", "time_left_s",
    } <= set(logged)  # fmt: skip
    assert any("eval_loss" in line and "perplexity" in line for line in lines_of(job / "metrics.jsonl"))  # fmt: skip
    assert (out / "deepspeed_config" / "ds_config_zero3.json").is_file()


def test_stop_save_and_resume_make_one_unbroken_run(launch, trainer_script, tuned, tmp_path):
    """
    TERM to the launcher: a whole checkpoint at one step of all ranks, a marker, code 143 of the
    ranks. The next attempt passes over a half-written newer checkpoint, goes on, and the losses
    are those of a run that was never stopped. A USR1 to one rank saves and goes on.
    """
    steady = {"lr_scheduler": "constant", "logging_steps": 1, "eval_steps": 0, "save_steps": 0}
    config = tuned(**steady, learning_rate=4e-3, warmup_steps=0)
    broken, whole, job = tmp_path / "broken", tmp_path / "whole", tmp_path / "job"

    def start(name, out, steps, **extra):
        words = ["--config", config, "--output_dir", out, "--max_steps", str(steps)]
        argv = command("torchrun", trainer_script, tmp_path, *words)
        return launch(argv, cwd=tmp_path, log=tmp_path / name, **extra)

    def reached(out, step):
        path = out / "metrics.jsonl"
        return path.exists() and max(losses(path), default=0) >= step

    first = start("first", broken, 500, BERTH_RUN_DIR=str(job), BERTH_ATTEMPT="7.1")
    wait_for(lambda: reached(broken, 3), first)
    first.process.send_signal(signal.SIGTERM)
    assert first.wait() != 0
    marker = json.loads((broken / "stopped.json").read_text())
    assert marker == json.loads((job / "stopped.json").read_text())
    assert marker["signal"] == "SIGTERM"
    assert first.read().count("then stopping") == 1
    stopped_at = marker["step"]
    saved = checkpoints.inspect(Path(marker["checkpoint"]))
    assert (saved.step, saved.flaw) == (stopped_at, None)
    assert not (broken / "final_model").exists()

    half = broken / f"checkpoint-{stopped_at + 1}"
    half.mkdir()
    (half / "trainer_state.json").write_text("{}")
    last = stopped_at + 4
    second = start("second", broken, last, BERTH_RUN_DIR=str(tmp_path / "job2"), BERTH_ATTEMPT="7.2")  # fmt: skip
    assert second.wait() == 0, second.read()
    assert f"{half.name} is incomplete" in second.read()
    assert f"(step {stopped_at})" in second.read()
    assert not (broken / "stopped.json").exists()

    unbroken = start("unbroken", whole, last)
    wait_for(lambda: reached(whole, 2), unbroken)
    ranks_of(unbroken)[1].send_signal(signal.SIGUSR1)
    assert unbroken.wait() == 0, unbroken.read()
    assert any(item.flaw is None for item in checkpoints.in_folder(whole))
    assert losses(broken / "metrics.jsonl") == pytest.approx(losses(whole / "metrics.jsonl"), abs=2e-4)  # fmt: skip


def test_the_final_model_is_the_trained_one(launch, trainer_script, tuned, workspace, tmp_path):
    """
    Gathered from two ranks it loads with a plain from_pretrained. With a learning rate of zero
    it is the starting model bit by bit, here the text part of a multimodal Gemma-3; and the
    test loss is the one that plain transformers computes on the same samples.
    """
    import torch
    from transformers import (
        AutoModelForCausalLM,
        AutoTokenizer,
        Gemma3Config,
        Gemma3ForConditionalGeneration,
    )

    text = AutoModelForCausalLM.from_pretrained(workspace / "model")
    vision = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
              "num_attention_heads": 2, "image_size": 28, "patch_size": 14}  # fmt: skip
    both = Gemma3ForConditionalGeneration(
        Gemma3Config(text_config=text.config.to_dict(), vision_config=vision, mm_tokens_per_image=4)
    )
    both.model.language_model.load_state_dict(text.model.state_dict())
    start = tmp_path / "multimodal"
    both.save_pretrained(start)
    AutoTokenizer.from_pretrained(workspace / "model").save_pretrained(start)
    config = tuned(max_steps=1, learning_rate=0.0, eval_steps=0, save_steps=0)
    document = json.loads(config.read_text())
    document["model"]["path"] = str(start)
    config.write_text(json.dumps(document))
    out = tmp_path / "out"

    run = launch(
        command("torchrun", trainer_script, tmp_path, "--config", config, "--output_dir", out),
        cwd=tmp_path,
        log=tmp_path / "log",
    )

    assert run.wait() == 0, run.read()
    assert "only its text part is trained" in run.read()
    final, report = AutoModelForCausalLM.from_pretrained(out / "final_model", output_loading_info=True)  # fmt: skip
    assert not report["missing_keys"]
    assert type(final).__name__ == "Gemma3ForCausalLM"
    expected = text.state_dict()
    for name, value in final.state_dict().items():
        assert torch.equal(value, expected[name]), name
    AutoTokenizer.from_pretrained(out / "final_model")
    reported = json.loads((out / "results.json").read_text())["test_loss"]
    assert reported == pytest.approx(plain_test_loss(config, final, workspace), abs=1e-4)


def plain_test_loss(config, model, workspace):
    """Sample by sample, with nothing of the trainer's evaluation."""
    import torch
    from transformers import AutoTokenizer

    from berth_trainer.config.config_file import read_settings
    from berth_trainer.data.encode import Encoder
    from berth_trainer.data.load import load_material, make_dataset
    from berth_trainer.data.prompt_variants import DEFAULT
    from berth_trainer.data.prompts import WORDINGS

    settings = read_settings(config)
    material = load_material(settings)
    tokenizer = AutoTokenizer.from_pretrained(workspace / "model")
    encoder = Encoder(tokenizer, WORDINGS[material.language], settings.training.max_length)
    dataset = make_dataset(
        material, material.splits.test, settings=settings, variant=BUILT_IN[DEFAULT],
        encoder=encoder, limit=settings.data.max_eval_samples,
    )  # fmt: skip
    summed, tokens = 0.0, 0
    for index in range(len(dataset)):
        item = {name: torch.tensor([value]) for name, value in dataset[index].items()}
        with torch.no_grad():
            logits = model(item["input_ids"]).logits[0, :-1]
        labels = item["labels"][0, 1:]
        summed += float(torch.nn.functional.cross_entropy(logits, labels, ignore_index=-100, reduction="sum"))  # fmt: skip
        tokens += int((labels != -100).sum())
    return summed / tokens


SEVEN = """
import os, sys
import berth_trainer.training.session, berth_trainer.training.persona_trainer, berth_trainer.training.callbacks, deepspeed
from berth_trainer.training.application import main
codes = {}
for key in sys.argv[2].split(","):
    child = os.fork()  # what is imported is imported once; each run is a process of its own
    if not child:
        os._exit(main(["--config", sys.argv[1], "--ablation_config", key]))
    codes[key] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
print(codes)
sys.exit(max(codes.values()))
"""


def test_all_seven_ablations_train(launch, tuned, corpus_folder, tmp_path):
    """
    A few steps each on the real corpus where it is, without a launcher, into
    outputs/<ablation> under the current folder.
    """
    config = tuned(max_steps=2, logging_steps=1, eval_steps=0, save_steps=0, max_length=192)
    document = json.loads(config.read_text())
    document["data"] |= {"train_path": str(corpus_folder), "max_train_samples": 64}
    config.write_text(json.dumps(document))

    run = launch(
        [sys.executable, "-c", SEVEN, config, ",".join(BUILT_IN)],
        cwd=tmp_path,
        log=tmp_path / "log",
    )

    assert run.wait() == 0, run.read()
    curves = {}
    for key in BUILT_IN:
        out = tmp_path / "outputs" / key
        assert json.loads((out / "results.json").read_text())["ablation"] == key
        assert (out / "final_model" / "model.safetensors").is_file()
        curves[key] = tuple(losses(out / "metrics.jsonl").values())
    assert len(set(curves.values())) == len(BUILT_IN), "each prompt differs from the others"


def test_early_stopping_goes_back_to_the_best(launch, trainer_script, tuned, tmp_path):
    """A learning rate that ruins the model: it stops early, and the best checkpoint is kept."""
    config = tuned(
        max_steps=40, learning_rate=0.5, logging_steps=1, eval_steps=1, save_steps=1,
        save_total_limit=1, early_stopping_patience=2, warmup_steps=1, lr_scheduler="constant_with_warmup",
    )  # fmt: skip
    out = tmp_path / "out"

    run = launch(
        [sys.executable, trainer_script, "--config", config, "--output_dir", out],
        cwd=tmp_path,
        log=tmp_path / "log",
    )

    assert run.wait() == 0, run.read()
    lines = lines_of(out / "metrics.jsonl")
    evaluated = {line["step"]: line["eval_loss"] for line in lines if "eval_loss" in line}
    best = min(evaluated, key=evaluated.__getitem__)
    assert max(evaluated) < 40
    kept = [item for item in checkpoints.in_folder(out) if item.flaw is None]
    assert best in {item.step for item in kept}
    assert len(kept) <= 2
    assert json.loads((out / "results.json").read_text())["best_eval_loss"] == evaluated[best]


def test_the_module_can_be_started_too(tmp_path):
    """`python -m berth_trainer.train_deepspeed`, from any folder."""
    done = subprocess.run(
        [sys.executable, "-m", "berth_trainer.train_deepspeed", "--help"],
        cwd=tmp_path, capture_output=True, text=True, env=dict(os.environ),
    )  # fmt: skip

    assert done.returncode == 0
    assert "--ablation_config" in done.stdout
