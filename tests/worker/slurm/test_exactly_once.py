"""Whatever a cluster does, an attempt runs once at most, and has one end, which is the truth."""

from __future__ import annotations

import tempfile
from datetime import timedelta
from pathlib import Path

import anyio
import anyio.abc
import anyio.lowlevel
import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st
from tests.worker.slurm.pretended import Clock, Slurm

from berth.home import Home
from berth.protocol.internal import DesiredAttempt, DesiredState, ObservedAttempt
from berth.protocol.states import Outcome
from berth_worker.slurm.client import UnansweredError
from berth_worker.slurm.executor import SlurmExecutor
from berth_worker.slurm.options import SlurmOptions
from berth_worker.slurm.watch import ClusterWatch

ATTEMPTS = 2
ACTS = ("start", "finish", "lose_node", "forget", "purge", "start_again", "requeue_none")
FAULTS = ("lost", "taken", "silent", "")


class Trigger:
    """Takes the place of the link to the server."""

    def report_now(self) -> None:
        """Do nothing."""

    report_soon = report_now


class Lab:
    """The executor, a server's wishes, and the cluster."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.clock = Clock(patch)
        self.slurm = Slurm(self.clock)
        self.stopped: set[int] = set()
        self.ends: dict[str, ObservedAttempt] = {}

    def worker(self, tasks: anyio.abc.TaskGroup) -> None:
        """Start a worker that knows nothing but what lies on the disk."""
        self._cluster = None
        self._watch = ClusterWatch(self.slurm, None, "berth-")
        self.executor = SlurmExecutor(
            tasks, self.slurm, Home(self.folder), SlurmOptions(), Trigger(), lambda: self._cluster
        )

    def desired(self) -> DesiredState:
        """What the server wants: attempts that have not ended."""
        attempts = tuple(
            DesiredAttempt(
                attempt=f"{n}.1", token=f"{n:032x}", run_dir=str(self.folder / f"{n}"),
                action="stop" if n in self.stopped else "run",
                stop_reason=Outcome.CANCELLED if n in self.stopped else None,
                job_id=n, number=1, user="ada", command=["true"], workdir="/", gpus=(),
                grace=timedelta(seconds=1), warn_before=timedelta(0),
            )
            for n in range(1, ATTEMPTS + 1)
            if f"{n}.1" not in self.ends
        )  # fmt: skip
        return DesiredState(generation=1, attempts=attempts)

    async def tick(self, seconds: float) -> None:
        """One look of the worker's, and one exchange with the server."""
        self.clock.now += seconds
        self.executor.apply(self.desired())
        try:
            self._cluster = self._watch.listing()
        except UnansweredError:
            pass
        else:
            self.executor.look()
        while any(a.busy for a in self.executor._attempts.values()):
            await anyio.lowlevel.checkpoint()
        for seen in self.executor.observed(everything=True):
            if seen.phase == "ended" and seen.gpus_clear:
                assert seen.attempt not in self.ends
                self.ends[seen.attempt] = seen


async def history(lab: Lab, acts: list[tuple[str, str, float]]) -> None:
    """Let things happen, then let all go well until the end."""
    async with anyio.create_task_group() as tasks:
        lab.worker(tasks)
        for act, fault, seconds in acts:
            lab.slurm.faults = [fault] if fault else []
            if act == "restart":
                lab.worker(tasks)
            elif act == "stop":
                lab.stopped.add(1)
            else:
                getattr(lab.slurm, act)()
            await lab.tick(seconds)
        lab.slurm.faults = []
        for _ in range(60):
            if len(lab.ends) == ATTEMPTS:
                break
            lab.slurm.start()
            await lab.tick(6.0)
            lab.slurm.finish()
            await lab.tick(6.0)
        tasks.cancel_scope.cancel()


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([*ACTS, "restart", "stop"]),
            st.sampled_from(FAULTS),
            st.sampled_from([0.5, 3.0, 12.0, 40.0]),
        ),
        max_size=12,
    )
)
def test_no_history_loses_or_repeats_a_run(acts):
    """Answers lost, jobs forgotten, purged and started twice, nodes and workers that die."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        lab = Lab(Path(folder), patch)
        note(repr(acts))
        anyio.run(history, lab, acts)
        assert sorted(lab.ends) == [f"{n}.1" for n in range(1, ATTEMPTS + 1)], "one is lost"
        for number in range(1, ATTEMPTS + 1):
            starts = lab.slurm.starts[str(Path(folder) / f"{number}")]
            end = lab.ends[f"{number}.1"]
            assert starts <= 1, "one ran twice"
            if number not in lab.stopped:
                assert starts == 1, "one was not run"
                assert end.outcome in {Outcome.EXIT, Outcome.LOST}
            if end.outcome is Outcome.EXIT:
                assert end.exit is not None
                assert end.exit.exit_code == 0
