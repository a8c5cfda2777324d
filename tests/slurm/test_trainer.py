"""The bundled trainer over two nodes of a real cluster: killed, resumed elsewhere, same losses."""

from __future__ import annotations

import json
import re
import signal

import psutil
import pytest

COMMAND = (
    "deepspeed --num_nodes=2 --num_gpus=2 train_deepspeed.py --config {config} "
    "--ablation_config profile_only --output_dir {output}"
)
STEPS = 8
SAVED_AT = 4


@pytest.fixture(scope="module")
def config(workspace) -> str:
    """A configuration that logs each step and saves in the middle."""
    text = re.sub(r"//.*", "", (workspace / "config.json").read_text())
    whole = json.loads(re.sub(r",(\s*[}\]])", r"\1", text))
    whole["training"] |= {
        "max_steps": STEPS, "save_steps": SAVED_AT, "logging_steps": 1, "eval_steps": 1000,
    }  # fmt: skip
    whole["deepspeed"] = {"stage": 3}
    (workspace / "config_gang.json").write_text(json.dumps(whole))
    return "config_gang.json"


def losses(box, job: int) -> dict[int, float]:
    """The loss of each step, of the last attempt that made it."""
    found: dict[int, float] = {}
    for number in range(1, len(box.job(job)["attempts"]) + 1):
        path = box.home / "runs" / str(job) / str(number) / "files" / "metrics.jsonl"
        for line in path.read_text().splitlines() if path.exists() else ():
            point = json.loads(line)
            if "loss" in point:
                found[point["step"]] = point["loss"]
    return found


def ranks_of(job: int) -> list[psutil.Process]:
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        try:
            environment = process.environ()
        except psutil.Error:
            continue
        if environment.get("BERTH_JOB_ID") == str(job) and "LOCAL_RANK" in environment:
            found.append(process)
    return found


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_killed_gang_resumes_on_other_nodes(lab, clean, workspace, config, until):
    """Two nodes of two ranks under ZeRO-3; the losses are those of a run that was never stopped."""
    unbroken = lab.submit(
        command=COMMAND.format(config=config, output="outputs/unbroken"), workdir=str(workspace)
    )
    (ended,) = lab.wait(unbroken, timeout_s=400)
    assert ended["state"] == "succeeded", ended["message"]

    job = lab.submit(
        command=COMMAND.format(config=config, output="outputs/broken"),
        workdir=str(workspace),
        retries=1,
    )
    saved = workspace / "outputs" / "broken" / f"checkpoint-{SAVED_AT}" / "berth_complete.json"
    until(saved.exists, "the checkpoint in the middle is complete", 400)
    first = lab.job(job)["attempts"][0]
    lost = first["gpu_uuids"][-1].partition(":")[0]
    victim = next(
        rank for rank in ranks_of(job) if rank.environ().get("BERTH_GPU_UUIDS", "").startswith(lost)
    )
    victim.send_signal(signal.SIGKILL)
    clean.ask("scontrol", "update", f"NodeName={lost}", "State=DRAIN", "Reason=broken")
    (ended,) = lab.wait(job, timeout_s=400)
    assert ended["state"] == "succeeded", ended["message"]
    _, second = ended["attempts"]
    assert lost not in {name.partition(":")[0] for name in second["gpu_uuids"]}
    whole, pieces = losses(lab, unbroken), losses(lab, job)
    assert sorted(whole) == sorted(pieces) == list(range(1, STEPS + 1))
    assert pieces == pytest.approx(whole, rel=1e-4)
