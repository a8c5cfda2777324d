"""Slurm's output, read: recorded from version 22.05.8."""

from __future__ import annotations

import pytest

from berth_worker.slurm import hostlist, listing

NODES = (
    "NodeName=n1 Arch=x86_64 CoresPerSocket=1  CPUAlloc=2 CPUTot=16 Gres=gpu:h200:8 "
    "GresDrain=N/A GresUsed=gpu:h200:5(IDX:0-3,6) NodeAddr=127.0.0.1 Port=16801 Version=22.05.8 "
    "State=MIXED+DRAIN ThreadsPerCore=1 Partitions=gpu,all CfgTRES=cpu=16,mem=4000M "
    "Reason=new fan, on Thursday [root@2026-11-30T12:47:56]\n"
    "NodeName=n2 Arch=x86_64  Gres=gpu:a100:4(S:0-1) GresUsed=gpu:a100:0(IDX:N/A) "
    "State=IDLE* Partitions=gpu Version=22.05.8\n"
    "NodeName=login Arch=x86_64 Gres=(null) GresUsed= State=IDLE Partitions=all\n"
)
JOBS = (
    "JobId=1 JobName=a b|c UserId=root(0) GroupId=root(0) JobState=RUNNING Reason=None "
    "ExitCode=0:0 DerivedExitCode=0:0 NodeList=n[2-3] JOB_GRES=gpu:h200:4 "
    "  Nodes=n[2-3] CPU_IDs=15 Mem=0 GRES=gpu:h200:2(IDX:0-1) MinCPUsNode=1 WorkDir=/\n"
    "JobId=7 JobName=x UserId=bob(1001) JobState=FAILED ExitCode=3:0 NodeList=n1 WorkDir=/\n"
    "JobId=8 JobName=y UserId=bob(1001) JobState=RUNNING ExitCode=0:0 NodeList=n1,n4 "
    "   Nodes=n1 CPU_IDs=0 Mem=0 GRES=gpu:h200:2(IDX:3-4) "
    "   Nodes=n4 CPU_IDs=0 Mem=0 GRES=gpu:h200:1(IDX:7) MinCPUsNode=1\n"
)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("n1", ("n1",)),
        ("n[1-3,7]", ("n1", "n2", "n3", "n7")),
        ("gpu-[09-11],login", ("gpu-09", "gpu-10", "gpu-11", "login")),
        ("r[1-2]n[0-1]", ("r1n0", "r1n1", "r2n0", "r2n1")),
        ("(null)", ()),
        ("", ()),
    ],
)
def test_host_lists(text, names):
    """Ranges keep their leading zeros, and may stand several times in a name."""
    assert hostlist.nodes(text) == names


def test_indices():
    """`N/A` is none."""
    assert hostlist.indices("0-1,4") == {0, 1, 4}
    assert hostlist.indices("N/A") == frozenset()


def test_nodes_with_their_gpus_and_problems():
    """Nodes without GPUs are left out; a drained or silent one says why nothing starts there."""
    first, second = listing.nodes(NODES)
    assert (first.name, first.gpus, first.model, first.used) == ("n1", 8, "h200", {0, 1, 2, 3, 6})
    assert first.problem == "n1 is drain in Slurm: new fan, on Thursday"
    assert (second.gpus, second.model, second.used) == (4, "a100", frozenset())
    assert second.problem == "n2 is not_responding in Slurm"
    assert [node.name for node in listing.nodes(NODES, "all")] == ["n1"]


def test_gpus_and_codes_of_jobs():
    """The indices stand for each node; two nodes with the same indices stand together."""
    found = listing.details(JOBS)
    assert found[1].gpus == {"n2": {0, 1}, "n3": {0, 1}}
    assert (found[7].exit_code, found[7].exit_signal, found[7].gpus) == (3, 0, {})
    assert found[8].gpus == {"n1": {3, 4}, "n4": {7}}


def test_jobs():
    """A name may hold anything but the separator; lines that are none are left out."""
    line = listing.SEPARATOR.join(("12", "PENDING", "Resources", "bob", "17", "N/A", "", "a b|c"))
    (job,) = listing.jobs(f"{line}\nslurm_load_jobs error: no\n")
    assert (job.id, job.name, job.state, job.reason) == (12, "a b|c", "PENDING", "Resources")
    assert (job.submitted_at, job.start_at, job.nodes) == (17, None, ())


def test_accounting():
    """A state may carry who cancelled it."""
    (job,) = listing.accounting("31|CANCELLED by 0|5:0|1796042876|n[1-2]\n")
    assert (job.id, job.state, job.exit_code, job.nodes) == (31, "CANCELLED", 5, ("n1", "n2"))
