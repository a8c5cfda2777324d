"""
Slurm's states and what they mean for an attempt. Pure: facts in, decision out.

Slurm's id identifies nothing: a controller that dies hands the id of a lost job to the next one,
and may start a job twice. An attempt is known by its job's name, and the one run that counts is
the one whose claim lies in the run directory. Absence of a job is neither success nor failure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from berth.protocol.internal import ExitRecord
from berth.protocol.states import Outcome
from berth_worker.slurm.listing import ClusterJob

_WAITING = frozenset({"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD"})
_ENDED = frozenset(
    {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL", "BOOT_FAIL"}
    | {"DEADLINE", "REVOKED", "PREEMPTED", "LAUNCH_FAILED", "RECONFIG_FAIL"}
)
_SUSPENDED = frozenset({"SUSPENDED", "STOPPED"})
_LOG_NOT_WRITABLE = 53
_LATER = 2
"""Listings after which one is surely younger than what was seen before them: Slurm's word may be
from before the start of a short run."""
RECORDED_S = 20.0
"""Time in which Slurm sees the end of a job whose run has left its exit record."""
SILENT_S = 600.0
"""Time without a sign of life from any node after which a run that Slurm calls running is given up."""
GONE_AFTER_S = 10.0
"""Time for which a job must be missing from listings that were answered before it counts as gone."""
UNANSWERED_S = 25.0
"""Time in which a submit without an answer may still turn into a job: twice Slurm's MessageTimeout
and some."""


def is_waiting(job: ClusterJob) -> bool:
    """True for a job that has not started."""
    return job.state in _WAITING


def has_ended(job: ClusterJob) -> bool:
    """True for a job of which no process is left; a word that is not known is no end."""
    return job.state in _ENDED


def counting(jobs: Sequence[ClusterJob], claimed: int | None) -> ClusterJob | None:
    """
    Return the job that counts among those of one attempt's name.

    It is the one that has claimed the run directory; while none has, one that may still start.
    """
    if claimed is not None:
        return next((job for job in jobs if job.id == claimed), None)
    living = [job for job in jobs if not has_ended(job)]
    return max(living or jobs, key=lambda job: (job.submitted_at, job.id), default=None)


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts about an attempt: its run directory, and what Slurm says."""

    claimed: bool = False
    """Its one run has begun."""
    record: ExitRecord | None = None
    job: ClusterJob | None = None
    """From a listing, else from accounting."""
    submitted_ago_s: float | None = None
    """None: it was never submitted."""
    absent_s: float = 0.0
    """Time for which listings that were answered have not shown it."""
    accounted: bool = False
    """Accounting has been asked, or there is none."""
    broken_node: bool = False
    """A node that its job was given has been taken out of use."""
    recorded_s: float = 0.0
    """Time for which its exit record has been seen."""
    listings: int = 0
    """Listings that have come since its exit record was seen."""
    silent_s: float = 0.0
    """Time for which its nodes have given no new sign of life."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The next step for an attempt."""

    step: Literal["submit", "wait", "run", "account", "abandon", "end"]
    """`account`: ask accounting about it. `abandon`: Slurm has lost sight of it; cancel its job."""
    outcome: Outcome | None = None
    """With `end`, where the exit record does not decide it."""
    sentence: str | None = None
    """With `wait` and `run`, where it stands; with `end`, why."""


def decide(facts: Facts) -> Decision:
    """Return the next step for an attempt that should run."""
    job = facts.job
    if job is None:
        return _without_job(facts)
    if is_waiting(job):
        if facts.record is not None and facts.listings >= _LATER:
            return _requeued(job, facts.record)
        return Decision("wait", sentence=place_in_queue(job))
    if not has_ended(job):
        return _going_on(job, facts)
    if facts.record is not None:
        return Decision("end")
    return _ended_with_claim(job) if facts.claimed else _ended_without(job, facts)


def _requeued(job: ClusterJob, record: ExitRecord) -> Decision:
    """Slurm has queued a job again whose run has ended."""
    if not _ended_by_a_signal(record):
        return Decision("end")
    sentence = f"Slurm stopped its job {job.id} to queue it again."
    return Decision("end", Outcome.PREEMPTED, sentence)


def _going_on(job: ClusterJob, facts: Facts) -> Decision:
    """The job has started, and Slurm has not seen its end."""
    if job.state in _SUSPENDED:
        sentence = (
            f"Slurm has suspended its job {job.id}; `scontrol resume {job.id}` lets it go on."
        )
        return Decision("run" if facts.claimed else "wait", sentence=sentence)
    # Slurm does not notice when its own supervisor of a job is killed.
    recorded = facts.recorded_s >= RECORDED_S and facts.listings >= _LATER
    given_up = recorded or facts.silent_s >= SILENT_S
    if facts.claimed and job.state == "RUNNING" and given_up:
        return Decision("abandon")
    return Decision("run" if facts.claimed else "wait")


