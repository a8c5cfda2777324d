"""Findings of a report: external processes, unhealthy GPUs, jobs outside their lease."""

from __future__ import annotations

from dataclasses import dataclass, field

from berth import jobfiles
from berth.protocol.gpus import GpuSnapshot
from berth.protocol.internal import WorkerReport
from berth.protocol.message import GpuRef, Message
from berth.protocol.states import AttemptState
from berth_server.core.explain import gpu_status
from berth_server.service.gpus.shares import overuse
from berth_server.service.gpus.worker_state import (
    UnleasedProcesses,
    unavailable,
    unleased_processes,
)
from berth_server.service.state import ServerState
from berth_server.store import events
from berth_server.store.database import Transaction
from berth_server.store.records import AttemptRecord

Fact = tuple[str, str, int]
"""GPU, kind, pid (0 where none belongs to it)."""


@dataclass
class Findings:
    """One look compared with the one before."""

    standing: frozenset[Fact]
    before: frozenset[Fact]
    sentences: dict[Fact, Message] = field(default_factory=dict)
    """Message of the event for a fact that is new; facts without one have no events."""
    escaped: list[tuple[AttemptRecord, Message]] = field(default_factory=list)

    @classmethod
    def of(cls, server: ServerState) -> Findings:
        """Look at what the worker saw last."""
        findings = cls(frozenset(), server.findings)
        if server.worker_state.snapshot is None:
            return findings
        facts: set[Fact] = set()
        for gpu in server.worker_state.snapshot.gpus:
            holders = server.cache.holders(gpu.uuid)
            others = unleased_processes(gpu, holders, server.cache.released, confirmed=True)
            facts |= findings._facts(gpu, others)
            findings._find_escaped(server, gpu, others)
            for lease in server.cache.shares.get(gpu.uuid, ()):
                findings._stop(server, lease.attempt, overuse(gpu, lease))
        findings.standing = frozenset(facts)
        return findings

    @property
    def news(self) -> bool:
        """True if anything is different, so that events or a plan are due."""
        return self.standing != self.before or bool(self.escaped)

    def write(self, tx: Transaction) -> None:
        """Write an event for each fact that is new, and for each that is gone."""
        for fact in sorted(self.standing - self.before):
            if fact in self.sentences:
                self._event(tx, fact, fact[1], self.sentences[fact])
        for fact in sorted(self.before - self.standing):
            uuid, kind, pid = fact
            if kind == "outsider":
                self._event(tx, fact, "outsider_left", f"Process {pid} has left GPU {uuid}.")
            elif kind == "unhealthy":
                self._event(tx, fact, "healthy", f"GPU {uuid} is healthy again.")

    def connected(self, tx: Transaction, report: WorkerReport) -> None:
        """The worker reports, for the first time or again."""
        events.write(
            tx,
            "worker.connected",
            f"The worker reports; its fence is {report.fence.value}.",
            data={"fence": report.fence.value, "version": report.version},
        )

    @staticmethod
    def _event(tx: Transaction, fact: Fact, kind: str, message: Message | str) -> None:
        uuid, _, pid = fact
        events.write(tx, f"gpu.{kind}", message, gpu_uuid=uuid, data={"pid": pid} if pid else None)

    def _facts(self, gpu: GpuSnapshot, others: UnleasedProcesses) -> set[Fact]:
        facts: set[Fact] = set()
        for process in others.outsiders:
            fact = (gpu.uuid, "outsider", process.pid)
            self.sentences[fact] = _of_gpu(gpu, gpu_status.outsiders((process,)))
            facts.add(fact)
        facts |= {(gpu.uuid, "leftover", process.pid) for process in others.leftovers}
        if others.unseen_bytes:
            facts.add((gpu.uuid, "unseen", 0))
        sick = unavailable(gpu, UnleasedProcesses(), None)
        if sick is not None:
            fact = (gpu.uuid, "unhealthy", 0)
            self.sentences[fact] = _of_gpu(gpu, sick.message)
            facts.add(fact)
        return facts

    def _find_escaped(
        self, server: ServerState, gpu: GpuSnapshot, others: UnleasedProcesses
    ) -> None:
        for process in others.leftovers:
            if process.slurm_job is not None:
                continue  # Slurm has put it there; the attempt's own report moves its lease
            message = Message.of(
                *(f"Attempt {process.attempt} ran on ", GpuRef(indices=(gpu.index,))),
                f" (pid {process.pid}), which is not its own, and was stopped; let it use only the "
                "GPUs that it sees.",
            )
            self._stop(server, process.attempt, message)

    def _stop(self, server: ServerState, attempt: str | None, message: Message | None) -> None:
        """Have an attempt that left its lease stopped, unless it is about to end anyway."""
        record = _attempt_of(server, attempt)
        if message is None or record is None or record.stop_reason is not None:
            return
        known = {found.job_id for found, _ in self.escaped}
        if record.state != AttemptState.ENDED.value and record.job_id not in known:
            self.escaped.append((record, message))


def _of_gpu(gpu: GpuSnapshot, message: Message) -> Message:
    return Message.of(GpuRef(indices=(gpu.index,)), ": ", message, ".")


def _attempt_of(server: ServerState, attempt: str | None) -> AttemptRecord | None:
    # A process says itself which attempt it is of.
    key = jobfiles.attempt_key(attempt or "")
    return None if key is None else server.cache.alive.get(key)
