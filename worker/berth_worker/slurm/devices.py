"""GPUs of a Slurm cluster behind the device layer's protocol."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from typing import Literal

import structlog

from berth.protocol.gpus import BoxSnapshot, GpuHealth, GpuProcess, GpuSnapshot
from berth.protocol.states import FenceKind
from berth.units import parse_size
from berth_worker.devices import AttemptProcesses
from berth_worker.devices.models import MODELS
from berth_worker.slurm.client import SlurmClient, UnansweredError
from berth_worker.slurm.gpu_use import GpuUse
from berth_worker.slurm.listing import ClusterJob, ClusterNode
from berth_worker.slurm.options import SlurmOptions
from berth_worker.slurm.placed import uuid
from berth_worker.slurm.states import has_ended
from berth_worker.slurm.watch import Cluster, ClusterWatch

_log = structlog.get_logger(__name__)


def fence_of(config: Mapping[str, str]) -> FenceKind:
    """Return how the cluster keeps jobs off other GPUs, by its `scontrol show config`."""
    by_cgroup = "cgroup" in config.get("TaskPlugin", "")
    return FenceKind.CGROUP if by_cgroup else FenceKind.ADVISORY


_QUIET_S = 5.0
"""Maximum age of a listing while no job of this home is on the cluster."""


class SlurmDevices:
    """
    The cluster's GPUs, as the controller accounts for them.

    While the controller gives no answer the last snapshot stands with its own time, so that the
    server knows how old it is.
    """

    def __init__(self, client: SlurmClient, options: SlurmOptions, home_name: str) -> None:
        """`home_name` is the name of this home among all that use the cluster."""
        self._own = f"berth-{home_name}-"
        self._watch = ClusterWatch(client, options.partition, self._own)
        self._options = options
        self.cluster: Cluster | None = None
        """The last listing that was answered."""
        self.busy: Callable[[], bool] = lambda: True
        """Returns whether jobs of this home are on the cluster."""
        self.use: Callable[[], Mapping[str, GpuUse]] = dict
        """Returns the readings of GPUs that running attempts have left."""
        self._drawn: dict[
            str, tuple[ClusterNode, ClusterJob | None, GpuUse | None, GpuSnapshot]
        ] = {}
        self._snapshot = BoxSnapshot(taken_at=datetime.now(UTC), source="slurm", gpus=())
        self._asked_at = 0.0

    @property
    def source(self) -> Literal["slurm"]:
        """The source of the snapshots."""
        return "slurm"

    def open(self) -> Cluster:
        """Ask for a first listing. Raises UnansweredError."""
        self.cluster = self._watch.listing()
        self._snapshot = self._draw(self.cluster)
        return self.cluster

    def snapshot(self, attempts: Mapping[str, AttemptProcesses]) -> BoxSnapshot:
        """Return the present state of the cluster, or the last one that it told."""
        del attempts
        now = time.monotonic()
        if not self.busy() and now - self._asked_at < _QUIET_S:
            return self._snapshot
        self._asked_at = now
        try:
            return self._draw(self.open())
        except UnansweredError as error:
            _log.warning("Slurm gave no answer", action="slurm.unanswered", reason=str(error))
            return self._snapshot

    def clear(self, uuids: Collection[str], pids: Collection[int]) -> bool:
        """Return True: Slurm gives no GPU on before its job has ended."""
        del uuids, pids
        return True

    def close(self) -> None:
        """Do nothing: no connection is kept."""

    def _draw(self, cluster: Cluster) -> BoxSnapshot:
        holders: dict[str, ClusterJob] = {}
        for job in cluster.jobs:
            for node, held in job.gpus.items():
                if not has_ended(job):
                    holders.update({uuid(node, index): job for index in held})
        use = self.use()
        drawn: dict[str, tuple[ClusterNode, ClusterJob | None, GpuUse | None, GpuSnapshot]] = {}
        for node in cluster.nodes:
            for index in range(node.gpus):
                name = uuid(node.name, index)
                holder, reading = holders.get(name), use.get(name)
                before = self._drawn.get(name)
                # Most GPUs of a large cluster are as they were a second ago.
                if before is not None and before[0] == node and before[1:3] == (holder, reading):
                    drawn[name] = (node, *before[1:])
                    continue
                gpu = self._gpu(node, index, len(drawn), holder, reading)
                drawn[name] = (node, holder, reading, gpu)
        self._drawn = drawn
        return BoxSnapshot(
            taken_at=datetime.fromtimestamp(cluster.taken_at, UTC),
            source="slurm",
            driver_version=next((node.version for node in cluster.nodes), None),
            gpus=tuple(
                gpu if gpu.index == i else gpu.model_copy(update={"index": i})
                for i, (_, _, _, gpu) in enumerate(drawn.values())
            ),
        )

    def _gpu(
        self,
        node: ClusterNode,
        index: int,
        number: int,
        holder: ClusterJob | None,
        use: GpuUse | None,
    ) -> GpuSnapshot:
        model = MODELS.get(node.model.lower())
        if self._options.gpu_memory is not None:
            memory = parse_size(self._options.gpu_memory)
        else:
            memory = model.memory_bytes if model is not None else 0
        use = use or GpuUse()
        problem = node.problem
        return GpuSnapshot(
            uuid=uuid(node.name, index),
            index=number,
            node=node.name,
            node_index=index,
            name=model.name if model is not None else node.model or "GPU",
            memory_total_bytes=memory or use.memory_total_bytes or 0,
            memory_used_bytes=use.memory_used_bytes,
            utilization_percent=use.utilization_percent,
            temperature_c=use.temperature_c,
            power_w=use.power_w,
            power_limit_w=use.power_limit_w,
            health=GpuHealth(ok=problem is None, problems=(problem,) if problem else ()),
            processes=(self._process(holder),) if holder is not None else (),
        )

    def _process(self, job: ClusterJob) -> GpuProcess:
        """Return a job of the cluster as what is on a GPU; this home's carries its attempt."""
        own = job.name.removeprefix(self._own) if job.name.startswith(self._own) else None
        return GpuProcess(
            pid=0,
            user=job.user or None,
            command=job.name,
            slurm_job=job.id,
            attempt=own.partition("-")[0] if own is not None else None,
        )
