"""A run of the bundled trainer that will not fit gets a warning at submit."""

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
        zero = {"offload_optimizer": "none", "offload_param": "none", **zero}
        document = {"model": {"path": "."}, "data": {"train_path": "d"}, "deepspeed": zero}
        (tmp_path / "run.json").write_text(json.dumps(document))
        command = "deepspeed --num_gpus=4 train_deepspeed.py --config run.json"
        return {"command": command, "workdir": str(tmp_path)}

    return write


def test_a_dry_run_and_a_submit_say_what_is_missing_and_what_would_fit(api, run):
    """The same sentence in both; it names the GPUs, the need, its largest part and the fix."""
    spec = run()
    (shown,) = api.post("/api/v1/jobs/dry-run", json=spec).json()["warnings"]
    assert "It will probably not fit on 4 GPUs of 80 GiB: it needs" in shown
    assert "model states" in shown
    assert "deepspeed.offload_optimizer cpu" in shown
    job = api.post("/api/v1/jobs", json=spec).json()
    assert job["warnings"] == [shown]
    assert api.post("/api/v1/jobs", json=[spec, spec]).json()[1]["warnings"] == [shown]


def test_the_file_is_read_again_when_it_changes(api, run):
    """With the optimizer offloaded it fits, and nothing is said."""
    assert api.post("/api/v1/jobs/dry-run", json=run()).json()["warnings"]
    assert not api.post("/api/v1/jobs/dry-run", json=run(offload_optimizer="cpu")).json()[
        "warnings"
    ]


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
