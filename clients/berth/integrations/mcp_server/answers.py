"""Answers of the tools: few lines of plain text, for programs that pay by the word."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from berth import gpu_usage
from berth.cli import jobtext, text
from berth.gpunames import named
from berth.protocol.explain import Explanation
from berth.protocol.gpus import Box, Gpu
from berth.protocol.jobs import Job
from berth.protocol.logs import LogLines
from berth.protocol.submits import DryRun

_LONGEST_LINE = 400
_LONGEST_LOG = 12_000


def box(seen: Box) -> str:
    """The summary, and a line for each holder; GPUs that are alike share one."""
    lines = [text.message(seen.sentence_parts, seen.sentence)]
    groups: dict[str, list[Gpu]] = {}
    for gpu in seen.gpus:
        groups.setdefault(_on_it(gpu), []).append(gpu)
    for words, gpus in groups.items():
        known = [gpu.memory_used_bytes for gpu in gpus if gpu.memory_used_bytes is not None]
        total = sum(gpu.memory_total_bytes for gpu in gpus)
        model = gpus[0].name.removeprefix("NVIDIA ")
        busy = [gpu.utilization_percent for gpu in gpus if gpu.utilization_percent is not None]
        load = f", {round(sum(busy) / len(busy))} % busy" if busy else ""
        where = named(tuple(gpu.index for gpu in gpus))
        used = text.size(sum(known)) if known else "unknown use"
        lines.append(f"{where} ({model}): {words}; {used} of {text.size(total)}{load}")
    return "\n".join(lines)


def _on_it(gpu: Gpu) -> str:
    words = [text.message(gpu.holder.sentence_parts, gpu.holder.sentence)]
    if gpu.draining:
        words.append(f"draining{f': {gpu.drain_reason}' if gpu.drain_reason else ''}")
    words += [
        "reserved for " + ", ".join((*one.users, *one.groups))
        for one in gpu.reservations
        if one.active
    ]
    return text.clean("; ".join(words))


def jobs(listed: Sequence[Job], *, more: bool) -> str:
    """A line for each job, newest first."""
    lines = [job_line(job) for job in listed] or ["No such jobs."]
    return "\n".join([*lines, *(["There are more; narrow the search."] if more else [])])


def job_line(job: Job) -> str:
    """`42 running: twin, of ada, GPUs 0-3, 33 %, about 2h left`"""
    parts = [f"{job.id} {job.state.value}: {job.name}, of {job.user}, {jobtext.gpu_phrase(job)}"]
    parts += [jobtext.when_cell(job)] if job.state.is_final else []
    parts += [words] if (words := jobtext.info(job)) else []
    return text.clean(", ".join(parts))


def job(found: Job) -> str:
    """A job: what it runs, where it stands, how it ended."""
    facts = [
        ("", job_line(found)),
        ("command", jobtext.command_line(found)),
        ("folder", found.workdir),
        ("progress", jobtext.progress(found)),
        ("waits", jobtext.reason(found) if not found.state.is_final else ""),
        ("ended", jobtext.end_sentence(found) if found.state.is_final else ""),
        ("used", gpu_usage.words(found.usage) if found.usage else ""),
        ("labels", ", ".join(f"{k}={v}" for k, v in found.labels.items())),
        *(("attempt", jobtext.attempt_line(attempt)) for attempt in found.attempts[-3:]),
        *(("note", note) for note in text.messages(found.warnings_parts, found.warnings)),
    ]
    return _facts(facts)


def explanation(found: Explanation) -> str:
    """Reason for a job's state, and hints."""
    facts = [("", text.message(found.summary_parts, found.summary))]
    if found.expected_start is not None:
        facts.append(("start", f"{_when(found.expected_start)} ({found.confidence})"))
    facts += [
        ("reason", text.message(reason.sentence_parts, reason.sentence))
        for at, reason in enumerate(found.reasons)
        if at != found.summary_reason
    ]
    facts += [("helps", one) for one in text.messages(found.would_help_parts, found.would_help)]
    facts += [("note", one) for one in text.messages(found.notes_parts, found.notes)]
    return _facts(facts)


def preview(found: DryRun) -> str:
    """Preview of a submit."""
    facts = [
        ("", text.message(found.summary_parts, found.summary)),
        ("GPUs", named(found.gpu_indices) if found.gpu_indices else str(found.gpus)),
    ]
    if found.expected_start is not None and not found.starts_now:
        facts.append(("start", f"{_when(found.expected_start)} ({found.confidence})"))
    if found.would_preempt:
        facts.append(("stops", f"jobs {text.indices(found.would_preempt)}, queued again"))
    if found.after is not None and found.after != found.before:
        facts.append(("runs", found.after))
    facts += [("helps", one) for one in text.messages(found.would_help_parts, found.would_help)]
    facts += [("note", one) for one in text.messages(found.warnings_parts, found.warnings)]
    return _facts(facts)


def submitted(made: Job) -> str:
    """The id, whether it starts, and what was noticed."""
    notes = text.messages(made.warnings_parts, made.warnings)
    return _facts([("", jobtext.submitted(made)), *(("note", note) for note in notes)])


def log(found: LogLines) -> str:
    """The lines, cut where they are long; where they stand in the log."""
    lines = [text.cut(text.clean(line), _LONGEST_LINE) for line in found.lines]
    first = found.first
    while sum(map(len, lines)) > _LONGEST_LOG:
        lines.pop(0)
        first += 1
    if not lines:
        return "The log is empty so far."
    more = "" if found.complete else "; more may come"
    head = f"Lines {first + 1}-{first + len(lines)} of {found.total} of {found.attempt}{more}:"
    return "\n".join([head, *lines])


def _when(moment: datetime) -> str:
    return f"in about {text.about(moment - datetime.now(UTC))}"


def _facts(facts: Sequence[tuple[str, str]]) -> str:
    return "\n".join(
        text.clean(f"{name}: {value}" if name else value) for name, value in facts if value
    )
