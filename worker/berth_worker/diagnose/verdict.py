"""Verdict on an ended attempt. Pure: evidence gives one outcome and one sentence."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass, field

from berth import jobfiles
from berth.protocol.internal import DesiredAttempt, ExitRecord
from berth.protocol.states import Outcome
from berth.units import format_duration
from berth_worker.diagnose.reading import decisive_line, end_of, first_failed_rank, last_line
from berth_worker.diagnose.signatures import PORT, SIGNATURES

_CLAIMS = {
    "oom_gpu": Outcome.OOM_GPU,
    "oom_host": Outcome.OOM_HOST,
    "disk_full": Outcome.DISK_FULL,
    "stalled": Outcome.STALLED,
}
_REQUEUE = "requeue"
"""The claim of a job that has saved, and goes on in its next attempt."""
_FULL_DISK_BYTES = 1 << 20
# Within so long after its start a launcher has opened its port, also from a slow file system.
_STARTS_WITHIN_S = 600.0
# torchrun and deepspeed leave with codes of their own when a rank was killed.
_KILLED_CODES = frozenset({128 + signal.SIGKILL, 256 - signal.SIGKILL})
_CRASHED_CODES = frozenset({128 + signal.SIGSEGV, 256 - signal.SIGSEGV})
_NEAR_END = 40
_SENT = frozenset(
    {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT}
    | {signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGPIPE, signal.SIGXCPU}
)
_RANK_KILLED = re.compile(r"exitcode\s*:\s*-9\b|return code = -9\b|Signal 9 \(SIGKILL\)")
_NEIGHBOUR = re.compile(r"Process (\d+) has ([\d.]+ \w+) memory in use")
_FRAGMENTS = re.compile(r"(\d{1,9}(?:\.\d{1,9})?) GiB is reserved by PyTorch but unallocated")
_MUCH_GIB = 2.0


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything known about the end of an attempt."""

    desired: DesiredAttempt
    record: ExitRecord | None
    """None: the shim left none."""
    log_tail: bytes = field(default=b"", repr=False)
    failure: tuple[str | None, str | None] = (None, None)
    """Kind and sentence of the job's own diagnosis."""
    memory_kills: int = 0
    """Number of the kernel's memory kills while the attempt ran."""
    kills_counted: bool = False
    """True when none of them can have been missed."""
    free_bytes: int | None = None
    """Free space where the job works; None when unknown."""
    port_busy: bool = False
    """True if a process that is not the job's listens on its rendezvous port now."""
    own_pids: frozenset[int] = frozenset()
    """Pids that the driver has listed for it."""
    shim_error: str | None = None
    """With no record: the fault that ended the attempt's shim."""
    rebooted: bool = False
    """With no record: the box has booted since the attempt began."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome, and the sentence that names the fix."""

    outcome: Outcome
    message: str | None
    port_taken: bool = False
    """True if somebody else had its rendezvous port when it started."""


def judge(evidence: Evidence) -> Verdict:
    """Return why an attempt ended."""
    record = evidence.record
    if record is None:
        return _lost(evidence)
    if record.cause == "launch_error":
        sentence = record.message or "The job could not be started."
        return Verdict(Outcome.LAUNCH_ERROR, sentence, record.port_taken)
    if record.cause == "stopped":
        return _stopped(evidence.desired, record)
    if evidence.failure[0] == _REQUEUE:
        said = evidence.failure[1] or "It asked to be queued again."
        return Verdict(Outcome.PREEMPTED, jobfiles.line(said))
    if record.cause == "time_limit":
        return _time_limit(evidence.desired, record)
    if record.exit_code == 0:
        return Verdict(Outcome.EXIT, _tidied(record))
    return _failed(evidence, record)


def _lost(evidence: Evidence) -> Verdict:
    if evidence.rebooted:
        return Verdict(Outcome.LOST, "The box was restarted while the job ran; submit it again.")
    if evidence.shim_error:
        return Verdict(
            Outcome.LOST,
            f"The job's supervisor failed ({evidence.shim_error.rstrip('.')}) and ended the job's "
            "processes; submit it again, and report this as a fault of Berth.",
        )
    if evidence.memory_kills:
        return Verdict(
            Outcome.LOST,
            "The job's supervisor was killed while the box was out of memory; use less offload or "
            "fewer loader workers, and submit it again.",
        )
    return Verdict(
        Outcome.LOST,
        "The job's supervisor was killed, so the job's result is unknown; its processes were "
        "ended too. Submit it again.",
    )


