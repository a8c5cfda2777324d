"""Wording of jobs: sentences and table cells, the same in every verb."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from berth import gpu_usage
from berth.cli import text
from berth.gpunames import named, ranges

if TYPE_CHECKING:
    from berth.protocol.attempts import Attempt, CodeSnapshot
    from berth.protocol.jobs import Job

_STYLES = {
    "held": "magenta",
    "waiting": "magenta",
    "queued": "yellow",
    "starting": "cyan",
    "running": "cyan",
    "stopping": "cyan",
    "succeeded": "green",
    "failed": "red",
    "cancelled": "dim",
}


def state_cell(job: Job) -> tuple[str, str]:
    """The state in its colour."""
    return job.state.value, _STYLES.get(job.state.value, "")


def command_line(job: Job) -> str:
    """Return the job's command on one line."""
    if job.script is not None:
        lines = [
            line
            for line in job.script.splitlines()
            if line.strip() and not line.lstrip().startswith("#")
        ]
        return (lines[0] if lines else "") + (" \N{HORIZONTAL ELLIPSIS}" if len(lines) > 1 else "")
    if isinstance(job.command, str):
        return " ".join(job.command.split())
    import shlex  # only lists of words need it

    return shlex.join(job.command or [])


def code(snapshot: CodeSnapshot) -> str:
    """Describe the code a job runs: `9f2c1e7 (main) with 2 changed and 1 new file, frozen from …`."""
    commit = snapshot.commit[:10] if snapshot.commit else "no commit"
    branch = f" ({snapshot.branch})" if snapshot.branch else ""
    changes = [
        f"{count} {word}"
        for count, word in ((snapshot.changed, "changed"), (snapshot.untracked, "new"))
        if count
    ]
    noun = "file" if snapshot.changed + snapshot.untracked == 1 else "files"
    differs = f" with {' and '.join(changes)} {noun}" if changes else ""
    return f"{commit}{branch}{differs}, frozen from {snapshot.root}"


def gpus_cell(job: Job) -> str:
    """Return the number of GPUs, and their indices while held: `4 (0\N{EN DASH}3)`; of a share its memory."""
    count = text.size(job.gpu_memory) if job.share else str(job.gpus)
    if job.state.is_active and job.gpu_indices:
        return f"{count} ({ranges(job.gpu_indices)})"
    return count


def gpu_phrase(job: Job) -> str:
    """`4 GPUs`, or `GPUs 0\N{EN DASH}3` while it holds them."""
    if job.state.is_active and job.gpu_indices:
        part = f"{text.size(job.gpu_memory)} of " if job.share else ""
        return f"{part}{named(job.gpu_indices)}"
    if job.share:
        return f"{text.size(job.gpu_memory)} of a GPU"
    return text.plural(job.gpus, "GPU") if job.gpus else "no GPU"


def when_cell(job: Job) -> str:
    """Since when the job is what it is."""
    if job.state.is_final and job.ended_at:
        return text.ago(job.ended_at)
    if job.state.is_active and job.started_at:
        return text.span(datetime.now(UTC) - job.started_at)
    return text.ago(job.queued_at)


def info(job: Job) -> str:
    """One phrase: why it waits, how long it may still run, how it ended."""
    if job.state.is_final:
        return ending(job)
    if job.state.is_active:
        first = next(iter(alerts(job)), "")
        return "; ".join(part for part in (_time_left(job), first) if part)
    parts: list[str] = []
    if job.expected_start:
        late = by_p90(job.expected_start, job.expected_start_p90)
        parts.append(f"starts {_about(job.expected_start)}{late}")
    if job.reason:
        parts.append(reason(job))
    return "; ".join(parts)


def alerts(job: Job) -> list[str]:
    """Alerts of a running job, one sentence each."""
    return text.messages(job.alerts_parts, job.alerts)


def progress(job: Job) -> str:
    """`1,650 of 5,000 (33 %), about 2h10m left, at 90 % certainty 2h25m; from its log, 2s ago`"""
    found = job.progress
    if found is None:
        return ""
    words = f"{found.step:,} of {found.total:,} ({_percent(found.fraction)})"
    if found.seconds_left is not None and found.seconds_left_p90 is not None:
        left, late = (
            text.about(timedelta(seconds=s)) for s in (found.seconds_left, found.seconds_left_p90)
        )
        words += f", about {left} left" + (f", at 90 % certainty {late}" if late != left else "")
    sources = {"log": "its log", "jobside": "berth.jobside"}
    return f"{words}; from {sources.get(found.source, found.source)}, {text.ago(found.at)}"


