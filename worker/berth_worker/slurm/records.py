"""Records of a run directory that a node has written, and what they say together."""

from __future__ import annotations

import contextlib
import json

from pydantic import TypeAdapter

from berth import jobfiles
from berth.protocol.internal import LeasedGpu
from berth.protocol.states import Outcome
from berth_worker.attempts.reconcile import StopTerms
from berth_worker.attempts.rundir import RunDir
from berth_worker.diagnose import Evidence, Verdict
from berth_worker.diagnose import judge as judge_evidence
from berth_worker.slurm import states, submission
from berth_worker.slurm.cluster_attempt import ClusterAttempt
from berth_worker.slurm.found import Found
from berth_worker.slurm.listing import ClusterJob
from berth_worker.slurm.placed import GANG_END, PLACED, node_log

_PLACED = TypeAdapter(tuple[LeasedGpu, ...])
_TAIL_BYTES = 256 << 10


def read(folder: RunDir, known: Found | None = None, *, ending: bool = True) -> Found:
    """
    Read the run directory. Pids in it are another machine's and say nothing here.

    What `known` holds is final and is not read again: the list may be long and its disk far.
    `ending`: the attempt may have left its exit record.
    """
    before = known or Found()
    if before.claimed or before.refused:
        claimed, refused, number = before.claimed, before.refused, before.slurm_job
    else:
        claim = folder.claimed()
        claimed = claim is not None and not claim.refused
        refused = claim is not None and claim.refused
        number = claim.slurm_job if claim is not None else None
    record = before.record or (folder.exit_record() if ending else None)
    started = before.started_at
    if started is None and claimed:
        shim = folder.shim_record()
        started = shim.started_at if shim is not None else record.started_at if record else None
    facts = before.facts
    if facts is None and number is not None:
        facts = folder.facts(f"launch-{number}.json")
    return Found(
        claimed=claimed,
        refused=refused,
        slurm_job=number,
        started_at=started,
        record=record,
        facts=facts,
        placed=before.placed or (_placed(folder) if claimed else ()),
        submitted_at=before.submitted_at or folder.written_at(submission.SUBMITTED),
        lost_node=_gang_end(folder)[0] if ending else None,
    )


def _placed(folder: RunDir) -> tuple[LeasedGpu, ...]:
    try:
        return _PLACED.validate_json(folder.own_file(PLACED) or b"[]")
    except (ValueError, RecursionError):
        return ()


def _gang_end(folder: RunDir) -> tuple[str | None, int]:
    """Return the node of a gang that was lost, and the rank of the one that decided its end."""
    try:
        end = json.loads(folder.own_file(GANG_END) or b"{}")
        lost, failed = end.get("lost"), end.get("failed")
    except (ValueError, AttributeError, RecursionError):
        return None, 0
    return (
        lost if isinstance(lost, str) else None,
        failed if isinstance(failed, int) and 0 <= failed < 4096 else 0,
    )


def block(folder: RunDir) -> None:
    """Claim an attempt so that it never starts, unless it has. Raises OSError."""
    folder.make()
    folder.block()


def refuse(folder: RunDir, sentence: str) -> None:
    """Record that an attempt could not be submitted, as far as the disk allows."""
    with contextlib.suppress(OSError):
        folder.make()
        if folder.block():
            folder.append_to_log(sentence)


def write_stop_terms(folder: RunDir, terms: StopTerms) -> None:
    """Write stop.json; without it the shim uses the grace that the job was submitted with."""
    with contextlib.suppress(OSError):
        folder.write("stop.json", terms.as_json(), mode=0o644)


def with_words_of_slurm(folder: RunDir, sentence: str) -> str:
    """Return the sentence with the last line that the batch process wrote, if it wrote any."""
    lines = folder.log_tail(4096, "slurm.out").decode(errors="replace").splitlines()
    last = next((jobfiles.line(line) for line in reversed(lines) if line.strip()), "")
    return f"{sentence} It wrote: {last}" if last else sentence


def judge(attempt: ClusterAttempt, job: ClusterJob | None) -> Verdict:
    """Return why an attempt with an exit record ended."""
    if attempt.desired.action != "stop" and job is not None:
        # Slurm's signal may end the job before the shim has heard why.
        found = states.decide(states.Facts(claimed=True, job=job))
        if found.outcome is not None and found.outcome is not Outcome.LOST:
            return Verdict(found.outcome, found.sentence)
    evidence = Evidence(
        desired=attempt.desired,
        record=attempt.record,
        log_tail=attempt.folder.log_tail(_TAIL_BYTES, node_log(_gang_end(attempt.folder)[1])),
        failure=attempt.folder.failure(),
    )
    return judge_evidence(evidence)
