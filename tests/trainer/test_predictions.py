"""Answers to the test split: on one rank and on two, and their measures."""

import json
import sys

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def apart(measured):
    """The numbers of a report, and the rest of it."""
    numbers = {k: v for k, v in measured.items() if isinstance(v, int | float)}
    return numbers, {k: v for k, v in measured.items() if k not in numbers}


def test_predictions_are_shared_by_the_ranks(launch, trainer_script, workspace, tmp_path):
    """
    Two ranks answer as one does, in the samples' order, and an answer that the leaderboard
    file holds back is predicted without a reference. The measures are the same, and stand
    where runs are compared.
    """
    from berth_trainer.config import lenient_json

    document = lenient_json.parse((workspace / "config.json").read_text("utf-8"), "config")
    source = workspace / "data" / "digitaltwin"
    items = json.loads((source / "test_leaderboard.json").read_text("utf-8"))[:2]
    items[1]["task"]["task_behavior_collections"][0]["data"][0]["continuation"] = None
    (tmp_path / "test.json").write_text(json.dumps(items))
    document["model"]["path"] = str(workspace / "model")
    document["data"] |= {"train_path": str(source), "test_path": str(tmp_path / "test.json")}
    document["predict"] = {"max_new_tokens": 6, "batch_size": 1}
    config = tmp_path / "config.json"
    config.write_text(json.dumps(document))
    reported, measured = [], []
    for name in ("one", "two"):
        words = ["--config", config, "--output_dir", tmp_path / name, "--predict", workspace / "model"]  # fmt: skip
        argv = [sys.executable, trainer_script, *words]
        if name == "two":
            argv = ["torchrun", "--standalone", "--nproc-per-node=2", trainer_script, *words]
        run = launch(argv, cwd=tmp_path, log=tmp_path / f"log-{name}")
        assert run.wait() == 0, run.read()
        reported.append(lines_of(tmp_path / name / "predictions.jsonl"))
        measured.append(json.loads((tmp_path / name / "predictions_metrics.json").read_text()))
        assert "  bleu_4 " in run.read()

    assert reported[0] == reported[1]
    numbers, words = zip(*map(apart, measured), strict=True)
    assert words[0] == words[1]
    assert numbers[0] == pytest.approx(numbers[1], rel=1e-5)
    assert measured[0]["answers"] == len(reported[0]) - 1
    assert {"bleu_1", "rouge_l", "f1", "distinct_2", "test_perplexity"} <= set(measured[0])
    point = lines_of(tmp_path / "one" / "metrics.jsonl")[-1]
    assert point["f1"] == measured[0]["f1"]
    assert [line["reference"] is None for line in reported[0]].count(True) == 1
    assert reported[0][-1]["reference"] is None
    assert all(isinstance(line["prediction"], str) and line["answered"] for line in reported[0])


@pytest.mark.usefixtures("started_plainly")
def test_predicting_before_training_says_so(workspace, tmp_path, capsys):
    """It is answered at once, by berth-generate too."""
    from berth_trainer import generate
    from berth_trainer.training.application import main

    words = ["--config", str(workspace / "config.json"), "--output_dir", str(tmp_path), "--predict"]
    assert main(words) == 2
    assert "holds no model to predict with: train first" in capsys.readouterr().err
    assert generate.main(words[:-1]) == 2
    assert "holds no model to predict with: train first" in capsys.readouterr().err