def _time_left(job: Job) -> str:
    """`33 %, about 2h10m left`; of a job that does not tell, how long its limit leaves it."""
    limit = None
    if job.started_at and job.time_limit:
        limit = job.started_at + job.time_limit - datetime.now(UTC)
    at_most = f"at most {text.span(limit)} left" if limit is not None else ""
    if job.progress is None:
        return at_most
    parts = [_percent(job.progress.fraction)]
    if job.progress.seconds_left is None:
        return ", ".join([*parts, *([at_most] if at_most else [])])
    left = timedelta(seconds=job.progress.seconds_left)
    parts.append(f"about {text.about(left)} left")
    if limit is not None and left > limit:
        parts.append(f"but {at_most}")
    return ", ".join(parts)


def _percent(fraction: float) -> str:
    return f"{math.floor(100 * fraction)} %"


def reason(job: Job) -> str:
    """The reason for which it waits; empty without one."""
    return text.message(job.reason_parts, job.reason)


def message(found: Job | Attempt) -> str:
    """The sentence about its end; empty without one."""
    return text.message(found.message_parts, found.message)


def ending(job: Job) -> str:
    """Describe how a job ended, and its run time."""
    parts: list[str] = []
    stopped_early = job.outcome is not None and job.outcome.value == "early_stopped"
    said = message(job) if job.state.value == "failed" or stopped_early else ""
    # The message states the outcome, and why.
    if not said and job.outcome and job.outcome.value not in {"exit", "cancelled"}:
        parts.append(job.outcome.value.replace("_", " "))
    elif not said and job.state.value == "failed" and job.exit_code is not None:
        parts.append(f"exit code {job.exit_code}")
    if job.started_at and job.ended_at:
        parts.append(f"ran {text.span(job.ended_at - job.started_at)}")
    if job.usage is not None and (load := gpu_usage.busy(job.usage)):
        parts.append(f"GPUs {load}")
    if said:
        parts.append(said)
    return "; ".join(parts)


def end_sentence(job: Job) -> str:
    """The sentence with which following a job ends."""
    ran = (
        f" after {text.span(job.ended_at - job.started_at)}"
        if job.started_at and job.ended_at
        else ""
    )
    if job.state.value == "succeeded":
        return f"Job {job.id} succeeded{ran}."
    if job.state.value == "cancelled":
        if job.outcome is not None and job.outcome.value == "early_stopped":
            return f"Job {job.id} was stopped early{ran}: {message(job)}"
        return f"Job {job.id} was cancelled{ran}."
    why = f": {message(job)}" if job.message else "."
    return f"Job {job.id} failed{ran}{why}"


def submitted(job: Job) -> str:
    """The sentence that answers a submit."""
    state = job.state.value
    if job.state.is_active:
        where = f" on {gpu_phrase(job)}" if job.gpu_indices else ""
        return f"Job {job.id} starts now{where}."
    if state == "held":
        return f"Job {job.id} is held; `berth release {job.id}` queues it."
    if job.state.is_final:
        return end_sentence(job)
    waits = reason(job) or f"It waits for {gpu_phrase(job)}."
    when = ""
    if job.expected_start:
        late = by_p90(job.expected_start, job.expected_start_p90)
        when = f" It should start {_about(job.expected_start)}{late}."
    return f"Job {job.id} is {state}. {waits}{when}"


def by_p90(moment: datetime, late: datetime | None) -> str:
    """`, at 90 % certainty in 3h`; empty where that is as good as the median."""
    if late is None:
        return ""
    now = datetime.now(UTC)
    words = text.about(late - now)
    same = words == text.about(moment - now) or late <= now
    return "" if same else f", at 90 % certainty in {words}"


def length(job: Job) -> str:
    """Expected length and its basis; empty where nothing is known."""
    found = job.expected_length
    return "" if found is None else text.message(found.sentence_parts, found.sentence)


def exit_code(job: Job) -> int:
    """The exit code that `run` and `wait` leave with for one job."""
    if job.state.value == "succeeded":
        return 0
    code = job.exit_code
    return code if code is not None and 0 < code < 256 else 1


def attempt_line(attempt: Attempt) -> str:
    """One attempt on one line."""
    parts = [f"{attempt.id} {attempt.state.value}"]
    if attempt.gpu_indices:
        parts.append(named(attempt.gpu_indices))
    if attempt.started_at:
        parts.append(f"started {text.clock(attempt.started_at)}")
    if attempt.started_at and attempt.ended_at:
        parts.append(f"ran {text.span(attempt.ended_at - attempt.started_at)}")
    has_status = attempt.signal is not None or attempt.exit_code is not None
    if attempt.outcome and not (has_status and attempt.outcome.value == "exit"):
        parts.append(attempt.outcome.value.replace("_", " "))
    if attempt.signal is not None:
        parts.append(f"signal {attempt.signal}")
    elif attempt.exit_code is not None:
        parts.append(f"exit code {attempt.exit_code}")
    return ", ".join(parts)


def _about(moment: datetime) -> str:
    delta = moment - datetime.now(UTC)
    return f"in about {text.about(delta)}" if delta.total_seconds() > 1 else "any moment"
