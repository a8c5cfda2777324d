"""Verdict on the end of an attempt on a cluster, from its records, its nodes' notes and Slurm's word."""

from __future__ import annotations

from berth import jobfiles
from berth.protocol.states import Outcome
from berth_worker.attempts.rundir import RunDir
from berth_worker.diagnose import Evidence, Verdict
from berth_worker.diagnose import judge as judge_evidence
from berth_worker.slurm import states
from berth_worker.slurm.cluster_attempt import ClusterAttempt
from berth_worker.slurm.found import Found
from berth_worker.slurm.listing import ClusterJob
from berth_worker.slurm.placed import node_log

_TAIL_BYTES = 256 << 10


def judge(
    attempt: ClusterAttempt, found: Found, job: ClusterJob | None, decision: states.Decision
) -> Verdict:
    """Return the outcome, and the sentence that names the fix."""
    stopped = attempt.desired.action == "stop"
    if found.orphaned and not stopped:
        return Verdict(
            Outcome.LOST,
            f"Its slurmstepd on {found.lost_node or 'its node'} was killed, or the node stopped "
            "reporting, so Slurm no longer saw the run and Berth ended it; submit it again.",
        )
    if decision.outcome is None:
        return _by_record(attempt, job, found.decisive_rank)
    if decision.outcome is Outcome.LAUNCH_ERROR:
        return Verdict(
            decision.outcome, _with_words_of_slurm(attempt.folder, decision.sentence or "")
        )
    if stopped and decision.outcome is Outcome.CANCELLED:
        return Verdict(attempt.desired.stop_reason or decision.outcome, None)
    if decision.outcome is Outcome.LOST and found.lost_node is not None:
        return Verdict(
            decision.outcome,
            f"Its ranks on {found.lost_node} stopped reporting, so Berth ended those on the other "
            "nodes; submit it again, with --resume to continue from its last checkpoint.",
        )
    return Verdict(decision.outcome, decision.sentence)


def _by_record(attempt: ClusterAttempt, job: ClusterJob | None, rank: int) -> Verdict:
    record = attempt.record
    succeeded = record is not None and record.cause == "exit" and record.exit_code == 0
    if (
        attempt.desired.action != "stop"
        and job is not None
        and not (succeeded or attempt.abandoned)
    ):
        # Slurm's signal may end the job before the shim has heard why.
        found = states.decide(states.Facts(claimed=True, job=job))
        if found.outcome is not None and found.outcome is not Outcome.LOST:
            return Verdict(found.outcome, found.sentence)
    evidence = Evidence(
        desired=attempt.desired,
        record=record,
        log_tail=attempt.folder.log_tail(_TAIL_BYTES, node_log(rank)),
        failure=attempt.folder.failure(),
    )
    return judge_evidence(evidence)


def _with_words_of_slurm(folder: RunDir, sentence: str) -> str:
    """Return the sentence with the last line that the batch process wrote, if it wrote any."""
    lines = folder.log_tail(4096, "slurm.out").decode(errors="replace").splitlines()
    last = next((jobfiles.line(line) for line in reversed(lines) if line.strip()), "")
    return f"{sentence} It wrote: {last}" if last else sentence
