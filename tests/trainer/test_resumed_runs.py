"""A resumed run is the run that wrote the checkpoint, or is told to be another."""

import json

import pytest
from tests.trainer.launching import lines_of, losses

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

STEADY = {"lr_scheduler": "constant", "learning_rate": 4e-3, "weight_decay": 0.1, "save_steps": 3}


def results(run):
    return json.loads((run.out / "results.json").read_text())


def test_another_stage_goes_on_as_if_it_had_been_that_one(chain):
    """
    The memory plan and the out-of-memory ladder choose the stage anew. A checkpoint is converted
    both ways, and the losses are those of a run that was never stopped.
    """

    def at(out, stage, steps, *words):
        zero = {"stage": stage, "offload_optimizer": "none", "offload_param": "none"}
        run = chain(out, "--max_steps", steps, *words, training=STEADY, deepspeed=zero)
        assert run.code == 0, run.text
        return run

    whole = at("whole", 2, 6)
    at("up", 2, 3)
    up = at("up", 3, 6, "--resume")
    at("down", 3, 3)
    down = at("down", 2, 6, "--resume")

    for run in (up, down):
        assert losses(run.out / "metrics.jsonl") == pytest.approx(
            losses(whole.out / "metrics.jsonl"), abs=2e-5
        )
    assert "it was written under ZeRO stage 2; this run has stage 3" in up.text


def test_what_may_change_takes_effect_and_is_told(chain):
    """
    A new rate, decay and schedule hold from the next step on, as a line says; results.json says
    which steps were made with what. The mean loss is that of all steps, resumed or not.
    """
    chain("out", "--max_steps", 3, training=STEADY)
    changed = {**STEADY, "learning_rate": 1e-3, "weight_decay": 0.0, "lr_scheduler": "linear"}
    second = chain("out", "--max_steps", 6, "--resume", training=changed)
    assert second.code == 0, second.text
    chain("same", "--max_steps", 3, training=STEADY)
    again = chain("same", "--max_steps", 6, "--resume", training=STEADY)
    whole = chain("whole", "--max_steps", 6, training=STEADY)

    rates = {line["step"]: line["learning_rate"] for line in lines_of(second.out / "metrics.jsonl")
             if "loss" in line}  # fmt: skip
    assert rates[3] == 4e-3
    assert [rates[step] for step in (4, 5, 6)] == pytest.approx([5e-4, 1e-3 / 3, 1e-3 / 6])
    assert "training.learning_rate 0.004 to 0.001" in second.text
    found = results(second)
    spans = [(part["first_step"], part["last_step"]) for part in found["made_with"]]
    assert spans == [(1, 3), (4, 6)]
    assert [part["settings"]["training.learning_rate"] for part in found["made_with"]] == [4e-3, 1e-3]  # fmt: skip
    assert "training.weight_decay" in found["changed_on_the_way"]
    assert losses(again.out / "metrics.jsonl") == losses(whole.out / "metrics.jsonl")
    assert results(again)["train_loss"] == pytest.approx(results(whole)["train_loss"], abs=1e-6)
    assert results(again)["changed_on_the_way"] == ["training.max_steps"]


def test_another_run_is_refused_with_both_values_and_the_way_out(chain):
    """Ablation, data, lengths, LoRA: one sentence before anything is loaded; leave is kept."""
    first = chain("out", "--max_steps", 2, training=STEADY | {"save_steps": 2})

    def refused(*words, **sections):
        run = chain("out", "--max_steps", 3, "--resume", *words, **sections)
        assert run.code == 2, run.text
        return run.text

    other = refused("--ablation_config", "profile_only")
    assert "ablation profile_and_history_and_context where this run has profile_only" in other
    assert "--allow-changed ablation to --resume" in other
    longer = refused(training={"max_length": 96, "seed": 7})
    assert "training.max_length 128 where this run has 96" in longer
    assert "--allow-changed training.max_length,training.seed" in longer
    fewer = refused(data={"max_train_samples": 20})
    assert "data.max_train_samples 0 where this run has 20" in fewer
    adapter = refused(lora={"r": 4})
    assert "lora.r 0 where this run has 4, and its tensors fit no other" in adapter
    assert "did you mean ablation?" in refused("--allow-changed", "ablatoin")

    words = ["--resume", "--ablation_config", "profile_only", "--allow-changed", "ablation"]
    let = chain("out", "--max_steps", 3, *words)
    assert let.code == 0, let.text
    parts = results(let)["made_with"]
    assert [part["settings"]["ablation"] for part in parts] == [
        "profile_and_history_and_context", "profile_only",
    ]  # fmt: skip
    assert "ablation" in results(let)["changed_on_the_way"]

    # An older version's checkpoint has no record of them: what could not be compared is told.
    record = first.out / "checkpoint-2" / "berth_complete.json"
    document = json.loads(record.read_text())
    del document["run"]
    record.write_text(json.dumps(document))
    older = chain("older", "--max_steps", 3, "--resume_from_checkpoint", record.parent)
    assert older.code == 0, older.text
    assert "checkpoint-2 holds no record of its settings" in older.text
    assert results(older)["made_with"][0] == {"first_step": 1, "last_step": 2, "settings": None}
    assert results(older)["changed_on_the_way"] == ["unknown"]


