"""A user starts a command beside a running job."""

from __future__ import annotations

from berth import jobfiles
from berth.protocol.internal import CommandBeside
from berth.protocol.message import Message, UserRef
from berth.protocol.states import JobState
from berth.protocol.submits import Execution, ExecutionStarted
from berth_server.core.explain.phrases import has_ended, job
from berth_server.service.auth.callers import Caller
from berth_server.service.errors import Conflict, Forbidden, Unavailable
from berth_server.service.jobs import lookup
from berth_server.service.state import ServerState
from berth_server.store import attempts

_REMEMBERED_S = 60.0
_MOST = 16
"""Commands in a job within `_REMEMBERED_S`."""


def on_execute(
    server: ServerState, caller: Caller, job_id: int, asked: Execution
) -> ExecutionStarted:
    """
    Have a command started beside a running job, by its own user or root.

    Not kept over a restart of the server. Raises NotFound, Forbidden, Unavailable, and Conflict
    for a job that does not run, or runs on a cluster.
    """
    record = lookup.job(server.db.read, job_id)
    if caller.uid not in {record.uid, 0}:
        refusal = " can run commands in it; ask for their output."
        raise Forbidden(
            Message.of(
                *(job(job_id, first=True), " belongs to ", UserRef(name=record.user)),
                *("; only ", UserRef(name=record.user), refusal),
            )
        )
    state = lookup.state_of(record)
    attempt = attempts.last(server.db.read, job_id)
    if state is not JobState.RUNNING or attempt is None:
        verb = has_ended(state, already=True) if state.is_final else f"is {state.value}"
        raise Conflict(
            Message.of(job(job_id, first=True), f" {verb}; a command needs a running job.")
        )
    snapshot = server.worker_state.snapshot
    if snapshot is not None and snapshot.source == "slurm":
        raise Conflict(
            Message.of(
                job(job_id, first=True),
                " runs on a node of the cluster, where Berth starts no commands beside it; "
                "use Slurm's own srun --overlap.",
            )
        )
    key, now_ms = (job_id, attempt.number), int(server.clock() * 1000)
    known = server.cache.beside.get(key, ())
    recent = tuple(one for one in known if one.number > now_ms - _REMEMBERED_S * 1000)
    if len(recent) >= _MOST:
        raise Unavailable(f"Job {job_id} was given {_MOST} commands within a minute; wait for one.")
    # Above all that its shim has seen, also from a server before this one.
    number = max(now_ms, known[-1].number + 1 if known else 0)
    order = CommandBeside(
        number=number, argv=list(asked.command), terminal=asked.terminal, env=asked.env
    )
    server.cache.order_beside(key, (*recent, order))
    server.on_desired.send()
    folder = server.options.runs / str(job_id) / str(attempt.number) / jobfiles.FOLDER
    return ExecutionStarted(
        attempt=f"{job_id}.{attempt.number}", socket=f"{folder}/exec-{number}.sock"
    )