def _without_job(facts: Facts) -> Decision:
    if facts.record is not None:
        if _ended_by_a_signal(facts.record) and not facts.accounted:
            # Accounting may know that it was Slurm's.
            gone = facts.absent_s >= GONE_AFTER_S
            return Decision("account" if gone else "run")
        return Decision("end")
    if facts.submitted_ago_s is None:
        return Decision("submit")
    waited = facts.submitted_ago_s >= UNANSWERED_S and facts.absent_s >= GONE_AFTER_S
    if not waited:
        return Decision("run" if facts.claimed else "wait")
    if not facts.accounted:
        return Decision("account")
    if facts.claimed:
        return Decision(
            "end",
            Outcome.LOST,
            "Slurm no longer knows its job, and it left no exit record; submit it again.",
        )
    return Decision("submit")


def _ended_by_a_signal(record: ExitRecord) -> bool:
    return record.cause == "stopped" or (record.cause == "exit" and record.signal is not None)


def _ended_with_claim(job: ClusterJob) -> Decision:
    where = f" on {', '.join(job.nodes)}" if job.nodes else ""
    if job.state == "CANCELLED":
        by = job.reason.partition(" by ")[2]  # accounting tells the uid
        who = f" by uid {by}" if by.isdecimal() else ""
        return Decision("end", Outcome.CANCELLED, f"Its job {job.id} was cancelled in Slurm{who}.")
    if job.state == "TIMEOUT":
        return Decision(
            "end",
            Outcome.TIME_LIMIT,
            f"Slurm ended its job {job.id} at the time limit; give it more with --time-limit.",
        )
    if job.state == "OUT_OF_MEMORY":
        return Decision(
            "end",
            Outcome.OOM_HOST,
            f"Slurm ended its job {job.id}{where} for its use of memory; use less offload or "
            "fewer loader workers, or ask the cluster for more with --mem in slurm.args.",
        )
    if job.state == "PREEMPTED":
        return Decision("end", Outcome.PREEMPTED, f"Slurm preempted its job {job.id}.")
    if job.state in {"COMPLETED", "FAILED"}:
        return Decision(
            "end",
            Outcome.LOST,
            f"Its job {job.id} ended{where} without an exit record, so its result is unknown; "
            "submit it again.",
        )
    return Decision(
        "end",
        Outcome.LOST,
        f"Slurm lost its job {job.id}{where} ({job.state}); submit it again.",
    )


def _ended_without(job: ClusterJob, facts: Facts) -> Decision:
    """The job ended before its run had begun."""
    if job.state == "CANCELLED" and job.nodes and facts.broken_node:
        return Decision("submit")  # so Slurm calls a job whose node failed its prolog
    if job.state == "CANCELLED":
        sentence = f"Its job {job.id} was cancelled in Slurm before it started."
        return Decision("end", Outcome.CANCELLED, sentence)
    if job.state in {"COMPLETED", "FAILED", "LAUNCH_FAILED"}:
        if job.exit_signal == _LOG_NOT_WRITABLE:
            sentence = (
                "Slurm could not write the job's log: BERTH_HOME must be on a disk that all "
                "nodes share, and its user must be able to write there."
            )
        else:
            sentence = (
                f"Its job {job.id} ended on {', '.join(job.nodes) or 'its node'} before Berth's "
                "own part had started; `berth doctor` checks what nodes need."
            )
        return Decision("end", Outcome.LAUNCH_ERROR, sentence)
    return Decision("submit")  # its node failed, or it was preempted: nothing of it ran


def place_in_queue(job: ClusterJob) -> str:
    """Return where a waiting job stands in Slurm, as a sentence."""
    head = f"It waits in Slurm as job {job.id}"
    if job.reason in {"", "None"}:
        return f"{head}."
    return f"{head}: {_REASONS.get(job.reason) or job.reason}."


_REASONS = {
    "Resources": "the GPUs it needs are in use",
    "Priority": "jobs before it in Slurm's own queue come first",
    "Dependency": "an earlier run of it has not ended",
    "PartitionNodeLimit": "it asks for more nodes than the partition has; ask for fewer",
    "PartitionTimeLimit": "its time limit is longer than the partition's; give it less",
    "JobHeldAdmin": "an administrator of the cluster holds it",
    "JobHeldUser": "its user holds it in Slurm (`scontrol release` lets it go)",
    "BeginTime": "Slurm starts it at a later time",
    "QOSMaxGRESPerUser": "its user's limit of GPUs in Slurm is reached",
    "AssocGrpGRES": "its account's limit of GPUs in Slurm is reached",
}


def agreed(record: ExitRecord, job: ClusterJob | None) -> ExitRecord:
    """
    Return the exit record, with Slurm's exit code where the two differ.

    The record lies where the job's user may write; Slurm's own word cannot be forged.
    """
    if job is None or job.state not in {"COMPLETED", "FAILED"} or record.cause != "exit":
        return record
    if job.exit_code is None or (record.exit_code, record.signal or 0) in {
        (job.exit_code, job.exit_signal),
        (None, job.exit_signal),
    }:
        return record
    code = job.exit_code if not job.exit_signal else None
    return record.model_copy(update={"exit_code": code, "signal": job.exit_signal or None})


def unanswered(reason: str) -> str:
    """Return where an attempt stands whose submit has no answer, as a sentence."""
    return f"Slurm does not answer ({reason}); Berth tries again."
