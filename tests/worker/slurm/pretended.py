"""A cluster that loses answers, forgets jobs, starts some twice and kills others, under a clock of its own."""

from __future__ import annotations

import json
import time as real_time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from berth_worker.shim import files
from berth_worker.slurm import cluster_attempt, executor, steps, stops, watch
from berth_worker.slurm.client import RefusedError, Submission, UnansweredError
from berth_worker.slurm.listing import SEPARATOR

EPOCH = 1_796_000_000.0


class Clock:
    """The time of all parts under test."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        module = SimpleNamespace(
            monotonic=lambda: self.now, time=lambda: EPOCH + self.now, sleep=real_time.sleep
        )
        for part in (cluster_attempt, executor, steps, stops, watch):
            if hasattr(part, "time"):
                patch.setattr(part, "time", module)
        patch.setattr(steps, "_AGAIN_S", 0.0)


@dataclass
class Job:
    """A job that the controller knows."""

    number: int
    name: str
    run_dir: Path
    at: int
    state: str = "PENDING"
    code: str = "0:0"
    claimed: bool = False


class Slurm:
    """The controller and its nodes, in place of the client that runs Slurm's commands."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.jobs_known: list[Job] = []
        self.starts: Counter[str] = Counter()
        """By run directory."""
        self.next_number = 1
        self.faults: list[str] = []
        """What befalls the next calls: `lost`, `taken`, `refused`, `silent`."""

    def _fault(self) -> str:
        return self.faults.pop(0) if self.faults else ""

    # The client's interface

    def jobs(self) -> str:
        """Print all jobs as squeue does."""
        if self._fault() == "silent":
            raise UnansweredError("timed out")
        return "".join(
            SEPARATOR.join(
                (str(j.number), j.state, "None", "ada", str(j.at), "N/A",
                 "" if j.state == "PENDING" else "n1", j.name)
            ) + "\n"
            for j in self.jobs_known
        )  # fmt: skip

    def details(self, job_id: int | None = None) -> str:
        """Print what squeue cannot."""
        return "".join(
            f"JobId={j.number} ExitCode={j.code} WorkDir=/\n"
            for j in self.jobs_known
            if job_id in {None, j.number}
        )

    def nodes(self) -> str:
        """Print one node."""
        return (
            "NodeName=n1 Gres=gpu:h200:8 GresUsed=gpu:h200:0(IDX:N/A) State=IDLE Partitions=gpu\n"
        )

    def submit(self, job: Submission) -> int:
        """Take a job, or not, and answer, or not."""
        fault = self._fault()
        if fault == "refused":
            raise RefusedError("Invalid qos specification")
        if fault != "lost":
            at = int(EPOCH + self._clock.now)
            self.jobs_known.append(Job(self.next_number, job.name, Path(job.run_dir), at))
            self.next_number += 1
        if fault in {"lost", "taken", "silent"}:
            raise UnansweredError("Socket timed out")
        return self.next_number - 1

    def ended(self, name: str) -> list[object]:
        """Have no accounting."""
        raise UnansweredError(f"{name}: Slurm accounting storage is disabled")

    def let_run_anywhere(self, job_id: int) -> None:
        """Do nothing."""

    def take_back(self, job_id: int) -> None:
        """Cancel a job that waits."""
        self._cancel(job_id, {"PENDING"})

    def terminate(self, job_id: int) -> None:
        """End a job as the shim does when it is told to."""
        if self._fault() == "silent":
            raise UnansweredError("timed out")
        for job in self._alive(job_id):
            if job.claimed:
                self._record(job, cause="stopped", signal=15)
            job.state = "COMPLETED"

    def cancel(self, job_id: int) -> None:
        """Cancel a job."""
        self._cancel(job_id, {"PENDING", "RUNNING"})

    # What happens

    def _alive(self, job_id: int) -> list[Job]:
        return [j for j in self.jobs_known if j.number == job_id and j.state == "RUNNING"]

    def _cancel(self, job_id: int, states: set[str]) -> None:
        for job in self.jobs_known:
            if job.number == job_id and job.state in states:
                job.state = "CANCELLED"

    def start(self) -> None:
        """Start all that wait; of one name one after the other, as `singleton` asks."""
        for job in self.jobs_known:
            running = {j.name for j in self.jobs_known if j.state == "RUNNING"}
            if job.state == "PENDING" and job.name not in running:
                job.state = "RUNNING"
                self._run(job)

    def _run(self, job: Job) -> None:
        folder = files.open_folder(str(job.run_dir))
        spec = json.loads((job.run_dir / "spec.json").read_bytes())
        named = {"attempt": spec["attempt"], "token": spec["token"], "slurm_job": job.number}
        process = {"pid": 1, "start_ticks": 1, "boot_id": "x"}
        try:
            files.claim(folder, named | process)
        except files.AlreadyStartedError:
            job.state = "COMPLETED"
            return
        self.starts[str(job.run_dir)] += 1
        job.claimed = True
        del named["slurm_job"]
        began = {"shim": process, "first": process, "started_at": _now()}
        files.replace(folder, "shim.json", json.dumps(named | began).encode())

    def _record(self, job: Job, **end: object) -> None:
        spec = json.loads((job.run_dir / "spec.json").read_bytes())
        named = {"attempt": spec["attempt"], "token": spec["token"], "ended_at": _now()}
        (job.run_dir / "exit.json").write_text(json.dumps(named | end))

    def finish(self) -> None:
        """Let all that runs end well."""
        for job in self.jobs_known:
            if job.state == "RUNNING":
                if job.claimed:
                    self._record(job, cause="exit", exit_code=0)
                job.state = "COMPLETED"

    def lose_node(self) -> None:
        """End all that runs, without a record."""
        for job in self.jobs_known:
            if job.state == "RUNNING":
                job.state = "NODE_FAIL"

    def forget(self) -> None:
        """Lose the jobs of the last seconds with a crash; their numbers are given out again."""
        kept = [j for j in self.jobs_known if j.state != "PENDING"]
        self.next_number = max((j.number for j in kept), default=0) + 1
        self.jobs_known = kept

    def purge(self) -> None:
        """Forget ended jobs, as after MinJobAge."""
        self.jobs_known = [j for j in self.jobs_known if j.state in {"PENDING", "RUNNING"}]

    def start_again(self) -> None:
        """Start what runs once more, as a controller that has saved it as waiting."""
        for job in [j for j in self.jobs_known if j.state == "RUNNING" and j.claimed]:
            job.state = "PENDING"
            job.claimed = False

    def requeue_none(self) -> None:
        """Do nothing: a step in which time passes."""


def _now() -> str:
    return datetime.now(UTC).isoformat()
