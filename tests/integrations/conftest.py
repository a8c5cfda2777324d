"""One real box of two simulated GPUs for the tools that submit to it."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(scope="session")
def queue(tmp_path_factory, open_box):
    """A box that this process's clients find."""
    with open_box(tmp_path_factory.mktemp("daemons"), gpus="sim:2") as box:
        yield box


@pytest.fixture(autouse=True)
def its_clients(queue, monkeypatch):
    """Clients of this process find the box as a user's would."""
    for name in [n for n in os.environ if n.startswith(("BERTH_", "SLURM_", "SUBMITIT_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("BERTH_HOME", str(queue.home))
