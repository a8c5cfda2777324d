"""A run of the bundled trainer that will not fit on the GPUs or the disk gets a warning at submit."""

import json

import pytest

from berth_server.api.routes import submit
from berth_server.service.jobs import memory_warnings

LARGE = {
    "model_type": "gemma3_text", "hidden_size": 5376, "num_hidden_layers": 62,
    "intermediate_size": 21_504, "num_attention_heads": 32, "num_key_value_heads": 16,
    "head_dim": 128, "vocab_size": 262_208,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _patience(monkeypatch):
    """A busy machine takes seconds for what a request waits 1.5 s for."""
    monkeypatch.setattr(memory_warnings, "_TIMEOUT_S", 60.0)
    monkeypatch.setattr(submit, "_WARNINGS_TIMEOUT_S", 60.0)


@pytest.fixture
def run(tmp_path):
    """A folder with a 27b model's config.json and a config file; returns how to write the latter."""
    (tmp_path / "config.json").write_text(json.dumps(LARGE))

    def write(**zero):
        training = zero.pop("training", {})
        zero = {"offload_optimizer": "none", "offload_param": "none", **zero}
        document = {"model": {"path": "."}, "data": {"train_path": "d"}, "deepspeed": zero}
        document["training"] = training
        (tmp_path / "run.json").write_text(json.dumps(document))
        command = "deepspeed --num_gpus=4 train_deepspeed.py --config run.json"
        return {"command": command, "workdir": str(tmp_path)}

    return write


def about_gpus(warnings):
    """Those of memory: of the disk there may be one more, by the disk that the test runs on."""
    return [one for one in warnings if "GPU" in one]


def about_disk(warnings):
    return [one for one in warnings if "disk of" in one]


def test_a_dry_run_and_a_submit_say_what_is_missing_and_what_would_fit(api, run):
    """The same sentence in both; it names the GPUs, the need, its largest part and the fix."""
    spec = run()
    (shown,) = about_gpus(api.post("/api/v1/jobs/dry-run", json=spec).json()["warnings"])
    assert "It will probably not fit on 4 GPUs of 80 GiB: it needs" in shown
    assert "model states" in shown
    assert "deepspeed.offload_optimizer cpu" in shown
    job = api.post("/api/v1/jobs", json=spec).json()
    assert about_gpus(job["warnings"]) == [shown]
    assert about_gpus(api.post("/api/v1/jobs", json=[spec, spec]).json()[1]["warnings"]) == [shown]


def test_the_file_is_read_again_when_it_changes(api, run):
    """With the optimizer offloaded it fits, and nothing is said."""

    def shown(**zero):
        return about_gpus(api.post("/api/v1/jobs/dry-run", json=run(**zero)).json()["warnings"])

    assert shown()
    assert not shown(offload_optimizer="cpu")


HUGE = {"save_total_limit": 10**9}  # such a disk is nowhere


def test_checkpoints_that_no_disk_holds_are_told_at_submit(api, run):
    """Sizes, what is free, what will happen and the key to change, in one sentence."""
    spec = run(offload_optimizer="cpu", training=HUGE)
    for found in (
        api.post("/api/v1/jobs/dry-run", json=spec).json()["warnings"],
        api.post("/api/v1/jobs", json=spec).json()["warnings"],
    ):
        (shown,) = about_disk(found)
        assert shown.startswith("A checkpoint takes 324.1 GB, the final model 54.0 GB, and ")
        assert "training.save_total_limit" in shown or "--output_dir" in shown


def test_the_disk_is_that_of_the_output_folder(api, run, tmp_path):
    """Of a run that left things there it names what to delete, but not where the run resumes."""
    old = tmp_path / "runs" / "a" / "checkpoint-7"
    old.mkdir(parents=True)
    (old / "any_optim_states.pt").write_bytes(b"x" * 60_000_000)
    spec = run(offload_optimizer="cpu", training=HUGE)

    def told(*words):
        command = " ".join((spec["command"], *words))
        found = api.post("/api/v1/jobs/dry-run", json={**spec, "command": command}).json()
        return about_disk(found["warnings"])

    (shown,) = told("--output-dir=runs/a")
    assert f"on the disk of {tmp_path}/runs/a:" in shown
    assert f"delete {old} (60.0 MB of an earlier run)" in shown
    (shown,) = told("--output_dir", "runs/a", "--resume")
    assert "delete" not in shown
    (shown,) = told("--output_dir", "runs/b")
    assert f"on the disk of {tmp_path}/runs:" in shown
    assert told("--predict") == []


def test_the_plan_says_how_long_the_steps_should_take(api, run):
    """Of a run that no earlier one is like, where the command says how many steps it makes."""
    spec = run(offload_optimizer="cpu")
    spec["command"] += " --max_steps 400"
    found = api.post("/api/v1/jobs/dry-run", json=spec).json()["expected_length"]
    assert found["sentence"].endswith("from the speed in the plan and 400 steps")
    assert 0 < found["seconds"] <= found["seconds_p90"]


@pytest.mark.parametrize(
    "command",
    [
        "torchrun --nproc-per-node=4 other.py --config run.json",
        "torchrun --nproc-per-node=4 train_deepspeed.py --config missing.json",
        "torchrun --nproc-per-node=4 train_deepspeed.py",
    ],
)
def test_of_any_other_command_nothing_is_said(api, run, tmp_path, command):
    """Neither a script of the user's own, nor a config that is not there."""
    (tmp_path / "other.py").touch()
    spec = {**run(), "command": command}
    assert api.post("/api/v1/jobs/dry-run", json=spec).json()["warnings"] == []


def test_a_config_that_is_wrong_is_left_to_the_run(api, run, tmp_path):
    """The trainer tells it in a sentence of its own; a submit never fails of it."""
    spec = run()
    for text in ("{", '{"model": {"path": 3}}', json.dumps({"model": {"path": "x/y"}})):
        (tmp_path / "run.json").write_text(text)
        assert api.post("/api/v1/jobs", json=spec).status_code == 201
