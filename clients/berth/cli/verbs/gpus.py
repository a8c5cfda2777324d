"""`berth gpus`: who is on which card; drain and undrain."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from berth.cli import text
from berth.cli.session import AsJson, connect, print_json
from berth.cli.table import Cell, Column, render

if TYPE_CHECKING:
    from berth.protocol.gpus import Box, Gpu

app = typer.Typer(help="Show who is on which GPU; drain and undrain them.", rich_markup_mode=None)

_STYLES = {
    "free": "green",
    "job": "cyan",
    "outsider": "yellow",
    "leftover": "magenta",
    "unhealthy": "red",
    "unknown": "dim",
}
_COLUMNS = (
    Column("GPU", right=True),
    Column("MODEL", least=6),
    Column("HOLDER", least=16),
    Column("LEFT", right=True),
    Column("MEMORY", right=True),
    Column("UTIL", right=True),
    Column("TEMP", right=True),
    Column("POWER", right=True),
)

GpuNames = Annotated[
    list[str], typer.Argument(metavar="GPU...", help="Index or UUID; several may be named.")
]


@app.callback(invoke_without_command=True)
def gpus(context: typer.Context, *, as_json: AsJson = False) -> None:
    """Show who is on which GPU, until when, and how busy it is."""
    if context.invoked_subcommand is not None:
        return
    with connect() as client:
        box = client.gpus()
    if as_json:
        print_json(box)
    else:
        print(rendered(box))


@app.command()
def drain(
    gpu: GpuNames,
    *,
    reason: Annotated[str | None, typer.Option(help="Why, shown to everybody.")] = None,
    as_json: AsJson = False,
) -> None:
    """Let no new job onto GPUs; what runs there goes on."""
    with connect() as client:
        drained = [client.drain(name, reason) for name in gpu]
    _tell(drained, "takes no new job", as_json=as_json)


@app.command()
def undrain(gpu: GpuNames, *, as_json: AsJson = False) -> None:
    """Let jobs onto GPUs again."""
    with connect() as client:
        undrained = [client.undrain(name) for name in gpu]
    _tell(undrained, "takes jobs again", as_json=as_json)


def rendered(box: Box) -> str:
    """The box as lines: a sentence, a table, what stands behind it."""
    lines = [text.style(text.clean(box.sentence), "bold")]
    if box.stale and box.taken_at:
        seen = f"; last seen {text.ago(box.taken_at)}"
        lines.append(
            text.style(f"The worker does not report{seen}: start it with `berth up`.", "red")
        )
    if box.gpus:
        lines.append(render(_COLUMNS, [_row(gpu) for gpu in box.gpus]))
    facts = [
        f"fence: {box.fence.value}" if box.fence else "",
        f"devices: {box.source}" if box.source else "",
        f"driver {box.driver_version}" if box.driver_version else "",
    ]
    known = ", ".join(fact for fact in facts if fact)
    if known:
        lines.append(text.style(f"{box.hostname}: {known}", "dim"))
    return "\n".join(lines)


def _row(gpu: Gpu) -> list[Cell]:
    return [
        str(gpu.index),
        gpu.name,
        _holder(gpu),
        text.span(gpu.holder.until - datetime.now(UTC)) if gpu.holder.until else "",
        f"{_gib(gpu.memory_used_bytes)}/{_gib(gpu.memory_total_bytes)} GiB",
        "-" if gpu.utilization_percent is None else f"{gpu.utilization_percent}%",
        "-" if gpu.temperature_c is None else f"{gpu.temperature_c}C",
        _power(gpu),
    ]


def _holder(gpu: Gpu) -> tuple[str, str]:
    holder = gpu.holder
    kind = holder.kind.value
    if kind == "job":
        who = f"job {holder.job_id} {holder.job_name or ''}".rstrip()
        words = f"{who} ({holder.user})" if holder.user else who
    elif kind == "free":
        words = "free"
    else:
        words = holder.sentence
    if gpu.draining:
        reason = f": {gpu.drain_reason}" if gpu.drain_reason else ""
        words = f"draining{reason}" if kind == "free" else f"{words}, draining{reason}"
        return words, "magenta" if kind == "free" else _STYLES.get(kind, "")
    return words, _STYLES.get(kind, "")


def _power(gpu: Gpu) -> str:
    if gpu.power_w is None:
        return "-"
    limit = f"/{gpu.power_limit_w:.0f}" if gpu.power_limit_w else ""
    return f"{gpu.power_w:.0f}{limit} W"


def _gib(count: int) -> str:
    value = count / 1024**3
    return f"{value:.0f}" if value >= 10 or value == 0 else f"{value:.1f}"


def _tell(changed: list[Gpu], what: str, *, as_json: bool) -> None:
    if as_json:
        print_json(changed[0] if len(changed) == 1 else changed)
        return
    for gpu in changed:
        busy = "" if gpu.holder.kind.value == "free" else f"; on it now: {gpu.holder.sentence}"
        print(f"GPU {gpu.index} {what}{text.clean(busy)}.")
