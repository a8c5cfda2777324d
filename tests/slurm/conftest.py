"""A real Slurm cluster of this machine's, with a Berth whose jobs run there."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from berth.demo.cluster import DemoCluster

_MORE = """
Prolog={folder}/prolog
PreemptType=preempt/partition_prio
PreemptMode=CANCEL
PartitionName=urgent Nodes=ALL PriorityTier=10 PreemptMode=OFF State=UP
"""
_PROLOG = """#!/bin/sh
test ! -e {folder}/fails.$SLURMD_NODENAME
"""
SETTINGS = 'executor = "slurm"\n[slurm]\nargs = ["--partition=gpu"]\n'


@pytest.fixture(scope="session")
def cluster() -> Iterator[DemoCluster]:
    """Three nodes of eight GPUs; the environment leads Slurm's commands to them."""
    folder = Path(tempfile.mkdtemp(prefix="berth-slurm-"))
    made = DemoCluster(folder, nodes=3, more=_MORE.format(folder=folder))
    (folder / "prolog").write_text(_PROLOG.format(folder=folder))
    (folder / "prolog").chmod(0o755)
    before = dict(os.environ)
    os.environ.update(made.environment)
    try:
        made.start()
        yield made
    finally:
        made.stop()
        os.environ.clear()
        os.environ.update(before)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def clean(cluster, until) -> DemoCluster:
    """The cluster with all its daemons up and nothing on it."""
    for left in cluster.folder.glob("fails.*"):
        left.unlink()
    if cluster.pid("slurmctld") is None:
        cluster.start_controller()
    for node in cluster.nodes:
        if cluster.pid(f"slurmd.{node}") is None:
            cluster.start_node(node)
    cluster.ask("scancel", "-u", str(os.getuid()))
    for node in cluster.nodes:
        cluster.ask("scontrol", "update", f"NodeName={node}", "State=RESUME")
    until(lambda: cluster.is_ready() and not cluster.ask("squeue", "-h"), "the cluster is empty")
    return cluster


@pytest.fixture
def submitted(clean):
    """Submit a job past Berth, as another user of the cluster does: `submitted(*words, does=…)`."""

    def submit(*words: str, does: str = "sleep 600") -> int:
        done = subprocess.run(
            ["sbatch", "--parsable", "-o", "/dev/null", *words, "--wrap", does],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return int(done.stdout)

    return submit


@pytest.fixture
def marks(tmp_path):
    """The file in which each start of a job leaves its attempt."""
    path = tmp_path / "marks"
    path.touch()
    return path


@pytest.fixture(scope="module")
def running_box(cluster, open_box, tmp_path_factory):
    """A box whose jobs run on the cluster, for all tests of one file."""
    with open_box(tmp_path_factory.mktemp("daemons"), settings=SETTINGS) as box:
        yield box


@pytest.fixture
def lab(running_box, clean, until):
    """That box, once it sees the empty cluster."""

    def sees_it() -> bool:
        gpus = running_box.get("/gpus")["gpus"]
        return all(gpu["holder"]["kind"] == "free" for gpu in gpus)

    until(sees_it, "the box sees an empty cluster")
    return running_box
