"""Jobs of submitit that are Berth's, and what submitit asks about them."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from submitit.core import core, utils

import berth
from berth.protocol.jobs import Job
from berth.protocol.states import JobState, Outcome

R = TypeVar("R")
_LINES = 40
_WORDS = {
    JobState.HELD: "PENDING",
    JobState.WAITING: "PENDING",
    JobState.QUEUED: "PENDING",
    JobState.STARTING: "RUNNING",
    JobState.RUNNING: "RUNNING",
    JobState.STOPPING: "RUNNING",
    JobState.SUCCEEDED: "COMPLETED",
    JobState.CANCELLED: "CANCELLED",
}
_ENDS = {Outcome.TIME_LIMIT: "TIMEOUT", Outcome.OOM_HOST: "OUT_OF_MEMORY"}


def client() -> berth.Client:
    """Return this process's client; a forked process gets one of its own."""
    return _client(os.getpid())


@functools.lru_cache(maxsize=1)
def _client(_pid: int) -> berth.Client:
    return berth.Client()


class BerthWatcher(core.InfoWatcher):
    """States of jobs as the server says, asked when they are needed: that takes milliseconds."""

    def get_info(self, job_id: str, mode: str = "standard") -> dict[str, str]:
        """Return Berth's facts of a job as strings, `State` in Slurm's words first."""
        if mode != "cache" and job_id not in self._finished:
            self._num_calls += 1
            job = client().job(int(job_id))
            self._info_dict[job_id] = _facts(job)
            if job.state.is_final:
                self._finished.add(job_id)
        return self._info_dict.get(job_id, {})

    def get_state(self, job_id: str, mode: str = "standard") -> str:
        """Return the job's state in Slurm's words, which submitit compares with."""
        return self.get_info(job_id, mode).get("State", "UNKNOWN")

    def update(self) -> None:
        """Ask for every job that has not ended."""
        for job_id in self._registered - self._finished:
            self.get_info(job_id, "force")


class BerthJob(core.Job[R]):
    """A submitted function. Its id is that of Berth's job: `berth logs 42`, `berth why 42`."""

    _results_timeout_s = 2  # the job ran on this machine
    watcher = BerthWatcher()

    def __init__(self, folder: Path | str, job_id: str, tasks: Sequence[int] = (0,)) -> None:
        super().__init__(folder, job_id, tasks)

    def wait(self) -> None:
        """Wait for the end of the job: events tell it at once."""
        while not self.done():
            client().wait(int(self.job_id))

    def done(self, force_check: bool = False) -> bool:  # noqa: FBT001, FBT002 - submitit's signature
        """Return whether the job has ended: with a result, or without."""
        if self._sub_jobs:
            return all(job.done(force_check) for job in self._sub_jobs)
        return self.paths.result_pickle.exists() or self.watcher.is_done(self.job_id)

    def cancel(self, check: bool = True) -> None:  # noqa: FBT001, FBT002 - submitit's signature
        """Cancel the job; without `check` a refusal, or a job that has ended, is no error."""
        try:
            client().cancel(int(self.job_id))
        except berth.BerthError:
            if check:
                raise

    def _get_outcome_and_result(self) -> tuple[str, Any]:
        if not self.paths.result_pickle.exists():
            info = self.get_info()
            # Only a job that succeeded may have a result that a slow file system shows later.
            if self.watcher.is_done(self.job_id, "cache") and info["State"] != "COMPLETED":
                raise utils.UncompletedJobError(self._told(info))
        return super()._get_outcome_and_result()

    def _told(self, info: dict[str, str]) -> str:
        """Berth's sentence about the end, and the last lines of the log."""
        said = info.get("Message") or "It left no result."
        head = f"Job {self.job_id} (task: {self.task_id}) ended as {info['State']}. {said}"
        log = (self.stderr() or self.stdout() or "").splitlines()[-_LINES:]
        more = f"`berth show {self.job_id}` and `berth logs {self.job_id}` say more."
        return "\n".join([head, *(["-" * 40, *log, "-" * 40] if log else []), more])


def _facts(job: Job) -> dict[str, str]:
    word = _WORDS.get(job.state) or _ENDS.get(job.outcome or Outcome.EXIT, "FAILED")
    last = job.attempts[-1] if job.attempts else None
    return {
        "State": word,
        "JobID": str(job.id),
        "Name": job.name,
        "User": job.user,
        "Gpus": ",".join(map(str, job.gpu_indices)),
        "Reason": job.reason or "",
        "Outcome": job.outcome.value if job.outcome else "",
        "Message": job.message or "",
        "ExitCode": "" if job.exit_code is None else str(job.exit_code),
        "RunDir": last.run_dir if last else "",
    }
