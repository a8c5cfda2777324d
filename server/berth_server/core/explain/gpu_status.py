"""Sentences about GPUs: who is on one, why nothing may be placed there, how many are free."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from berth.protocol.gpus import GpuProcess
from berth.protocol.message import GpuRef, Message, Span, UserRef
from berth_server.core.explain.phrases import Piece, code, gib_used, job, job_of
from berth_server.core.model import LeaseView, Unavailable


def outsiders(processes: Sequence[GpuProcess]) -> Message:
    """`pid 4242 of bob (python train.py), 31.2 GiB, outside the queue`"""
    first = processes[0]
    if first.ended_pid is not None:
        return _left_by_ended(first, len(processes) - 1)
    if first.slurm_job is not None:
        return _slurm_job(first)
    user: tuple[Piece, ...] = (" of ", UserRef(name=first.user)) if first.user else ()
    return Message.of(
        f"pid {first.pid}",
        *user,
        f" ({first.command})" if first.command else "",
        f", {gib_used(first.memory_bytes)}" if first.memory_bytes else "",
        f" and {len(processes) - 1} more" if len(processes) > 1 else "",
        ", outside the queue",
    )


def _slurm_job(process: GpuProcess) -> Message:
    """`Slurm job 1284 of bob (train), outside the queue`"""
    user: tuple[Piece, ...] = (" of ", UserRef(name=process.user)) if process.user else ()
    name = f" ({process.command})" if process.command else ""
    return Message.of(f"Slurm job {process.slurm_job}", *user, name, ", outside the queue")


def _left_by_ended(process: GpuProcess, more: int) -> Message:
    """`pid 479 of bob (python train.py), left by the ended pid 454: kill 479 frees 4.6 GiB`"""
    size = gib_used(process.memory_bytes) if process.memory_bytes else "its memory"
    if process.pid == process.ended_pid:
        return Message.of(
            f"{size} of the ended pid {process.pid} are held by a process that cannot be seen; ",
            code("sudo fuser -v /dev/nvidia*"),
            " names it",
        )
    user: tuple[Piece, ...] = (" of ", UserRef(name=process.user)) if process.user else ()
    return Message.of(
        f"pid {process.pid}",
        *user,
        f" ({process.command})" if process.command else "",
        f" and {more} more" if more else "",
        f", left by the ended pid {process.ended_pid}: ",
        code(f"kill {process.pid}"),
        f" frees {size}",
    )


def leftovers(processes: Sequence[GpuProcess]) -> Message:
    """`processes of attempt 42.1 are still there (pid 4242)`"""
    attempts = ", ".join(sorted({process.attempt or "" for process in processes}))
    pids = ", ".join(str(process.pid) for process in processes)
    return Message.of(f"processes of attempt {attempts} are still there (pid {pids})")


def unseen(size: int) -> Message:
    """`31.2 GiB are in use by a process that cannot be seen`"""
    return Message.of(f"{gib_used(size)} are in use by a process that cannot be seen")


def unhealthy(problems: Sequence[str]) -> Message:
    """`Xid 79: it has fallen off the bus`"""
    return Message.of("; ".join(problem.rstrip(".") for problem in problems) or "not healthy")


def mig_mode() -> Message:
    """MIG, which Berth does not administer."""
    return Message.of(
        "MIG mode is on, and Berth places nothing there; turn it off with ",
        code("nvidia-smi -mig 0"),
    )


def drained(actor: str, reason: str | None) -> Message:
    """`drained by ada: new fan`"""
    return Message.of(
        "drained by ", UserRef(name=actor), f": {reason.rstrip('.')}" if reason else ""
    )


def not_reported() -> Message:
    """The state of a GPU while the worker is silent."""
    return Message.of("the worker is not reporting, so its state is unknown")


def free() -> Message:
    """A GPU without a holder."""
    return Message.of("free")


def unknown() -> Message:
    """A GPU of which the worker says nothing now."""
    return Message.of("unknown: the worker is not reporting")


def blocked(why: Unavailable) -> Message:
    """`external process: pid 4242 of bob, outside the queue`"""
    word = "external process" if why.kind == "outsider" else why.kind
    return Message.of(f"{word}: ", why.message)


def leased(lease: LeaseView, state: str) -> Message:
    """`job 42 (train) of ada, running, 20.0 GiB of the GPU`"""
    part = f", {gib_used(lease.memory_bytes)} of the GPU" if lease.memory_bytes is not None else ""
    if state == "ended":
        return Message.of(
            f"leftover: attempt {lease.attempt} of ",
            UserRef(name=lease.user),
            f" has ended, but its processes are still there{part}",
        )
    return Message.of(job_of(lease.job_id, lease.job_name, lease.user), f", {state}{part}")


def all_holders(
    holders: Sequence[Message], *, left_bytes: int | None, blocked: Message | None
) -> Message:
    """
    The first holder's sentence with what else is on the GPU.

    `left_bytes`: what is left of a shared GPU, whose holders are all named then. `blocked`: what
    keeps new jobs off it.
    """
    pieces: list[Piece] = [holders[0]]
    if left_bytes is not None:
        for other in holders[1:]:
            pieces += ["; ", other]
        pieces.append(f"; {gib_used(left_bytes)} left to share" if left_bytes else "; no room left")
    if blocked is not None:
        pieces += ["; also ", blocked]
    return Message.of(*pieces)


def no_report_yet() -> Message:
    """The box before the worker's first report."""
    return Message.of("The worker has not reported yet; start it with ", code("berth up"), ".")