def _stopped(desired: DesiredAttempt, record: ExitRecord) -> Verdict:
    if desired.action != "stop":
        return Verdict(
            Outcome.LOST,
            "The job was stopped from outside Berth, for example by a shutdown of the box; "
            "submit it again.",
        )
    return Verdict(desired.stop_reason or Outcome.CANCELLED, _forced(desired, record))


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
    text = evidence.log_tail.decode(errors="replace")
    if kind in _CLAIMS or sentence:
        outcome = _CLAIMS.get(kind or "", Outcome.EXIT)
        return Verdict(outcome, jobfiles.line(sentence) if sentence else _said(record, text))
    killed = record.signal == signal.SIGKILL or record.exit_code in _KILLED_CODES
    if evidence.memory_kills and (killed or _RANK_KILLED.search(text)):
        return Verdict(
            Outcome.OOM_HOST,
            "The kernel killed it because the box was out of memory; use less offload or fewer "
            "loader workers, or share the box with fewer jobs.",
        )
    line = decisive_line(text)
    # What a job survived hours before a signal came from outside did not end it.
    searched = end_of(text, _NEAR_END) if _from_outside(record) else text
    for signature in SIGNATURES:
        match = signature.pattern.search(line if signature.last_word else searched)
        if match is not None and signature is PORT:
            return _about_port(evidence, record, text)
        if match is not None:
            sentence = signature.sentence.replace("{1}", match[1] if match.re.groups else "")
            if signature.outcome is Outcome.OOM_GPU:
                sentence = _about_memory(sentence, text, evidence.own_pids)
            return Verdict(signature.outcome, sentence)
    return _unknown(evidence, record, text)


def _about_port(evidence: Evidence, record: ExitRecord, text: str) -> Verdict:
    """Return whose port was taken: the leased one by a stranger, or one of the job's own choice."""
    port = evidence.desired.master_port
    if port is None or not re.search(rf"(?<!\d){port}(?!\d)", text):
        return Verdict(PORT.outcome, PORT.sentence)
    if not evidence.port_busy:
        return Verdict(
            PORT.outcome,
            f"Its rendezvous port {port} was taken when it wanted it; if it starts two launchers at "
            "once, submit each as a job of its own, else submit it again.",
        )
    sentence = f"Its rendezvous port {port} is taken by a process outside this Berth"
    if _ran_s(record) > _STARTS_WITHIN_S:
        return Verdict(PORT.outcome, f"{sentence}; submit it again, it gets another port.")
    # It never came to its work: nothing is lost by starting it on another port.
    return Verdict(Outcome.LAUNCH_ERROR, f"{sentence}.", port_taken=True)


def _ran_s(record: ExitRecord) -> float:
    return (record.ended_at - (record.started_at or record.ended_at)).total_seconds()


def _about_memory(sentence: str, text: str, own_pids: frozenset[int]) -> str:
    """Add to the sentence whose memory it was, or that it was fragmented."""
    for pid, memory in _NEIGHBOUR.findall(text):
        if own_pids and int(pid) not in own_pids:
            return (
                f"The GPU's memory is full, and pid {pid}, which does not belong to the job, "
                f"holds {memory} of it; see with `berth gpus` whose it is, then submit it again."
            )
    fragments = [float(gib) for gib in _FRAGMENTS.findall(text)]
    if fragments and max(fragments) >= _MUCH_GIB:
        return (
            f"{sentence.removesuffix('.')}; {max(fragments):g} GiB lay in fragments: set "
            "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True."
        )
    return sentence


def _unknown(evidence: Evidence, record: ExitRecord, text: str) -> Verdict:
    if record.message:
        return Verdict(Outcome.EXIT, record.message)
    if evidence.free_bytes is not None and evidence.free_bytes < _FULL_DISK_BYTES:
        return Verdict(
            Outcome.DISK_FULL,
            "It failed while its disk was full; free space, then submit it again.",
        )
    if record.signal == signal.SIGSEGV or record.exit_code in _CRASHED_CODES:
        return Verdict(
            Outcome.EXIT,
            "It crashed in native code (SIGSEGV); most often an extension was built for another "
            "torch: rebuild it in this environment.",
        )
    if _from_outside(record):
        return Verdict(Outcome.EXIT, _signalled(evidence, record, text))
    return Verdict(Outcome.EXIT, _said(record, text))


def _from_outside(record: ExitRecord) -> signal.Signals | None:
    """Return the signal that somebody sent to the first process; None where it ended by itself."""
    code = record.exit_code or 0
    # A shell leaves with 128 and its child's signal, deepspeed with 256 less it.
    number = record.signal or next((n for n in _SENT if code in {128 + n, 256 - n}), None)
    return signal.Signals(number) if number in _SENT else None


def _signalled(evidence: Evidence, record: ExitRecord, text: str) -> str:
    """Return what ended a job by a signal that Berth did not send, and its last line as it is."""
    sent = _from_outside(record)
    assert sent is not None
    how = _how(record) if record.signal else f"{_how(record)}, which stands for {sent.name}"
    line = last_line(text)
    log = f"its log ends: {line}" if line else "its log says nothing"
    if sent is not signal.SIGKILL or evidence.kills_counted:
        return f"{how}; Berth did not send it, a user or a process of its own did; {log}"
    # What the kernel killed within a job's first 0.1 s is not counted.
    return (
        f"{how}; {log.rstrip('.')}. A user killed it, or the kernel did because memory was short "
        "(see `dmesg`)."
    )


def _said(record: ExitRecord, text: str) -> str:
    line = decisive_line(text)
    if not line:
        return f"{_how(record)}; its log says nothing."
    rank = first_failed_rank(text)
    who = "the log says" if rank is None else f"rank {rank} failed first"
    return f"{_how(record)}; {who}: {line}"


def _how(record: ExitRecord) -> str:
    """Return the beginning of a sentence: the end of the job's first process."""
    number = record.signal
    if number is None:
        return f"Exited with code {record.exit_code}"
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    return f"Ended by {name}"
