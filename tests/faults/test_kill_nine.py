"""kill -9 of the daemons at any moment: jobs go on, nothing is lost, nothing runs twice."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

# Each attempt notes its start, waits for its file, notes its end and leaves with its own code.
JOB = """
echo $$ >> {pids}
echo "start $BERTH_ATTEMPT" >> {marks}
while [ ! -e {go} ]; do sleep 0.05; done
echo "end $BERTH_ATTEMPT" >> {marks}
exit {code}
"""


def script(folder: Path, go: str, code: int) -> str:
    return JOB.format(pids=folder / "pids", marks=folder / "marks", go=folder / go, code=code)


def marks(folder: Path) -> list[str]:
    path = folder / "marks"
    return path.read_text().splitlines() if path.exists() else []


@pytest.mark.parametrize("victims", [("server",), ("worker",), ("server", "worker")])
def test_running_jobs_survive_and_their_exit_codes_are_right(box, tmp_path, until, victims):
    """
    Jobs that run when daemons are killed go on; those that end meanwhile are reported truly
    afterwards; queued ones start when GPUs come free; every GPU is free in the end.
    """
    running = [box.submit(script=script(tmp_path, "go-1", code), gpus=4) for code in (0, 7)]
    queued = box.submit(script=script(tmp_path, "go-2", 0), gpus=8)
    box.wait(*running, state={"running"})
    until(lambda: len(marks(tmp_path)) == 2, "both jobs have begun")
    # The shells that wait; their `sleep`s come and go.
    pids = set(map(int, (tmp_path / "pids").read_text().split()))

    box.kill(*victims)
    assert pids <= set(box.attempt_pids()), "jobs live on without the daemons"
    (tmp_path / "go-1").touch()
    until(lambda: not pids & set(box.attempt_pids()), "the jobs ended meanwhile")
    box.start(*victims)

    good, bad = box.wait(*running)
    assert (good["state"], good["exit_code"], good["outcome"]) == ("succeeded", 0, "exit")
    assert (bad["state"], bad["exit_code"], bad["outcome"]) == ("failed", 7, "exit")
    box.wait(queued, state={"running"})
    (tmp_path / "go-2").touch()
    (last,) = box.wait(queued)
    assert last["state"] == "succeeded"
    assert sorted(marks(tmp_path)) == sorted(
        f"{word} {job}.1" for job in (*running, queued) for word in ("start", "end")
    )
    until(
        lambda: all(gpu["holder"]["kind"] == "free" for gpu in box.get("/gpus")["gpus"]),
        "every GPU is free",
    )


@pytest.mark.timeout(280)
def test_random_kills_lose_and_double_nothing(box, tmp_path, until):
    """
    Short jobs stream through the box while server and worker are killed at random moments:
    every acknowledged job runs exactly once and ends with its own exit code.
    """
    dice = random.Random(20260)  # a fixed seed: a failure can be repeated
    expected: dict[int, int] = {}
    for _ in range(6):
        for _ in range(4):
            code = dice.choice((0, 0, 3))
            body = f'echo "ran $BERTH_ATTEMPT" >> {tmp_path / "marks"}; sleep 0.1; exit {code}'
            expected[box.submit(script=body, gpus=dice.choice((1, 2, 4)))] = code
        goal = dice.randrange(len(expected))
        until(lambda goal=goal: len(marks(tmp_path)) >= goal, "some jobs have run")
        victims = dice.choice((("server",), ("worker",), ("server", "worker")))
        box.kill(*victims)
        box.start(*victims)
    for job in box.wait(*expected, timeout_s=120):
        assert job["exit_code"] == expected[job["id"]], job
        assert len(job["attempts"]) == 1
    assert sorted(marks(tmp_path)) == sorted(f"ran {job_id}.1" for job_id in expected)
    until(
        lambda: all(gpu["holder"]["kind"] == "free" for gpu in box.get("/gpus")["gpus"]),
        "every GPU is free",
    )


def test_an_acknowledged_submit_survives_the_next_instruction(box):
    """A submit that was answered is there after kill -9 of the server, under the same id."""
    ids = []
    for round_ in range(3):
        ids.append(box.submit(command=["true"], name=f"round-{round_}", hold=True))
        box.kill("server")
        box.start("server")
    assert [box.job(job_id)["name"] for job_id in ids] == ["round-0", "round-1", "round-2"]
    assert ids == sorted(set(ids))
