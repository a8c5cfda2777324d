"""A dry run shows what the job itself would have changed."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    "spec",
    [
        {"command": "deepspeed --num_gpus=2 x.py"},
        {"command": "cd sub && deepspeed --num_gpus=2 x.py"},
        {"command": "deepspeed --num_gpus=2 x.py 2>&1 | tee log"},
        {"command": "nohup deepspeed --num_gpus=2 x.py > log 2>&1 &"},
        {"script": "#!/bin/bash -e\nsource env/bin/activate\ndeepspeed --num_gpus=2 x.py\n"},
    ],
)
def test_changes_are_shown_whatever_reads_the_command(api, desk, tmp_path, spec):
    """Lines that a shell reads and scripts show theirs like plain commands."""
    (tmp_path / "x.py").touch()

    shown = api.post("/api/v1/jobs/dry-run", json={**spec, "workdir": str(tmp_path)}).json()

    assert "deepspeed.launcher.launch" in shown["after"]
    assert any("--num_gpus=2" in change["what"] for change in shown["changes"])
