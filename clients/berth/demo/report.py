"""The end of the demo: both runs side by side, and the locations of everything."""

from __future__ import annotations

from datetime import timedelta

from rich.console import Console
from rich.table import Table

from berth import Client
from berth.cli import jobtext
from berth.demo.stage import Stage
from berth.gpunames import ranges
from berth.protocol.jobs import Job
from berth.protocol.metrics import MetricPoint
from berth.protocol.states import JobState
from berth.units import format_duration


def report(client: Client, jobs: list[Job], stage: Stage, console: Console) -> None:
    """Print the comparison, what was changed to make the commands safe, and the places."""
    table = Table(title="The two runs", title_justify="left", header_style="bold")
    table.add_column("")
    for job in jobs:
        table.add_column(f"job {job.id}", justify="right")
    curves = [client.metrics(job.id).points for job in jobs]
    for name, values in _rows(jobs, curves):
        table.add_row(name, *values)
    console.print(table)
    for job in jobs:
        if job.state is not JobState.SUCCEEDED:
            console.print(f"[red]Job {job.id} {job.state.value}: {jobtext.message(job)}[/red]")
    _print_together(jobs, console)
    _print_changes(jobs, console)
    console.print("\nLocations")
    for job in jobs:
        attempt = job.attempts[-1] if job.attempts else None
        if attempt is not None:
            console.print(f"  job {job.id}: log and metrics  {attempt.run_dir}", soft_wrap=True)
    console.print(f"  models, checkpoints   {stage.workspace / 'outputs'}", soft_wrap=True)
    console.print(f"  database, daemon logs {stage.home}", soft_wrap=True)


def _rows(jobs: list[Job], curves: list[list[MetricPoint]]) -> list[tuple[str, list[str]]]:
    attempts = [job.attempts[-1] if job.attempts else None for job in jobs]
    launches = [attempt.launch if attempt else None for attempt in attempts]
    return [
        ("outcome", [job.state.value for job in jobs]),
        ("launcher", [launch.launcher.value if launch else "—" for launch in launches]),
        ("GPUs", [ranges(job.gpu_indices) or "—" for job in jobs]),
        ("port", [str(a.master_port) if a and a.master_port else "—" for a in attempts]),
        ("run time", [_duration(job) for job in jobs]),
        ("steps", [_number(_last(curve, "step"), 0) for curve in curves]),
        ("first loss", [_number(_first(curve, "loss"), 3) for curve in curves]),
        ("last loss", [_number(_last(curve, "loss"), 3) for curve in curves]),
        ("evaluation loss", [_number(_last(curve, "eval_loss"), 3) for curve in curves]),
        ("perplexity", [_number(_last(curve, "perplexity"), 1) for curve in curves]),
        ("tokens/s", [_number(_last(curve, "tokens_per_s"), 0) for curve in curves]),
    ]


def _print_together(jobs: list[Job], console: Console) -> None:
    begins = [job.started_at for job in jobs if job.started_at]
    ends = [job.ended_at for job in jobs if job.ended_at]
    if len(begins) < len(jobs) or len(ends) < len(jobs):
        return
    shared = min(ends) - max(begins)
    held = [uuid for job in jobs for uuid in job.gpu_uuids]
    if shared > timedelta(0) and len(set(held)) == len(held):
        seconds = timedelta(seconds=round(shared.total_seconds()))
        console.print(
            f"Both ran at the same time for {format_duration(seconds)}; no GPU was shared."
        )


def _print_changes(jobs: list[Job], console: Console) -> None:
    for job in jobs:
        launch = job.attempts[-1].launch if job.attempts else None
        if launch is None or not launch.changes:
            continue
        console.print(f"\nChanges that made job {job.id} safe")
        for change in launch.changes:
            console.print(
                f"  {change.what or '(nothing)'} → {change.became or '(removed)'}: {change.why}",
                soft_wrap=True,
                markup=False,
            )


def _duration(job: Job) -> str:
    if job.started_at is None or job.ended_at is None:
        return "—"
    return f"{(job.ended_at - job.started_at).total_seconds():.0f} s"


def _last(curve: list[MetricPoint], name: str) -> float | None:
    values = [value for point in curve if (value := point.get(name)) is not None]
    return values[-1] if values else None


def _first(curve: list[MetricPoint], name: str) -> float | None:
    return next((value for point in curve if (value := point.get(name)) is not None), None)


def _number(value: float | None, digits: int) -> str:
    return "—" if value is None else f"{value:.{digits}f}"
