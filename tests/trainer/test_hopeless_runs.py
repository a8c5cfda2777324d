"""A run that diverged or learned nothing does not end like one that learned."""

import json

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def strict(path):
    return json.loads(path.read_text(), parse_constant=pytest.fail)


def test_a_diverged_run_fails_in_one_sentence(chain, tmp_path):
    """No model is left that looks like any other, and every file is strict JSON."""
    job = tmp_path / "job"
    run = chain(
        "out", "--max_steps", 3, env={"BERTH_RUN_DIR": str(job)},
        training={"learning_rate": 1e9, "eval_steps": 1, "save_steps": 2},
    )  # fmt: skip

    assert run.code == 1, run.text
    assert run.text.count("error: the run diverged: the test loss is not a finite number") == 1
    assert "finished" not in run.text
    assert not (run.out / "final_model").exists()
    results = strict(run.out / "results.json")
    assert (results["outcome"], results["test_loss"]) == ("diverged", None)
    assert strict(run.out / "run.json")["state"] == "diverged"
    assert "diverged" in strict(job / "failure.json")["sentence"]
    strict(run.out / "checkpoint-2" / "trainer_state.json")


def test_a_run_that_diverged_after_its_last_line_fails_too(chain):
    """Nothing is held out and no loss is logged after the first: the model itself is asked."""
    run = chain(
        "out", "--max_steps", 3, data={"validation_fraction": 0, "test_fraction": 0},
        training={"learning_rate": 1e9, "logging_steps": 100, "eval_steps": 0},
    )  # fmt: skip

    assert run.code == 1, run.text
    assert run.text.count("error: the run diverged: the loss is not a finite number") == 1
    assert not (run.out / "final_model").exists()
    assert strict(run.out / "results.json")["outcome"] == "diverged"


def test_a_run_without_a_step_that_learns_is_refused(chain):
    """No epochs, or a warm-up that keeps every step's rate at 0; a rate of 0 is told at the end."""
    none = chain("none", training={"num_epochs": 0, "max_steps": 0})
    assert none.code == 2
    assert "training.num_epochs 0 makes no step" in none.text

    flat = chain("flat", "--max_steps", 1, training={"warmup_steps": 1})
    assert flat.code == 2
    assert "the learning rate is 0 in every step" in flat.text

    asked = chain("asked", "--max_steps", 1, training={"learning_rate": 0.0})
    assert asked.code == 0, asked.text
    assert "nothing was learned: training.learning_rate is 0" in asked.text
    assert strict(asked.out / "results.json")["outcome"] == "learned nothing"
