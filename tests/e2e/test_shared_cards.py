"""GPUs in shares, drains and reservations on a real server and worker."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

GIB = 1 << 30


def share(box, gib: int, **more) -> int:
    """Submit a job that sleeps on a part of a GPU."""
    return box.submit(command=["sleep", "600"], share=True, gpu_memory=f"{gib}GiB", **more)


def states(box, *jobs: int) -> list[str]:
    return [box.job(job)["state"] for job in jobs]


def simulate(box, **lists) -> None:
    """Say what the simulated GPUs shall show from the next look on."""
    part = box.home / "simulated.part"
    part.write_text(json.dumps(lists))
    part.rename(box.home / "simulated.json")


def test_who_uses_more_than_declared_is_stopped_and_the_neighbour_goes_on(shared_box, until):
    """Both see the same GPU; the sentence tells what was used and what was declared."""
    box = shared_box
    first, second = share(box, 20), share(box, 30)
    until(lambda: states(box, first, second) == ["running", "running"], "both run")
    assert box.job(first)["gpu_indices"] == box.job(second)["gpu_indices"]
    card = box.job(first)["gpu_indices"][0]
    simulate(box, uses=[{"job": first, "memory": "25GiB"}])
    (ended,) = box.wait(first)
    assert (ended["state"], ended["outcome"]) == ("failed", "escaped")
    assert f"used 25.0 GiB of GPU {card} and had declared 20.0 GiB" in ended["message"]
    until(
        lambda: [h["job_id"] for h in box.get("/gpus")["gpus"][card]["holders"]] == [second],
        "only the neighbour holds a part of the card",
    )
    assert states(box, second) == ["running"]
    simulate(box)
    box.post(f"/jobs/{second}/cancel")
    box.wait(second)
    until(
        lambda: all(gpu["holder"]["kind"] == "free" for gpu in box.get("/gpus")["gpus"]),
        "the card is whole again",
    )


def test_a_drain_and_a_reservation_end_by_themselves(shared_box, until):
    """At their moment, by the server's own clock, and the job that waited starts."""
    box = shared_box
    soon = datetime.now(UTC) + timedelta(seconds=2)
    for gpu in range(7):
        wish = {"reason": "fan", "until": soon.isoformat()}
        assert box.post(f"/gpus/{gpu}/drain", wish).status_code == 200
    body = {"gpus": ["7"], "users": ["nobody"], "ends_at": soon.isoformat(), "reason": "demo"}
    assert box.post("/reservations", body).status_code == 201
    job = box.submit(command=["true"], gpus=8)
    shown = box.get(f"/jobs/{job}/explain")
    kinds = {reason["kind"] for reason in shown["reasons"]}
    assert {"gpus_draining", "reservation"} <= kinds
    (ended,) = box.wait(job)
    assert ended["state"] == "succeeded"
    assert datetime.fromisoformat(ended["started_at"]) >= soon
    assert box.get("/reservations") == {"reservations": []}
    events = box.get("/events", order="newest", limit=100)["events"]
    assert sum(event["kind"] == "gpu.undrained" for event in events) == 7
    assert any(event["kind"] == "reservation.over" for event in events)


def test_limits_hold_on_a_real_box(tmp_path, open_box, until):
    """From berth.toml: GPUs at once, jobs at once, jobs pending; each with its sentence."""
    logs = tmp_path / "daemons"
    logs.mkdir()
    settings = "[policy.user_limits]\nrunning_gpus = 2\nrunning_jobs = 2\nqueued_jobs = 1\n"
    with open_box(logs, gpus="sim:4", settings=settings) as box:
        first = box.submit(command=["sleep", "600"], gpus=2)
        box.wait(first, state={"running"})
        waits = box.submit(command=["true"], gpus=1)
        assert states(box, waits) == ["queued"]
        assert "holds 2 GPUs and may hold 2" in box.job(waits)["reason"]
        refused = box.post("/jobs", {"command": ["true"], "workdir": str(box.home)})
        assert refused.status_code == 409
        assert "1 jobs pending and may have 1" in refused.json()["detail"]
        box.post(f"/jobs/{first}/cancel")
        (ended,) = box.wait(waits)
        assert ended["state"] == "succeeded"
