"""One run through kill -9 and other numbers of ranks: the losses of a run that nothing met."""

import json
import signal
import time

import psutil
import pytest

from berth_trainer.checkpoint import checkpoints, universal

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

STEADY = {"lr_scheduler": "constant", "learning_rate": 4e-3, "weight_decay": 0.1, "logging_steps": 1,
          "eval_steps": 0, "warmup_steps": 0}  # fmt: skip


@pytest.fixture
def train(launch, trainer_script, tuned, tmp_path):
    """Start so many ranks under torchrun; training settings as keywords."""

    def start(name, out, ranks, steps, *flags, data=None, **training):
        config = tuned(**{**STEADY, **training})
        document = json.loads(config.read_text())
        document["data"].update(data or {})
        own = tmp_path / f"{name}.json"
        own.write_text(json.dumps(document))
        argv = ["torchrun", "--standalone", f"--nproc-per-node={ranks}", trainer_script,
                "--config", own, "--output_dir", out, "--max_steps", str(steps), *flags]  # fmt: skip
        return launch(argv, cwd=tmp_path, log=tmp_path / name)

    return start


def losses(out):
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line["loss"] for line in lines if "loss" in line}


def kill_while_saving(run, out, after):
    """Stop all ranks in the middle of a saving later than step `after`, then kill -9."""
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        assert run.process.poll() is None, run.read()
        half = [p for p in out.glob("checkpoint-*") if checkpoints.inspect(p).step > after]
        if half and not (half[-1] / checkpoints.RECORD).exists():
            ranks = [
                child
                for child in psutil.Process(run.process.pid).children(recursive=True)
                if any(word.endswith("train_deepspeed.py") for word in child.cmdline())
            ]
            for rank in ranks:
                rank.send_signal(signal.SIGSTOP)
            flawed = [item for item in checkpoints.in_folder(out) if item.flaw]
            for rank in ranks:
                rank.send_signal(signal.SIGKILL if flawed else signal.SIGCONT)
            if flawed:
                run.wait()
                return flawed[0]
        time.sleep(0.002)
    raise AssertionError(run.read())


def test_kill_nine_and_other_numbers_of_ranks_change_nothing(train, tmp_path):
    """
    One rank unbroken, against: two ranks killed with -9 in the middle of a saving, then four,
    then one. Ten samples and four a step: the ends of epochs lie in between, where the last
    step is filled up. The half-written checkpoint is passed over, the good one before is
    there, and the weight decay of 0.1 stays off the norms.
    """
    few = {"max_train_samples": 10}
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    common = {"data": few, "save_steps": 1, "save_total_limit": 1}

    first = train("first", broken, 2, 500, gradient_accumulation_steps=2, **common)
    half = kill_while_saving(first, broken, after=2)
    good, _ = checkpoints.newest_whole(checkpoints.in_folder(broken))
    assert good is not None
    assert good.step == half.step - 1
    assert checkpoints.world_size_of(good.path) == 2

    second = train("second", broken, 4, good.step + 2, "--resume", gradient_accumulation_steps=2, **common)  # fmt: skip
    assert second.wait() == 0, second.read()
    assert f"{half.path.name} is incomplete" in second.read()
    assert "was written by 2 ranks; this run has 4" in second.read()
    assert "gradient_accumulation_steps is 1 instead of 2" in second.read()
    assert not (good.path / universal.LATEST).exists()

    third = train("third", broken, 1, good.step + 4, "--resume", gradient_accumulation_steps=2, **common)  # fmt: skip
    assert third.wait() == 0, third.read()
    assert "gradient_accumulation_steps is 4 instead of 2" in third.read()

    one = train("one", whole, 1, good.step + 4, data=few, gradient_accumulation_steps=4, save_steps=0)  # fmt: skip
    assert one.wait() == 0, one.read()
    assert losses(broken) == pytest.approx(losses(whole), abs=2e-5)
    assert len(losses(whole)) == good.step + 4


def test_packed_rows_resume_as_if_they_had_not_stopped(train, tmp_path):
    """The same rows in the same order after it; one rank, then two."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    packed = {"pack_tokens": 256, "gradient_accumulation_steps": 2}

    for name, out, ranks, steps, *flags in (
        ("first", broken, 1, 3),
        ("second", broken, 2, 6, "--resume"),
        ("unbroken", whole, 1, 6),
    ):
        run = train(name, out, ranks, steps, *flags, save_steps=3, **packed)
        assert run.wait() == 0, run.read()
    assert list(losses(broken)) == [1, 2, 3, 4, 5, 6]
    assert losses(broken) == pytest.approx(losses(whole), abs=2e-5)
