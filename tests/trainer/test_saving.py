"""Checkpoints written beside the training, and the disk that they are planned against."""

import errno
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint
from safetensors.torch import load_file

from berth_trainer.checkpoint import checkpoints, disk_room, tensor_file
from berth_trainer.checkpoint.disk_room import DiskPlan
from berth_trainer.checkpoint.host_arena import HostArena, size_for
from berth_trainer.checkpoint.saver import Saver
from berth_trainer.training.ranks import Ranks

ALONE = Ranks(0, 0, 1, 1, launched=False)
GB = 10**9


def a_state():
    wide = torch.arange(300_000, dtype=torch.float32)
    return {
        "wide": torch.nn.Parameter(wide),
        "view": wide[5:9],
        "none": torch.empty(0),
        "state": {0: {"step": torch.tensor(3.0), "half": wide[:7].bfloat16()}},
        "words": ["any", 3],
    }


@pytest.mark.parametrize("copied", [True, False])
def test_a_file_filled_later_is_what_torch_saves(tmp_path, copied, monkeypatch):
    """Shared storages stay shared, and pieces smaller than a tensor come to their places."""
    monkeypatch.setattr(tensor_file, "PIECE", 70_000)
    state, path = a_state(), tmp_path / "any_optim_states.pt"
    saver = Saver(ALONE)
    if copied:
        saver.reserve(size_for(tensor_file.storages_of(state)), None)
    saver.begin(tmp_path)
    saver.save(state, path)
    if not copied:
        assert path.exists()
    state["wide"].data.fill_(-1.0)  # the training goes on
    saver.commit(lambda: None)
    saver.wait()

    found = torch.load(path, weights_only=False)
    whole = torch.arange(300_000, dtype=torch.float32)
    assert torch.equal(found["wide"], whole)
    assert torch.equal(found["view"], whole[5:9])
    assert found["view"].data_ptr() == found["wide"].data_ptr() + 5 * 4
    assert found["state"][0]["step"] == 3
    assert torch.equal(found["state"][0]["half"], whole[:7].bfloat16())
    assert found["none"].numel() == 0
    assert found["words"] == ["any", 3]


def test_copies_span_the_blocks_that_are_pinned(monkeypatch):
    """A tensor that lies in several of them is copied whole."""
    from berth_trainer.checkpoint import host_arena

    monkeypatch.setattr(host_arena, "_BLOCK", 4096)
    sources = [torch.randint(0, 255, (size,), dtype=torch.uint8) for size in (1, 10_000, 4096)]
    held = HostArena(size_for(sources), device=None).hold(sources, 0)
    assert all(torch.equal(*pair) for pair in zip(sources, held, strict=True))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_no_kill_costs_the_last_complete_checkpoint(tmp_path):
    """Two ranks killed with -9 at random moments of their saves; the first saves are there."""
    script = Path(__file__).with_name("saved_under_kill.py")
    done = subprocess.run(
        [sys.executable, script, tmp_path, "8"], capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["saved"] > 0


def test_a_disk_that_fills_costs_only_the_checkpoint_being_written(tmp_path, monkeypatch, capsys):
    """The training is told, the half-written folder goes, the one before stays."""
    before = tmp_path / "checkpoint-1"
    before.mkdir()
    folder = tmp_path / "checkpoint-2"
    (folder / "global_step2").mkdir(parents=True)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tensor_file, "fill", full)
    saver = Saver(ALONE)
    saver.begin(folder)
    saver.save(a_state(), folder / "global_step2" / "any_optim_states.pt")
    completed = []
    saver.commit(lambda: completed.append(folder))
    saver.wait()

    assert not completed
    assert not folder.exists()
    assert before.exists()
    assert "checkpoint-2 could not be written" in capsys.readouterr().err


@pytest.fixture
def disk(tmp_path, monkeypatch):
    """A disk of so many GB on which each checkpoint takes 10: `free` is asked for."""
    size = 0

    def free(_path):
        return SimpleNamespace(free=size - sum(10 * GB for _ in tmp_path.glob("checkpoint-*")))

    monkeypatch.setattr(shutil, "disk_usage", free)

    def make(total, *steps):
        nonlocal size
        size = total * GB
        for step in steps:
            folder = tmp_path / f"checkpoint-{step}"
            shards = folder / "global_step"
            shards.mkdir(parents=True)
            (folder / "trainer_state.json").write_text("{}")
            (folder / "latest").write_text("global_step")
            (shards / "any_optim_states.pt").write_text("any")
            (folder / "rng_state.pth").write_text("any")
            checkpoints.record(folder, step=step, world_size=1)
        return tmp_path

    return make


def left(folder):
    return sorted(path.name for path in folder.glob("checkpoint-*"))


PLAN = DiskPlan(checkpoint=10 * GB, final=3 * GB, standing=3)


def test_old_checkpoints_make_room_for_the_next_and_the_final_model(disk, capsys):
    """The oldest goes first, the newest and the best stay, and a line names what went."""
    folder = disk(42, 1, 2, 3)
    assert disk_room.make_room(PLAN, folder, best=folder / "checkpoint-1") == ""
    assert left(folder) == ["checkpoint-1", "checkpoint-3"]
    assert "checkpoint-2 is deleted" in capsys.readouterr().out


def test_without_room_for_two_the_newest_stays(disk):
    """It says what is lacking, with the numbers."""
    folder = disk(22, 1)
    why = disk_room.make_room(PLAN, folder, best=None)
    assert left(folder) == ["checkpoint-1"]
    assert "10.0 GB" in why
    assert "3.0 GB" in why
    assert "12.0 GB are free" in why


