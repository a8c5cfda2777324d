"""Verb `berth show`: details of one job."""

from __future__ import annotations

from typing import TYPE_CHECKING

from berth import gpu_usage
from berth.cli import ids, jobtext, text
from berth.cli.failure import Failure
from berth.cli.session import AsJson, connect, print_json
from berth.gpunames import ranges

if TYPE_CHECKING:
    from berth.protocol.attempts import Attempt
    from berth.protocol.dependencies import Dependency
    from berth.protocol.jobs import Job


def show(job: ids.JobId, *, as_json: AsJson = False) -> None:
    """Show one job in full: its spec, how it was started, how it ended."""
    number, attempt = ids.one(job)
    with connect() as client:
        found = client.job(number)
    if attempt is not None:
        found = _only(found, attempt)
    if as_json:
        print_json(found)
    else:
        print(rendered(found))


def _only(job: Job, number: int) -> Job:
    """Return the job with only one of its attempts."""
    attempts = [one for one in job.attempts if one.number == number]
    if not attempts:
        raise Failure(f"Job {job.id} has no attempt {number}; it has {len(job.attempts)} so far.")
    return job.model_copy(update={"attempts": attempts})


def rendered(job: Job) -> str:
    """Render the job as lines of `name  value`."""
    state, colour = jobtext.state_cell(job)
    head = f"Job {job.id} {text.clean(job.name)}: {text.style(state, colour, 'bold')}"
    rest = jobtext.info(job)
    lines = [head + (f", {text.clean(rest)}" if rest else "")]
    facts: list[tuple[str, str]] = [
        ("user", job.user),
        ("GPUs", _gpus(job)),
        ("runs", jobtext.command_line(job)),
        ("in", job.workdir),
        ("code", jobtext.code(job.snapshot) if job.snapshot else ""),
        ("python", job.python or ""),
        ("environment", " ".join(f"{k}={v}" for k, v in job.env.items())),
        ("priority", str(job.priority) if job.priority else ""),
        ("time limit", text.span(job.time_limit) if job.time_limit else "none"),
        ("should run", jobtext.length(job)),
        ("progress", jobtext.progress(job)),
        ("used", gpu_usage.words(job.usage) if job.usage else ""),
        ("retries", str(job.retries) if job.retries else ""),
        ("depends on", ", ".join(map(_dependency, job.dependencies))),
        ("not before", text.clock(job.not_before) if job.not_before else ""),
        ("labels", " ".join(f"{k}={v}" for k, v in job.labels.items())),
        ("notifies", " ".join(job.notify)),
        ("submitted", _moment(job.queued_at)),
        ("started", _moment(job.started_at) if job.started_at else ""),
        ("ended", _moment(job.ended_at) if job.ended_at else ""),
    ]
    lines += [f"  {name:<12} {text.clean(value)}" for name, value in facts if value]
    lines += [f"  {text.clean(link.name):<12} {text.clean(link.url)}" for link in job.links]
    lines += [f"  {'alert':<12} {alert}" for alert in jobtext.alerts(job)]
    lines += [
        f"  {'note':<12} {warning}" for warning in text.messages(job.warnings_parts, job.warnings)
    ]
    for attempt in job.attempts:
        lines += _attempt(attempt)
    return "\n".join(lines)


def _dependency(other: Dependency) -> str:
    plain = other.kind.value == "afterok"
    return str(other.job_id) if plain else f"{other.kind.value}:{other.job_id}"


def _gpus(job: Job) -> str:
    parts = [f"{text.size(job.gpu_memory)} of one" if job.share else str(job.gpus)]
    if job.nodes:
        parts[0] = f"{job.nodes} nodes with {job.gpus // job.nodes} each"
    if job.gpu_indices:
        held = "on" if job.state.is_active else "last on"
        parts.append(f"{held} {ranges(job.gpu_indices)}")
    if job.gpu_memory and not job.share:
        parts.append(f"with at least {text.size(job.gpu_memory)} each")
    return ", ".join(parts)


def _moment(moment: object) -> str:
    from datetime import datetime

    assert isinstance(moment, datetime)
    return f"{text.clock(moment)} ({text.ago(moment)})"


def _attempt(attempt: Attempt) -> list[str]:
    lines = [text.style(f"Attempt {jobtext.attempt_line(attempt)}", "bold")]
    why = attempt.placement
    facts = [
        ("message", jobtext.message(attempt)),
        ("why these", text.message(why.sentence_parts, why.sentence) if why else ""),
        ("folder", attempt.run_dir),
    ]
    launch = attempt.launch
    if launch is not None:
        facts += [
            ("started as", launch.after),
            ("fence", launch.fence.value),
            ("sees", f"CUDA_VISIBLE_DEVICES={launch.cuda_visible_devices}"),
        ]
    if attempt.master_port is not None:
        facts.append(("port", str(attempt.master_port)))
    if attempt.max_rss_bytes is not None:
        facts.append(("host memory", f"at most {text.size(attempt.max_rss_bytes)} in a process"))
    if attempt.usage is not None:
        facts.append(("used", gpu_usage.words(attempt.usage)))
    lines += [f"  {name:<12} {text.clean(value)}" for name, value in facts if value]
    for change in launch.changes if launch else ():
        was, became = change.what or "(nothing)", change.became or "(taken out)"
        lines.append(f"  {'changed':<12} {text.clean(f'{was} -> {became}: {change.why}')}")
    return lines
