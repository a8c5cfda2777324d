"""Lengths of queued jobs by the steps that they are asked to do."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from berth_server.core.estimate import RunKey, RunTimes, scaled
from berth_server.core.explain.expected_length import expected_length, short_limit
from berth_server.core.progress.work import Work, work_of

TRAIN = RunKey(user="ada", script="train.py", gpus=4, work=Work("step", 2000, "batch_size=8"))
HOUR = 3600.0


def key(steps: float, shape: str = "batch_size=8", **more) -> RunKey:
    return replace(TRAIN, work=Work("step", steps, shape), **more)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--max_steps", "4000", "--batch-size=8"], Work("step", 4000, "batch_size=8")),
        (["--num_train_epochs=3", "--seed", "7"], Work("epoch", 3)),
        (["trainer.max_steps=100", "model.hidden_size=64"], Work("step", 100, "hidden_size=64")),
        (["--max_iters", "500", "--epochs", "2"], Work("step", 500)),
        (["--steps", "many"], None),
        (["--eval_steps", "50", "--save_steps=100", "--warmup_steps", "10"], None),
        ([], None),
    ],
)
def test_a_command_says_how_much_it_does(arguments, expected):
    """By the usual names of options, and what decides the duration of a step beside it."""
    assert work_of(arguments) == expected


def test_configuration_files_say_it_where_the_command_does_not():
    """Nested as they are; the command counts before them."""
    config = {"training": {"num_epochs": 3, "max_steps": 900, "batch_size": 4}, "x": [1]}
    assert work_of(["--config", "c.json"], [config]) == Work("step", 900, "batch_size=4")
    asked = work_of(["--max_steps", "50"], [config])
    assert asked is not None
    assert asked.amount == 50


def test_twice_the_steps_take_twice_as_long():
    """From one earlier run of the same script, shape and number of GPUs."""
    times = RunTimes()
    times.record(TRAIN, HOUR)
    found = times.estimate(key(4000))
    assert found is not None
    assert found.quantile_s(0.5) == pytest.approx(2 * HOUR, rel=0.12)
    assert found.source == "1 earlier run and 4,000 steps"
    other = times.estimate(key(4000, "batch_size=64"))
    assert other is not None
    assert "steps" not in other.source
    assert other.mean_s == pytest.approx(HOUR)


def test_what_a_run_takes_besides_its_steps_is_learned():
    """Ten minutes of start and two seconds a step, from runs of different lengths."""
    done = [(500.0, 600 + 1000.0), (2000.0, 600 + 4000.0)]
    assert scaled(done, 4000) == [pytest.approx(8600, rel=0.01)] * 2
    # Runs that took less for more are no line: nothing is taken for fixed that is not.
    assert min(scaled([(500.0, 2000.0), (2000.0, 1000.0)], 1000)) > 0


def test_the_length_and_a_limit_that_is_too_short_are_said():
    """A sentence with what it rests on, and the option that mends it."""
    times = RunTimes()
    for hours in (2.8, 2.9, 3.0):
        times.record(TRAIN, hours * HOUR)
    estimate = times.estimate(key(4000))
    shown = expected_length(estimate)
    assert shown is not None
    assert shown.sentence.endswith("from 3 earlier runs and 4,000 steps")
    assert shown.seconds <= shown.seconds_p90
    warning = short_limit(estimate, timedelta(hours=2))
    assert warning is not None
    assert str(warning).startswith("The time limit of 2h is shorter than the job should take:")
    assert "--time-limit 8h" in str(warning)
    assert short_limit(estimate, timedelta(hours=9)) is None
    # Others on as many GPUs say too little for a warning.
    stranger = times.estimate(replace(key(4000), user="bob", script="other.py"))
    assert short_limit(stranger, timedelta(hours=1)) is None


def test_the_plan_of_the_bundled_trainer_stands_in_for_earlier_runs():
    """Its expected speed, and after runs of other shapes, as right as it was for them."""
    times = RunTimes()
    planned = replace(TRAIN, work=Work("step", 4000, "batch_size=64", planned_s=2 * HOUR))
    first = times.estimate(planned)
    assert first is not None
    assert first.source == "the speed in the plan and 4,000 steps"
    assert first.quantile_s(0.5) == pytest.approx(2 * HOUR, rel=0.2)
    for _ in range(3):
        times.record(replace(TRAIN, work=Work("step", 2000, "batch_size=8", HOUR)), 1.5 * HOUR)
    again = times.estimate(planned)
    assert again is not None
    assert again.source == "the speed in the plan, corrected by 3 runs, and 4,000 steps"
    assert again.quantile_s(0.5) == pytest.approx(3 * HOUR, rel=0.15)
