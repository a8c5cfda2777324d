"""The main job, asserted from outside through REST alone."""

from __future__ import annotations

import shutil
from datetime import datetime

import pytest

from berth_trainer import train_deepspeed

DEEPSPEED = (
    "deepspeed --num_gpus=4 train_deepspeed.py --config config.json "
    "--ablation_config profile_and_history"
)
ACCELERATE = (
    "CUDA_VISIBLE_DEVICES=4,5,6,7 accelerate launch --num_processes=4 train_deepspeed.py "
    "--config config_realpersonachat.json --ablation_config profile_and_history_and_context "
    "--output_dir outputs/whole"
)


def span(job) -> tuple[datetime, datetime]:
    return datetime.fromisoformat(job["started_at"]), datetime.fromisoformat(job["ended_at"])


def losses(box, job_id: int) -> list[float]:
    points = box.get(f"/jobs/{job_id}/metrics")["points"]
    return [point["loss"] for point in points if "loss" in point]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_pasted_four_gpu_runs_train_side_by_side(box, workspace, until):
    """
    Two 4-GPU commands pasted unchanged run at the same time on disjoint GPUs and different
    ports, both under real ZeRO-3, both succeed, and their loss falls.
    """
    specs = [
        {"command": command, "workdir": str(workspace), "labels": {"ablation": "demo"}}
        for command in (DEEPSPEED, ACCELERATE)
    ]
    answer = box.post("/jobs", specs)
    assert answer.status_code == 201, answer.text
    first, second = (job["id"] for job in answer.json())
    assert [box.job(i)["gpus"] for i in (first, second)] == [4, 4]

    until(
        lambda: all(box.job(i)["state"] == "running" for i in (first, second)),
        "both run at once",
    )
    holders = {gpu["index"]: gpu["holder"]["job_id"] for gpu in box.get("/gpus")["gpus"]}
    assert sorted(holders.values()) == [first] * 4 + [second] * 4

    jobs = box.wait(first, second, timeout_s=500)
    for job in jobs:
        assert job["state"] == "succeeded", box.log(job["id"])[-4000:]
        assert job["exit_code"] == 0
    sets = [set(job["gpu_uuids"]) for job in jobs]
    assert [len(one) for one in sets] == [4, 4]
    assert not sets[0] & sets[1]
    ports = [job["attempts"][0]["master_port"] for job in jobs]
    assert ports[0] != ports[1]
    (start_a, end_a), (start_b, end_b) = map(span, jobs)
    assert max(start_a, start_b) < min(end_a, end_b), "their lifetimes overlap"
    for job in jobs:
        curve = losses(box, job["id"])
        assert curve[-1] < curve[0]
        log = box.log(job["id"])
        assert "ZeRO stage" in log
    until(
        lambda: all(gpu["holder"]["kind"] == "free" for gpu in box.get("/gpus")["gpus"]),
        "every GPU is free again",
    )


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_four_pasted_command_styles_at_once(box, workspace):
    """
    `deepspeed`, `accelerate launch`, `torchrun` and `python -m torch.distributed.run`, each
    asking for two GPUs and two of them for the same ones, run at once and never meet.
    """
    tail = "train_deepspeed.py --config config.json --max_steps 2 --ablation_config"
    lines = [
        f"deepspeed --include localhost:0,1 {tail} profile_only --output_dir outputs/a",
        (
            "CUDA_VISIBLE_DEVICES=0,1 accelerate launch --num_processes=2 --main_process_port 29500 "
            f"{tail} context_only --output_dir outputs/b"
        ),
        (
            f"torchrun --nproc-per-node=2 --master-port=29500 {tail} history_only "
            "--output_dir outputs/c"
        ),
        (
            f"python -m torch.distributed.run --nproc_per_node 2 {tail} profile_and_context "
            "--output_dir outputs/d"
        ),
    ]
    answer = box.post("/jobs", [{"command": line, "workdir": str(workspace)} for line in lines])
    assert answer.status_code == 201, answer.text
    jobs = box.wait(*(job["id"] for job in answer.json()), timeout_s=500)
    for job in jobs:
        assert job["state"] == "succeeded", box.log(job["id"])[-4000:]
    held = [uuid for job in jobs for uuid in job["gpu_uuids"]]
    assert len(held) == len(set(held)) == 8
    assert len({job["attempts"][0]["master_port"] for job in jobs}) == 4
    spans = [span(job) for job in jobs]
    assert max(start for start, _ in spans) < min(end for _, end in spans)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_guides_start_script_and_its_gpu_ids_at_once(box, workspace, tmp_path):
    """
    A start script around `deepspeed`, and `--gpu_ids` behind the script's name under accelerate,
    which accelerate itself never reads: four ranks each, on disjoint GPUs, from one folder.
    """
    folder = tmp_path / "lab"
    shutil.copytree(workspace, folder)
    (folder / "train_deepspeed.py").symlink_to(train_deepspeed.__file__)
    (folder / "train_deepspeed_launch.sh").write_text(
        "#!/bin/bash\n# train_deepspeed_launch.sh\n\n"
        "deepspeed --num_gpus=4 train_deepspeed.py \\\n    --config config.json \\\n"
        "    --ablation_config profile_and_history_and_context \\\n    --max_gpus 4\n"
    )
    lines = [
        "bash train_deepspeed_launch.sh",
        (
            "accelerate launch --num_processes=4 Gemma/train_deepspeed.py --config config.json "
            "--ablation_config profile_and_context --gpu_ids 4,5,6,7 --output_dir "
            "Gemma/outputs/0123_Gemma_LovinkDialogue_profile_and_context_1400"
        ),
    ]
    config = folder / "config.json"
    config.write_text(config.read_text("utf-8").replace('"max_steps": 20', '"max_steps": 2'))
    specs = [{"command": line, "workdir": str(folder)} for line in lines]
    specs[0]["gpus"] = 4
    answer = box.post("/jobs", specs)
    assert answer.status_code == 201, answer.text
    jobs = box.wait(*(job["id"] for job in answer.json()), timeout_s=500)

    for job in jobs:
        log = box.log(job["id"])
        assert job["state"] == "succeeded", log[-4000:]
        assert job["gpus"] == 4
        assert "\u2713 ranks: 4" in log
        assert "warning: ranks" not in log
    held = [uuid for job in jobs for uuid in job["gpu_uuids"]]
    assert len(held) == len(set(held)) == 8