def test_early_stopping_counts_on_through_a_resume(chain, tmp_path):
    """
    From any checkpoint it stops at the step where the unbroken run stops, with the same model;
    from one that had already stopped it takes no step. The folder may have moved meanwhile.
    """
    import shutil

    import torch
    from safetensors.torch import load_file

    ruin = {"learning_rate": 0.3, "lr_scheduler": "constant", "max_grad_norm": 0, "eval_steps": 1,
            "save_steps": 1, "save_total_limit": 40, "early_stopping_patience": 2}  # fmt: skip
    whole = chain("whole", "--max_steps", 30, training=ruin)
    assert whole.code == 0, whole.text
    stopped = results(whole)["steps"]
    assert stopped < 30
    expected = load_file(whole.out / "final_model" / "model.safetensors")
    ignored = shutil.ignore_patterns(f"checkpoint-{stopped}")
    shutil.copytree(whole.out, tmp_path / "moved", ignore=ignored)

    for name in ("moved", "whole"):
        run = chain(name, "--max_steps", 30, "--resume", training=ruin)
        assert run.code == 0, run.text
        assert results(run)["steps"] == stopped
        found = load_file(run.out / "final_model" / "model.safetensors")
        assert all(torch.equal(found[part], expected[part]) for part in expected)
    assert f"the run had already stopped early at step {stopped}" in run.text


def test_early_stopping_counts_on_through_two_resumes(chain):
    """Each in the midst of its patience; stop and model are those of the unbroken run."""
    ruin = {"learning_rate": 0.3, "lr_scheduler": "constant", "max_grad_norm": 0, "eval_steps": 1,
            "save_steps": 1, "early_stopping_patience": 3}  # fmt: skip
    whole = chain("whole", "--max_steps", 30, training=ruin)
    assert whole.code == 0, whole.text
    end = results(whole)["steps"]
    assert 3 < end < 30

    for step, words in ((end - 2, []), (end - 1, ["--resume"])):
        stop = {"BERTH_TEST_TERM_AT": str(step)}
        run = chain("out", "--max_steps", 30, *words, training=ruin, env=stop)
        assert run.code == 143, run.text
    run = chain("out", "--max_steps", 30, "--resume", training=ruin)

    assert run.code == 0, run.text
    assert results(run)["steps"] == end
    for key in ("best_eval_loss", "test_loss"):
        assert results(run)[key] == pytest.approx(results(whole)[key], abs=1e-6)


def test_another_precision_goes_on_with_the_same_master_weights(chain):
    """
    `auto` is bf16 on one machine and fp32 on another, and DeepSpeed looks for its states under
    other file names. In fp32 throughout, the losses are those of the run that was never stopped;
    through bf16 the next ones are near them.
    """

    def at(out, precision, steps, *words):
        run = chain(out, "--max_steps", steps, *words, training=STEADY, model={"dtype": precision})
        assert run.code == 0, run.text
        return run

    whole = losses(at("whole", "fp32", 6).out / "metrics.jsonl")
    at("out", "fp32", 3)
    there = at("out", "bf16", 4, "--resume")
    at("back", "bf16", 3)
    back = at("back", "fp32", 4, "--resume")

    assert "it was trained in fp32; this run is in bf16" in there.text
    assert "it was trained in bf16; this run is in fp32" in back.text
    for run in (there, back):
        assert losses(run.out / "metrics.jsonl")[4] == pytest.approx(whole[4], abs=0.1)


def test_the_names_of_adapted_layers_are_a_set(chain):
    """In another order, or with blanks, they are the same adapter; what is refused changes nothing."""
    lora = {"r": 4, "target_modules": "q_proj,v_proj"}
    first = chain("out", "--max_steps", 2, training=STEADY | {"save_steps": 2}, lora=lora)
    assert first.code == 0, first.text

    turned = chain("out", "--max_steps", 3, "--resume", lora={"r": 4, "target_modules": "v_proj, q_proj"})  # fmt: skip
    assert turned.code == 0, turned.text

    before = sorted(path.name for path in turned.out.iterdir())
    mistyped = chain("out", "--max_steps", 3, "--no_resume", lora={"r": 4, "target_modules": "q_proj,v_prj"})  # fmt: skip
    assert mistyped.code == 2, mistyped.text
    assert "lora.target_modules v_prj matches no layer of the model" in mistyped.text
    assert sorted(path.name for path in turned.out.iterdir()) == before


def test_the_out_of_memory_ladder_makes_no_resume_impossible(chain):
    """
    An attempt that died is tried again one step down, and then two: half the micro-batch, the
    optimizer on the host, the parameters too, which changes the stage. The losses are those of
    the run that was never stopped, and no step of the ladder counts as a change by the user.
    """
    training = STEADY | {"batch_size": 4, "save_steps": 2}
    whole = chain("whole", "--max_steps", 6, training=training)
    first = chain("out", "--max_steps", 2, training=training)
    assert first.code == 0, first.text
    for steps, ladder in (
        (4, "halve_micro_batch,offload"),
        (6, "halve_micro_batch,offload,offload"),
    ):
        run = chain("out", "--max_steps", steps, "--resume", training=training,
                    env={"BERTH_OOM_STEPS": ladder})  # fmt: skip
        assert run.code == 0, run.text
        assert "out of memory before, so: the optimizer is offloaded to the host" in run.text

    assert "it was written under ZeRO stage 2; this run has stage 3" in run.text
    assert losses(run.out / "metrics.jsonl") == pytest.approx(
        losses(whole.out / "metrics.jsonl"), abs=5e-5
    )
    assert results(run)["changed_on_the_way"] == ["training.max_steps"]
