"""Environment of a submitted function, as submitit asks for it inside the job."""

from __future__ import annotations

from typing import ClassVar

from submitit.core.job_environment import JobEnvironment

from berth import jobside

REQUEUED = "It saved its state and asked to be queued again."


class BerthJobEnvironment(JobEnvironment):
    """Job id and ranks of a task; submitit's own checkpoint protocol does the rest."""

    _env: ClassVar[dict[str, str]] = {
        "job_id": "BERTH_JOB_ID",
        "num_tasks": "SUBMITIT_BERTH_NTASKS",
        "num_nodes": "SUBMITIT_BERTH_NUM_NODES",
        "node": "SUBMITIT_BERTH_NODEID",
        "global_rank": "SUBMITIT_BERTH_GLOBALID",
        "local_rank": "SUBMITIT_BERTH_LOCALID",
    }

    def _requeue(self, countdown: int) -> None:
        """Have the job queued again when this process has left, which submitit does next."""
        left = f"{countdown} timeouts left" if countdown != 1 else "1 timeout left"
        print(f"Requeued job {self.job_id} ({left})", flush=True)
        jobside.requeue(REQUEUED)
