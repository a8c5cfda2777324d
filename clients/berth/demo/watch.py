"""The live view: the GPU map, and for each run its state, loss curve and log."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from berth import BerthError, Client
from berth.cli.text import message
from berth.gpunames import named, ranges
from berth.protocol.gpus import Box, Gpu
from berth.protocol.jobs import Job
from berth.protocol.states import HolderKind
from berth.terminal import shown, strip

COLOURS = ("cyan", "magenta")
LOG_LINES = 9
_REFRESH_S = 0.4
_BARS = "▁▂▃▄▅▆▇█"


@dataclass
class RunView:
    """One run as it is shown."""

    job: Job
    colour: str
    losses: list[float] = field(default_factory=list)
    step: int = 0
    steps: int = 0
    tail: list[str] = field(default_factory=list)


def watch(client: Client, ids: list[int], console: Console) -> list[Job]:
    """Show the runs until all have ended; return the ended jobs."""
    views = [
        RunView(client.job(job_id), COLOURS[number % len(COLOURS)])
        for number, job_id in enumerate(ids)
    ]
    if console.is_terminal:
        _live(client, views, console)
    else:
        _plain(client, views, console)
    return [view.job for view in views]


def _live(client: Client, views: list[RunView], console: Console) -> None:
    began = time.monotonic()
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            box = client.gpus()
            _refresh(client, views)
            live.update(_screen(box, views, time.monotonic() - began), refresh=True)
            if all(view.job.state.is_final for view in views):
                return
            time.sleep(_REFRESH_S)


def _plain(client: Client, views: list[RunView], console: Console) -> None:
    """One line per change, for pipes and CI."""
    said: dict[int, str] = {}
    while True:
        _refresh(client, views)
        for view in views:
            line = _line(view)
            if said.get(view.job.id) != line:
                said[view.job.id] = line
                console.print(line, soft_wrap=True)
        if all(view.job.state.is_final for view in views):
            return
        time.sleep(_REFRESH_S)


def _line(view: RunView) -> str:
    job = view.job
    gpus = named(job.gpu_indices) if job.gpu_indices else "no GPUs yet"
    line = f"job {job.id}  {job.state.value:<9}  {gpus}"
    if view.losses:
        line += f"  step {view.step}/{view.steps or '?'}  loss {view.losses[-1]:.3f}"
    return line


def _refresh(client: Client, views: list[RunView]) -> None:
    for view in views:
        if view.job.state.is_final:
            continue
        view.job = client.job(view.job.id)
        try:
            points = client.metrics(view.job.id).points
            lines = client.log_lines(view.job.id, first=-LOG_LINES, count=LOG_LINES).lines
        except BerthError:
            continue  # nothing written yet
        view.losses = [loss for point in points if (loss := point.get("loss")) is not None]
        for point in points:
            view.step = max(view.step, int(point.get("step") or 0))
            view.steps = int(point.get("max_steps") or view.steps)
        view.tail = [strip(shown(line)) for line in lines]


def _screen(box: Box, views: list[RunView], seconds: float) -> RenderableType:
    runs = Table.grid(expand=True, padding=(0, 1, 0, 0))
    for _ in views:
        runs.add_column(ratio=1)
    runs.add_row(*(_run(view) for view in views))
    kind = "simulated" if box.source == "simulated" else "real"
    head = Text.assemble(
        ("Berth ", "bold"),
        f"{len(box.gpus)} {kind} GPUs · {message(box.sentence_parts, box.sentence)} · {seconds:.0f} s",
    )
    colours = {view.job.id: view.colour for view in views}
    return Group(head, _map(box, colours), runs)


def _map(box: Box, colours: dict[int, str]) -> RenderableType:
    table = Table.grid(expand=True, padding=(0, 0))
    for _ in box.gpus:
        table.add_column(ratio=1)
    table.add_row(*(_cell(gpu, colours) for gpu in box.gpus))
    return table


def _cell(gpu: Gpu, colours: dict[int, str]) -> Panel:
    holder = gpu.holder
    held = holder.kind is HolderKind.JOB and holder.job_id is not None
    colour = colours.get(holder.job_id or 0, "white") if held else "dim"
    who = f"job {holder.job_id}" if held else holder.kind.value
    used = gpu.memory_used_bytes
    memory = "" if used is None else f"{used / 2**30:.1f} GiB"
    return Panel(Text(f"{who}\n{memory}", style=colour), title=f"GPU {gpu.index}", style=colour)


def _run(view: RunView) -> Panel:
    job = view.job
    head = Text(f"{job.state.value}  GPUs {ranges(job.gpu_indices) or '—'}")
    if job.attempts and job.attempts[-1].master_port:
        head.append(f"  port {job.attempts[-1].master_port}", style="dim")
    bar = ProgressBar(total=max(view.steps, 1), completed=view.step, style="dim")
    loss = Text("loss  —", style="dim")
    if view.losses:
        loss = Text(f"loss {view.losses[-1]:.3f}  {sparkline(view.losses, 30)}", style="bold")
    lines = (view.tail + [""] * LOG_LINES)[:LOG_LINES]
    log = Text("\n".join(lines), style="dim", no_wrap=True, overflow="ellipsis")
    title = f"job {job.id}  {job.labels.get('ablation', '')}  {job.name}"
    return Panel(Group(head, bar, loss, log), title=title, border_style=view.colour)


def sparkline(values: list[float], width: int) -> str:
    """The last `width` values as a line of bars, lowest to highest."""
    last = values[-width:]
    low, high = min(last), max(last)
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BARS[round((value - low) * scale)] for value in last)
