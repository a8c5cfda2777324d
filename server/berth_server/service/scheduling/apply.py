"""Application of a plan: attempts with leases, and preemptions, written to the database."""

from __future__ import annotations

import json
import secrets

from berth.protocol.message import GpuRef, Message
from berth.protocol.states import AttemptState, JobState, Outcome
from berth_server.core.explain.gpu_status import preempted_by
from berth_server.core.explain.phrases import Piece, gib_used
from berth_server.core.explain.placement_reason import placement_reason
from berth_server.core.model import GpuView, Plan, Start
from berth_server.service.attempts.status import set_job_state, stop_attempt
from berth_server.service.state import ServerState
from berth_server.store import attempts, jobs
from berth_server.store.database import Transaction
from berth_server.store.records import AttemptRecord, JobRecord


def apply(server: ServerState, tx: Transaction, plan: Plan) -> int:
    """Write the plan's starts into the transaction; return how many. A gang is all or nothing."""
    started = 0
    for start in plan.starts:
        port = None
        if start.gpu_uuids and not _is_on_cluster(server, start):
            port = server.ports.take()
            if port is None:
                continue
        job = jobs.get(tx, start.job_id)
        assert job is not None
        _start(server, tx, job, start, port)
        started += 1
    for preemption in plan.preemptions:
        _preempt(server, tx, preemption.job_id, preemption.for_job_id)
    return started


def _is_on_cluster(server: ServerState, start: Start) -> bool:
    """Return whether its GPUs are on nodes, each of which knows its own free ports."""
    return server.worker_state.by_uuid[start.gpu_uuids[0]].node is not None


def _start(
    server: ServerState, tx: Transaction, job: JobRecord, start: Start, port: int | None
) -> None:
    seen = server.worker_state.by_uuid
    gpus = sorted((seen[uuid] for uuid in start.gpu_uuids), key=lambda gpu: gpu.index)
    number = job.attempts + 1
    steps = job.spec.on_oom.steps[: job.oom_steps] if job.spec.on_oom else ()
    record = AttemptRecord(
        job_id=job.id,
        number=number,
        state=AttemptState.STARTING.value,
        outcome=None,
        message=None,
        token=secrets.token_hex(16),
        stop_reason=None,
        created_at=tx.now,
        started_at=None,
        saved_at=None,
        ended_at=None,
        released_at=None,
        exit_code=None,
        signal=None,
        max_rss_bytes=None,
        run_dir=str(server.options.runs / str(job.id) / str(number)),
        master_port=port,
        gpus=json.dumps([[gpu.uuid, gpu.index, gpu.minor] for gpu in gpus]),
        launch=None,
        # The trainer, or any script that reads it, makes the run smaller by these steps.
        extra_env=json.dumps({"BERTH_OOM_STEPS": ",".join(steps)} if steps else {}),
        placement=_placement(server, start),
    )
    attempts.insert(tx, record)
    attempts.lease(tx, record, [gpu.uuid for gpu in gpus], port, start.memory_bytes)
    where: list[Piece] = [" on ", GpuRef(indices=tuple(g.index for g in gpus))] if gpus else []
    if start.memory_bytes is not None:
        where.append(f" ({gib_used(start.memory_bytes)} of it)")
    set_job_state(
        tx,
        job.id,
        JobState.STARTING,
        Message.of(f"Attempt {record.id} starts", *where, "."),
        number=number,
        columns={"attempts": number, "started_at": None, "exit_code": None},
    )


def _placement(server: ServerState, start: Start) -> str | None:
    """Reasons for the attempt's GPUs, as JSON: what was compared may not be so again."""
    if not start.gpu_uuids:
        return None
    seen, worker = server.worker_state.by_uuid, server.worker_state.snapshot
    among = [
        GpuView(
            uuid=uuid,
            index=seen[uuid].index,
            memory_total_bytes=seen[uuid].memory_total_bytes,
            numa_node=seen[uuid].numa_node,
            node=seen[uuid].node,
        )
        for uuid in start.among
    ]
    return placement_reason(
        among,
        start.gpu_uuids,
        worker.links if worker else (),
        share_bytes=start.memory_bytes,
        joins=start.joins,
        reserved=start.reserved,
    ).model_dump_json()


def _preempt(server: ServerState, tx: Transaction, job_id: int, for_job_id: int) -> None:
    record = attempts.last(tx, job_id)
    if record is None or record.stop_reason is not None or record.state == "ended":
        return
    heir = server.cache.pending[for_job_id]
    message = preempted_by(for_job_id, heir.name, heir.user, heir.priority)
    stop_attempt(tx, record, Outcome.PREEMPTED, message)
