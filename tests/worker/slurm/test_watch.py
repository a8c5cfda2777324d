"""Listings of a cluster: what has been read once is not asked for or read again."""

from __future__ import annotations

from collections import Counter

import pytest

from berth_worker.slurm.client import UnansweredError
from berth_worker.slurm.listing import SEPARATOR
from berth_worker.slurm.watch import ClusterWatch

NODE = (
    "NodeName=n1 Gres=gpu:h200:8 GresUsed=gpu:h200:1(IDX:3) State=MIXED CPULoad={load} "
    "Partitions=gpu Version=22.05.8\n"
)


class Controller:
    """What squeue and scontrol print, and how often they were asked."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.lines: dict[int, tuple[str, ...]] = {}
        self.codes: dict[int, str] = {}
        self.answers = True

    def put(self, number: int, state: str, name: str, node: str = "n1") -> None:
        """Let it have a job in a state."""
        self.lines[number] = (str(number), state, "None", "ada", "17", "18", node, name)

    def jobs(self) -> str:
        """Print as squeue does."""
        self.asked["jobs"] += 1
        return "".join(f"{SEPARATOR.join(line)}\n" for line in self.lines.values())

    def details(self, job_id: int | None = None) -> str:
        """Print as scontrol does."""
        self.asked["all" if job_id is None else "one"] += 1
        if not self.answers:
            raise UnansweredError("timed out")
        wanted = self.lines if job_id is None else [job_id]
        return "".join(
            f"JobId={n} JobState={self.lines[n][1]} ExitCode={self.codes.get(n, '0:0')} "
            f"Nodes=n1 CPU_IDs=0 Mem=0 GRES=gpu:h200:1(IDX:{n}) WorkDir=/\n"
            for n in wanted
            if n in self.lines
        )

    def nodes(self) -> str:
        """Print the one node, with another load each time."""
        self.asked["nodes"] += 1
        return NODE.format(load=self.asked["nodes"] / 100)


@pytest.fixture
def controller():
    return Controller()


@pytest.fixture
def watch(controller):
    return ClusterWatch(controller, None, "berth-me-")


def test_a_quiet_cluster_costs_one_command(controller, watch):
    """Its jobs are the same objects in each listing, and are not asked about again."""
    controller.put(3, "RUNNING", "berth-me-1.1-x")
    first = watch.listing()
    assert first.jobs[0].gpus == {"n1": {3}}
    controller.asked.clear()
    second = watch.listing()
    assert second.jobs[0] is first.jobs[0]
    assert second.nodes == first.nodes
    assert controller.asked == {"jobs": 1}


def test_a_new_state_is_told(controller, watch):
    """A job that has started is asked for its GPUs, one of ours that has ended for its code."""
    controller.put(3, "PENDING", "berth-me-1.1-x", node="")
    controller.put(4, "RUNNING", "somebody")
    before = watch.listing()
    assert before.jobs[0].gpus == {}
    controller.asked.clear()
    controller.put(3, "FAILED", "berth-me-1.1-x")
    controller.codes[3] = "5:0"
    after = watch.listing()
    assert (after.jobs[0].state, after.jobs[0].exit_code) == ("FAILED", 5)
    assert after.jobs[1] is before.jobs[1]
    assert controller.asked["one"] == 1


def test_many_are_asked_about_together(controller, watch):
    """One command for each would be hundreds when a large cluster starts."""
    for number in range(1, 9):
        controller.put(number, "RUNNING", "somebody")
    watch.listing()
    assert controller.asked["all"] == 1
    assert not controller.asked["one"]


def test_no_answer_is_asked_again(controller, watch):
    """A listing that failed leaves nothing half known behind."""
    controller.put(3, "RUNNING", "somebody")
    controller.answers = False
    with pytest.raises(UnansweredError):
        watch.listing()
    controller.answers = True
    assert watch.listing().jobs[0].gpus == {"n1": {3}}


def test_a_name_with_the_end_of_a_line(controller, watch):
    """A name of another's may hold what Python takes for one."""
    controller.put(3, "PENDING", "odd\x0bname\x85", node="")
    assert watch.listing().jobs[0].name == "odd\x0bname\x85"


def test_a_job_that_is_gone(controller, watch):
    """It is in no further listing."""
    controller.put(3, "PENDING", "somebody", node="")
    watch.listing()
    controller.lines.clear()
    assert watch.listing().jobs == ()
