"""Why an attempt ended. Pure: from evidence to one outcome and one sentence."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass, field

from berth.protocol.base import format_duration
from berth.protocol.internal import DesiredAttempt, ExitRecord
from berth.protocol.states import Outcome
from berth_worker.diagnose.signatures import recognise

_QUOTE_LENGTH = 200
_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f]")
_CLAIMS = {
    "oom_gpu": Outcome.OOM_GPU,
    "oom_host": Outcome.OOM_HOST,
    "disk_full": Outcome.DISK_FULL,
    "stalled": Outcome.STALLED,
    "launch_error": Outcome.LAUNCH_ERROR,
}


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything known about an end."""

    desired: DesiredAttempt
    record: ExitRecord | None
    """None: the shim left none."""
    log_tail: bytes = field(default=b"", repr=False)
    failure: tuple[str | None, str | None] = (None, None)
    """Kind and sentence of the job's own diagnosis."""
    memory_kills: int = 0
    """How often the kernel killed for want of memory while the attempt ran."""
    free_bytes: int | None = None
    """Free space where the job works; None when it cannot be told."""
    rebooted: bool = False
    """With no record: the box has booted since the attempt began."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome, and the sentence that names the mend."""

    outcome: Outcome
    message: str | None


def judge(evidence: Evidence) -> Verdict:
    """Say why an attempt ended."""
    record = evidence.record
    if record is None:
        return _lost(evidence)
    if record.cause == "launch_error":
        return Verdict(Outcome.LAUNCH_ERROR, record.message or "The job could not be started.")
    if record.cause == "stopped":
        return _stopped(evidence.desired, record)
    if record.cause == "time_limit":
        return _time_limit(evidence.desired, record)
    if record.exit_code == 0:
        return Verdict(Outcome.EXIT, _tidied(record))
    return _failed(evidence, record)


def _lost(evidence: Evidence) -> Verdict:
    if evidence.rebooted:
        return Verdict(Outcome.LOST, "The box was restarted while the job ran; submit it again.")
    return Verdict(
        Outcome.LOST,
        "The job's supervisor was killed, so how the job ended is not known; its processes were "
        "ended. Look into the kernel's log for memory kills.",
    )


def _stopped(desired: DesiredAttempt, record: ExitRecord) -> Verdict:
    if desired.action != "stop":
        return Verdict(
            Outcome.LOST,
            "The job was told to end from outside of Berth, as when the box shuts down; "
            "submit it again.",
        )
    outcome = desired.stop_reason or Outcome.CANCELLED
    return Verdict(outcome, _forced(desired, record))


def _time_limit(desired: DesiredAttempt, record: ExitRecord) -> Verdict:
    limit = format_duration(desired.time_limit) if desired.time_limit else "it was given"
    sentence = f"It reached its time limit of {limit}; give it more with --time-limit."
    forced = _forced(desired, record)
    return Verdict(Outcome.TIME_LIMIT, f"{sentence} {forced}" if forced else sentence)


def _forced(desired: DesiredAttempt, record: ExitRecord) -> str | None:
    if not record.killed:
        return None
    grace = format_duration(desired.grace)
    return f"It did not end within its grace of {grace} and was killed."


def _tidied(record: ExitRecord) -> str | None:
    if not record.killed:
        return None
    processes = "process" if record.killed == 1 else "processes"
    return f"It left {record.killed} {processes} running, which Berth ended."


def _failed(evidence: Evidence, record: ExitRecord) -> Verdict:
    kind, sentence = evidence.failure
    if kind in _CLAIMS or sentence:
        return Verdict(_CLAIMS.get(kind or "", Outcome.EXIT), sentence or how(record))
    text = evidence.log_tail.decode(errors="replace")
    found = recognise(text, record, evidence.memory_kills, evidence.free_bytes)
    if found is not None:
        return Verdict(*found)
    if record.message:
        return Verdict(Outcome.EXIT, record.message)
    last = last_line(text)
    said = f"; the last line said: {last}" if last else " without a word in its log."
    return Verdict(Outcome.EXIT, how(record) + said)


def how(record: ExitRecord) -> str:
    """How the job's first process ended, as the beginning of a sentence."""
    number = record.signal
    if number is None:
        return f"Exited with code {record.exit_code}"
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    return f"Ended by {name}"


def last_line(text: str) -> str:
    """The last line with anything to read in it, shortened, without terminal codes."""
    for line in reversed(re.split(r"[\r\n]+", text)):
        plain = _ANSI.sub("", line).strip()
        if any(character.isalnum() for character in plain):
            return plain if len(plain) <= _QUOTE_LENGTH else plain[: _QUOTE_LENGTH - 1] + "…"
    return ""
