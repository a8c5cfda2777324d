"""
The cluster as a series of listings, each made from what has changed since the one before.

A controller of ten thousand jobs prints megabytes, most of it as a second ago. So a line that
squeue has printed before is not read again, the indices of a job's GPUs are asked for once, when it
has started, its exit code once, when it has ended, and nodes only now and then while no job changes.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from berth_worker.slurm import listing, states
from berth_worker.slurm.client import SlurmClient
from berth_worker.slurm.listing import ClusterJob, ClusterNode

_NODES_EVERY_S = 5.0
_ONE_BY_ONE = 4
"""Up to so many jobs are asked about one by one, more of them with all others."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """The cluster at one moment."""

    taken_at: float
    """Unix seconds."""
    jobs: tuple[ClusterJob, ...]
    """All that the controller still knows, ended ones too; one of which it says nothing new is the
    same object as in the listing before."""
    nodes: tuple[ClusterNode, ...]
    """Those with GPUs."""


class ClusterWatch:
    """Maker of the listings. Any thread may ask, one at a time."""

    def __init__(self, client: SlurmClient, partition: str | None, own: str) -> None:
        """`own`: the beginning of the names of jobs whose exit codes are wanted."""
        self._client = client
        self._partition = partition
        self._own = own
        self._lines: dict[str, ClusterJob] = {}
        self._nodes: tuple[ClusterNode, ...] = ()
        self._nodes_at = 0.0

    def listing(self) -> Cluster:
        """Return the cluster as it is now. Raises UnansweredError."""
        taken_at, now = time.time(), time.monotonic()
        lines = self._client.jobs().split("\n")
        known = self._lines
        fresh = {line: job for line in lines if line not in known and (job := listing.job(line))}
        fresh = self._with_details(fresh)
        changed = bool(fresh) or len(lines) != len(known) + 1
        self._lines = {
            line: job for line in lines if (job := known.get(line) or fresh.get(line)) is not None
        }
        if changed or now - self._nodes_at >= _NODES_EVERY_S:
            self._nodes = tuple(listing.nodes(self._client.nodes(), self._partition))
            self._nodes_at = now
        return Cluster(taken_at, tuple(self._lines.values()), self._nodes)

    def _with_details(self, fresh: dict[str, ClusterJob]) -> dict[str, ClusterJob]:
        wanted = [job.id for job in fresh.values() if self._needs_details(job)]
        if not wanted:
            return fresh
        if len(wanted) <= _ONE_BY_ONE:
            text = "\n".join(self._client.details(number) for number in wanted)
        else:
            text = self._client.details()
        more = listing.details(text)
        return {
            line: job if (told := more.get(job.id)) is None else _with(job, told)
            for line, job in fresh.items()
        }

    def _needs_details(self, job: ClusterJob) -> bool:
        if states.has_ended(job):
            return job.name.startswith(self._own)
        return not states.is_waiting(job) and bool(job.nodes)


def _with(job: ClusterJob, told: listing.JobDetail) -> ClusterJob:
    return replace(job, gpus=told.gpus, exit_code=told.exit_code, exit_signal=told.exit_signal)