def stale_box() -> Message:
    """The box while the worker is silent."""
    return Message.of(
        "The worker is not reporting, so nothing can start; see ", code("berth status"), "."
    )


def free_gpus(
    free: int,
    total: int,
    next_in: timedelta | None,
    *,
    estimated: bool = False,
    late_in: timedelta | None = None,
    reserved: Sequence[tuple[int, Message]] = (),
) -> Message:
    """
    `0 of 8 GPUs free, next free GPU in about 25m to 40m`

    `estimated`: by a job's own progress, not by its limit, of which nine of ten keep `late_in`. `reserved`: how many more are idle and
    set aside, each number with the users it is for; the free ones are then those of the reader.
    """
    head: list[Piece] = [f"{free} of {total} GPUs free"]
    if reserved:
        head.append(" for you")
    for count, users in reserved:
        head += [f", {count} reserved for ", users]
    if free or next_in is None:
        return Message.of(*head)
    minutes = max(0, round(next_in.total_seconds() / 60))
    left: Piece = Span(seconds=minutes * 60.0) if minutes else "less than a minute"
    if estimated:
        late = 0 if late_in is None else round(late_in.total_seconds() / 60)
        until: list[Piece] = [" to ", Span(seconds=late * 60.0)] if late > minutes else []
        return Message.of(*head, ", next free GPU in about ", left, *until)
    return Message.of(*head, ", next free GPU in ", left, " at the latest")


def overuse(gpu_index: int, share: LeaseView, used: int, context_bytes: int) -> Message:
    """The reason for stopping an attempt that uses more of a GPU than it declared."""
    return Message.of(
        f"Attempt {share.attempt} used {gib_used(used)} of ",
        GpuRef(indices=(gpu_index,)),
        " and had declared "
        f"{gib_used(share.memory_bytes or 0)} (plus {context_bytes >> 20} MiB per process for "
        "CUDA itself), so it was stopped; declare more with ",
        code("--gpu-memory"),
        ", or take the whole GPU.",
    )


def preempted_by(job_id: int, name: str, user: str, priority: int) -> Message:
    """`Preempted by job 7 (train) of ada, priority 100.`"""
    return Message.of(
        "Preempted by ", job(job_id, name), " of ", UserRef(name=user), f", priority {priority}."
    )
