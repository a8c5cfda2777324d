"""Prologue and epilogue of the admin, run by a real worker: what they see, and what a failure does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROLOGUE = """#!/bin/sh
echo "$BERTH_HOOK $BERTH_ATTEMPT $BERTH_USER $BERTH_GPU_INDICES $CUDA_VISIBLE_DEVICES" >> {said}
mkdir {said}-once 2>/dev/null || exit 0
echo looking
echo "GPU $BERTH_GPU_INDICES has row remap errors"
exit 3
"""
EPILOGUE = """#!/bin/sh
echo "$BERTH_HOOK $BERTH_ATTEMPT $BERTH_OUTCOME $BERTH_GPU_INDICES" >> {said}
mkdir {said}-after 2>/dev/null || exit 0
echo "diag failed on GPU $BERTH_GPU_INDICES: Pulse Test" >&2
exit 1
"""


@pytest.fixture
def said(tmp_path):
    return tmp_path / "said"


@pytest.fixture
def hooked(tmp_path, said, open_box):
    """A box of three GPUs: prologue and epilogue fail once each."""
    for name, text in (("prologue", PROLOGUE), ("epilogue", EPILOGUE)):
        (tmp_path / name).write_text(text.format(said=said))
        (tmp_path / name).chmod(0o755)
    settings = f"[worker]\nprologue = '{tmp_path}/prologue'\nepilogue = '{tmp_path}/epilogue'\n"
    with open_box(tmp_path, gpus="sim:3", settings=settings) as box:
        yield box


def test_what_fails_keeps_jobs_off_its_gpus(hooked, said, until):
    """The job goes on elsewhere without a retry, the GPU says why, the next job passes it over."""
    first = hooked.submit(command="echo on $CUDA_VISIBLE_DEVICES", gpus=1)
    ended = hooked.wait(first)[0]
    assert (ended["state"], len(ended["attempts"])) == ("succeeded", 2)
    bad, worn = (attempt["gpu_indices"][0] for attempt in ended["attempts"])
    assert f"GPU {bad} has row remap errors" in ended["attempts"][0]["message"]
    second = hooked.submit(command="true", gpus=1)
    (good,) = hooked.wait(second)[0]["gpu_indices"]
    assert len({bad, worn, good}) == 3
    without = hooked.submit(command="true", gpus=0)
    hooked.wait(without)
    until(lambda: len(said.read_text().splitlines()) == 5, "the last epilogue")
    reasons = {gpu["index"]: gpu["drain_reason"] for gpu in hooked.get("/gpus")["gpus"]}
    remapped = f"The prologue ended with code 3: GPU {bad} has row remap errors."
    failed = f"The epilogue ended with code 1: diag failed on GPU {worn}: Pulse Test."
    assert (reasons[bad], reasons[worn]) == (remapped, failed)
    assert reasons[good] is None
    user = ended["user"]
    assert sorted(said.read_text().splitlines()) == [
        f"epilogue {first}.2 exit {worn}",
        f"epilogue {second}.1 exit {good}",
        f"prologue {first}.1 {user} {bad} {bad}",
        f"prologue {first}.2 {user} {worn} {worn}",
        f"prologue {second}.1 {user} {good} {good}",
    ]


def test_a_gpu_is_given_on_after_its_epilogue(tmp_path, said, open_box, until):
    """Also when the worker is killed while that runs; then it runs once more."""
    go = tmp_path / "go"
    script = f"#!/bin/sh\necho began >> {said}\nuntil [ -e {go} ]; do sleep 0.02; done\n"
    (tmp_path / "epilogue").write_text(script)
    (tmp_path / "epilogue").chmod(0o755)
    settings = f"[worker]\nepilogue = '{tmp_path}/epilogue'\n"
    with open_box(tmp_path, gpus="sim:1", settings=settings) as box:
        first = box.submit(command="true", gpus=1)
        assert box.wait(first)[0]["state"] == "succeeded"
        until(said.exists, "the epilogue")
        box.kill("worker")
        box.start("worker")
        until(lambda: said.read_text().count("began") == 2, "the epilogue once more")
        second = box.submit(command="true", gpus=1)
        assert box.job(second)["state"] == "queued"
        go.touch()
        assert box.wait(second)[0]["state"] == "succeeded"


@pytest.mark.parametrize("mode", [0o644, 0o777])
def test_a_program_that_others_could_change_is_refused(tmp_path, mode):
    """It would run as the worker's user; a sentence at the start of the worker says so."""
    program = tmp_path / "prologue"
    program.write_text("#!/bin/sh\n")
    program.chmod(mode)
    (tmp_path / "berth.toml").write_text(f"[worker]\nprologue = '{program}'\n")
    done = subprocess.run(
        [sys.executable, "-m", "berth_worker"],
        env={**os.environ, "BERTH_HOME": str(tmp_path), "BERTH_GPUS": "sim:1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert str(program) in done.stderr


@pytest.mark.parametrize(
    ("diag", "code", "last"),
    [
        ("exit 0", 0, ""),
        (
            "echo '| Deployment | Pass |'; echo '| Memory | Fail - GPU 1 |'; exit 226",
            1,
            "Memory Fail",
        ),
        ("exit 1", 1, "dcgmi diag -r 1 failed"),
    ],
)
def test_the_example_for_dcgm_says_what_failed(tmp_path, diag, code, last):
    """In its last line, which is what people see."""
    (tmp_path / "dcgmi").write_text(f"#!/bin/sh\n{diag}\n")
    (tmp_path / "dcgmi").chmod(0o755)
    done = subprocess.run(
        [Path(__file__).parents[2] / "deploy" / "hooks" / "epilogue-dcgm.sh"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "BERTH_GPU_INDICES": "0,1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code
    assert last in (done.stdout.splitlines() or [""])[-1]