def test_the_final_model_goes_before_every_checkpoint(disk):
    """At the end all of them may go, the oldest first, and no more than must."""
    folder = disk(31, 1, 2, 3)
    disk_room.make_room_for_model(PLAN, folder, lambda: None)
    assert left(folder) == ["checkpoint-2", "checkpoint-3"]


@pytest.mark.parametrize(
    ("total", "told"),
    [
        (44, ""),
        (30, "are deleted before a new one is written"),
        (20, "only the first is written"),
        (12, "no checkpoint is written"),
        (3, "no checkpoint is written"),
        (2, "the run would end without it"),
    ],
)
def test_a_small_disk_is_told_before_the_first_step(disk, total, told):
    """The consequence, by how much is free; with an earlier run's folder named to be deleted."""
    folder = disk(total)
    (folder / "earlier_run_1").mkdir()
    (folder / "earlier_run_1" / "any").write_bytes(b"x" * 1000)
    sentence = disk_room.warning(PLAN, folder)
    assert told in sentence
    assert bool(sentence) == bool(told)
    assert not sentence or "earlier_run_1" in sentence


@pytest.mark.parametrize(
    ("saves", "total", "told"),
    [
        (0, 14, ""),
        (0, 12, "a run that is stopped cannot be saved"),
        (1, 14, ""),
        (1, 12, "no checkpoint is written"),
        (2, 24, ""),
        (2, 20, "only the first is written"),
    ],
)
def test_a_run_that_writes_few_checkpoints_needs_no_more_room(disk, saves, total, told):
    """A run that saves once or only when it is stopped is not asked to have room for three."""
    sentence = disk_room.warning(replace(PLAN, saves=saves), disk(total))
    assert told in sentence
    assert bool(sentence) == bool(told)


def test_an_earlier_run_counts_as_taken_where_this_one_does_not_resume(disk):
    """Its checkpoints are set aside, not replaced; the sentence names them to be deleted."""
    folder = disk(60, 4)
    (folder / "checkpoint-4" / "more").write_bytes(b"x" * 1000)
    assert not disk_room.warning(PLAN, folder, resumed=False)
    tight = disk(50, 5)
    assert f"delete {folder / 'checkpoint-4'}" in disk_room.warning(PLAN, tight, resumed=False)


def test_the_disk_is_planned_before_the_run_as_the_run_finds_it(chain, tuned, workspace):
    """From config.json alone: the same bytes as the optimizer's states and the model have."""
    from berth_trainer.config.config_file import read_settings
    from berth_trainer.memory import read_shape
    from berth_trainer.memory.disk import disk_plan

    path = tuned(save_steps=2, save_total_limit=3)
    document = json.loads(path.read_text())
    document["model"]["dtype"] = "fp32"
    path.write_text(json.dumps(document))
    made = disk_plan(read_settings(path), read_shape(workspace / "model"), max_steps=5)
    assert (made.standing, made.saves) == (3, 3)

    run = chain("out", "--max_steps", 2, training={"save_steps": 2})
    shards = (run.out / "checkpoint-2").rglob("*_optim_states.pt")
    assert sum(file.stat().st_size for file in shards) == pytest.approx(made.checkpoint, rel=0.01)
    final = (run.out / "final_model" / "model.safetensors").stat().st_size
    assert final == pytest.approx(made.final, rel=0.01)


@pytest.mark.parametrize("stage", [1, 3])
def test_a_checkpoint_holds_the_weights_once(chain, stage):
    """At most 12.2 bytes a trained parameter; a resumed run has the weights that it had."""
    zero = {"stage": stage, "offload_optimizer": "none", "offload_param": "none"}
    steady = {"training": {"save_steps": 2, "lr_scheduler": "constant"}, "deepspeed": zero}
    whole = chain("whole", "--max_steps", 4, **steady)
    first = chain("broken", "--max_steps", 2, **steady)
    assert (whole.code, first.code) == (0, 0), whole.text + first.text
    checkpoint = first.out / "checkpoint-2"
    assert checkpoints.inspect(checkpoint).flaw is None
    assert not list(checkpoint.rglob("*.safetensors"))
    shards = sum(file.stat().st_size for file in checkpoint.rglob("*_optim_states.pt"))
    assert shards <= 12.2 * 1_017_664 + 40_000
    assert sum(f.stat().st_size for f in checkpoint.rglob("*_model_states.pt")) < 120_000
    exported = get_fp32_state_dict_from_zero_checkpoint(checkpoint)
    final = load_file(first.out / "final_model" / "model.safetensors")
    assert "lm_head.weight" not in final, "the head is the embedding, which is there"
    assert all(torch.equal(exported[name], final[name]) for name in final)

    second = chain("broken", "--resume", "--max_steps", 4, **steady)
    assert second.code == 0, second.text
    tests = [json.loads((run.out / "results.json").read_text())["test_loss"] for run in (whole, second)]  # fmt: skip
    assert tests[0] == pytest.approx(tests[1], abs=1e-6)


def test_states_on_the_host_are_updated_as_on_the_gpu(chain):
    """The losses are the same to the last digit, clipping included, in pieces or not."""
    curves = []
    for device in ("none", "cpu"):
        zero = {"stage": 3, "offload_optimizer": device, "offload_param": "none"}
        run = chain(device, "--max_steps", 3, deepspeed=zero,
                    training={"max_grad_norm": 0.5, "weight_decay": 0.1})  # fmt: skip
        assert run.code == 0, run.text
        lines = [json.loads(line) for line in (run.out / "metrics.jsonl").read_text().splitlines()]
        curves.append([line["loss"] for line in lines if "loss" in line])
    assert len(curves[0]) == 3
    assert curves[0] == curves[1]
    assert "states on the host updated piece by piece" in run.text
