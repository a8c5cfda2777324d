"""The shim puts up the fence of its launch.json; jobs see nothing of it but its effect."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from berth_worker import shim
from berth_worker.fence import APPLY, probe

SHIM = Path(shim.__file__).with_name("__main__.py")
FENCE = probe()
pytestmark = pytest.mark.skipif(not FENCE.can_mask, reason=FENCE.sentence)


@pytest.fixture
def run(tmp_path):
    """Run a script behind a fence that covers `mask`; its exit record and what it said."""

    def run(script: str, mask: list[str], **more):
        launch = {
            "attempt": "1.1",
            "argv": ["/bin/bash", "-c", script],
            "env": dict(os.environ),
            "cwd": str(tmp_path),
            "uid": None,
            "gid": os.getgid(),
            "groups": [],
            "fence": {
                "kind": "namespace",
                "mask": mask,
                "user_namespace": FENCE.user_namespace,
                "drop_capabilities": list(FENCE.drop_capabilities),
                "apply": str(APPLY),
            },
            "grace_s": 1.0,
            **more,
        }
        path = tmp_path / "launch.json"
        path.write_text(json.dumps(launch))
        command = [sys.executable, "-I", "-S", str(SHIM), str(path)]
        subprocess.run(command, check=True, timeout=30)
        record = json.loads((tmp_path / "exit.json").read_text())
        return record, (tmp_path / "output.log").read_text()

    return run


def test_masked_files_are_empty_inside_and_whole_outside(run, tmp_path):
    """The job reads nothing from a masked file; other processes still do."""
    for name in ("card0", "card1"):
        (tmp_path / name).write_text(f"I am {name}\n")
    record, said = run("cat card0 card1; echo end", [str(tmp_path / "card1")])
    assert (record["exit_code"], said) == (0, "I am card0\nend\n")
    assert (tmp_path / "card1").read_text() == "I am card1\n"


def test_the_job_keeps_its_user(run, tmp_path):
    """Behind the fence the job is who it was, also in a user namespace."""
    (tmp_path / "gpu").write_text("secret")
    record, said = run("id -u; id -g", [str(tmp_path / "gpu")])
    assert record["exit_code"] == 0
    assert said.split() == [str(os.getuid()), str(os.getgid())]


def test_a_mask_for_a_missing_device_is_passed_over(run):
    """A device that has gone since the plan does not keep the job from starting."""
    record, _ = run("exit 4", ["/dev/no-such-gpu"])
    assert record["exit_code"] == 4


def test_a_fence_that_cannot_be_put_up_stops_the_start(run, tmp_path):
    """Without its fence a job does not run: the record says why."""
    broken = tmp_path / "broken.py"
    broken.write_text("def enter(*a, **k): raise OSError(1, 'The fence cannot be put up: no.')\n")
    fence = {
        "kind": "namespace",
        "mask": ["/dev/zero"],
        "user_namespace": False,
        "drop_capabilities": [],
        "apply": str(broken),
    }
    record, said = run("echo ran", ["/dev/zero"], fence=fence)
    assert record["cause"] == "launch_error"
    assert "fence cannot be put up" in record["message"]
    assert said == record["message"] + "\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be kept from taking covers off")
def test_root_cannot_take_the_cover_off(run, tmp_path):
    """A job of root's has lost what it would need to unmount."""
    gpu = tmp_path / "gpu"
    gpu.write_text("secret\n")
    _, said = run(f"umount {gpu} 2>/dev/null; cat {gpu}; echo end", [str(gpu)])
    assert said == "end\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes others")
def test_another_users_job_is_fenced_too(run, tmp_path):
    """Fence first, then the user: the job ends up with both."""
    tmp_path.chmod(0o755)
    for parent in list(tmp_path.parents)[:3]:
        parent.chmod(0o755)
    gpu = tmp_path / "gpu"
    gpu.write_text("secret\n")
    record, said = run("id -u; cat gpu; echo end", [str(gpu)], uid=65534, gid=65534)
    assert record["exit_code"] == 0, said
    assert said.splitlines() == ["65534", "end"]
