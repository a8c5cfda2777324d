"""Verb `berth gpus`: the holder of each GPU; drain, undrain, reserve."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

from berth.cli import text
from berth.cli.declare import Option
from berth.cli.durations import moment
from berth.cli.gpu_list import GpuNames, gpu_names
from berth.cli.session import AsJson, connect, print_json
from berth.cli.table import Cell, Column, render
from berth.cli.verbs.box.reserve import reservation_lines, whom
from berth.gpunames import ranges

if TYPE_CHECKING:
    from berth.protocol.gpus import Box, Gpu, Holder

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


def gpus(*, as_json: AsJson = False) -> None:
    """Show the holder of each GPU, until when it holds it, and how busy it is."""
    with connect() as client:
        box = client.gpus()
    if as_json:
        print_json(box)
    else:
        print(rendered(box))


def drain(
    gpu: GpuNames,
    *,
    reason: Annotated[
        str | None, Option(metavar="TEXT", help="Reason, shown to all users.")
    ] = None,
    until: Annotated[
        str | None,
        Option(
            metavar="WHEN",
            help="End of the drain: 18:00, 2026-11-26T18:00, or 2h from now; default: until undrained.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Start no new jobs on GPUs; running jobs continue."""
    end = moment(until) if until else None
    with connect() as client:
        drained = [client.drain(name, reason, until=end) for name in gpu_names(gpu)]
    when = f" until {text.clock(end)}" if end else ""
    _report(drained, f"accepts no new job{when}", as_json=as_json)


def undrain(gpu: GpuNames, *, as_json: AsJson = False) -> None:
    """Allow new jobs on GPUs again."""
    with connect() as client:
        undrained = [client.undrain(name) for name in gpu_names(gpu)]
    _report(undrained, "accepts jobs again", as_json=as_json)


def rendered(box: Box) -> str:
    """Render the box: a sentence, a table, facts about the box."""
    lines = [text.style(text.message(box.sentence_parts, box.sentence), "bold")]
    if box.stale and box.taken_at:
        seen = f"; last seen {text.ago(box.taken_at)}"
        lines.append(
            text.style(f"The worker is not reporting{seen}; start it with `berth up`.", "red")
        )
    if box.gpus:
        lines.append(render(_COLUMNS, [row for alike in _alike(box) for row in _rows(alike)]))
    lines += _alerts(box)
    lines += reservation_lines(box)
    facts = [
        f"fence: {box.fence.value}" if box.fence else "",
        f"devices: {box.source}" if box.source else "",
        f"{'Slurm' if box.source == 'slurm' else 'driver'} {box.driver_version}"
        if box.driver_version
        else "",
    ]
    known = ", ".join(fact for fact in facts if fact)
    if known:
        lines.append(text.style(f"{box.hostname}: {known}", "dim"))
    return "\n".join(lines)


def _alerts(box: Box) -> list[str]:
    """Alerts of the jobs on the GPUs, each sentence once."""
    found: dict[str, None] = {}
    for gpu in box.gpus:
        for holder in gpu.holders:
            for sentence in text.messages(holder.alerts_parts, holder.alerts):
                found[text.style(f"job {holder.job_id}: {sentence}", "yellow")] = None
    return list(found)


def _alike(box: Box) -> list[list[Gpu]]:
    """The GPUs row by row: those of one node of a cluster that no job holds and that are alike."""
    rows: list[list[Gpu]] = []
    for gpu in box.gpus:
        before = rows[-1][0] if rows else None
        if before is not None and _what(before) == _what(gpu) is not None:
            rows[-1].append(gpu)
        else:
            rows.append([gpu])
    return rows


def _what(gpu: Gpu) -> tuple[str, ...] | None:
    if gpu.node is None or gpu.holder.kind.value == "job":
        return None
    return gpu.node, gpu.name, *_holder(gpu)


def _rows(alike: list[Gpu]) -> list[list[Cell]]:
    """One row per GPU; under it one per holder that shares it, and per process beside a job."""
    gpu = alike[0]
    beside = [_share_row(holder) for holder in gpu.beside]
    if gpu.memory_leased_bytes is None:
        return [_row(alike, _holder(gpu), gpu.holder), *beside]
    left = gpu.memory_total_bytes - gpu.memory_leased_bytes
    sharing = text.plural(len(gpu.holders), "job")
    words = f"shared by {sharing}, {text.size(left)} left{_drain_words(gpu)}"
    return [
        _row([gpu], (words, _STYLES["job"]), None),
        *(_share_row(holder) for holder in gpu.holders),
        *beside,
    ]


def _share_row(holder: Holder) -> list[Cell]:
    used = "-" if holder.memory_used_bytes is None else _gib(holder.memory_used_bytes)
    part = "" if holder.memory_bytes is None else f"/{_gib(holder.memory_bytes)}"
    return [
        "",
        "",
        (f"  {_job(holder)}", _STYLES.get(holder.kind.value, "")),
        _left(holder),
        f"{used}{part} GiB",
        "",
        "",
        "",
    ]


def _name(alike: list[Gpu]) -> str:
    numbers = ranges(tuple(gpu.index for gpu in alike))
    node = alike[0].node
    if node is None:
        return numbers
    on_node = ranges(tuple(gpu.node_index for gpu in alike if gpu.node_index is not None))
    return f"{node}:{on_node} {numbers:>3}"


def _memory(gpu: Gpu) -> str:
    used = "-" if gpu.memory_used_bytes is None else _gib(gpu.memory_used_bytes)
    return f"{used}/{_gib(gpu.memory_total_bytes) if gpu.memory_total_bytes else '-'} GiB"


def _row(alike: list[Gpu], who: tuple[str, str], holder: Holder | None) -> list[Cell]:
    gpu = alike[0]
    return [
        _name(alike),
        gpu.name.removeprefix("NVIDIA "),
        who,
        _left(holder),
        _memory(gpu),
        "-" if gpu.utilization_percent is None else f"{gpu.utilization_percent}%",
        "-" if gpu.temperature_c is None else f"{gpu.temperature_c}C",
        _power(gpu),
    ]


def _holder(gpu: Gpu) -> tuple[str, str]:
    holder = gpu.holder
    kind = holder.kind.value
    if kind == "job":
        words = _job(holder)
    elif kind == "free":
        words = "free"
    else:
        words = text.message(holder.sentence_parts, holder.sentence)
    if gpu.draining:
        words = f"{words}{_drain_words(gpu)}" if kind != "free" else _drain_words(gpu)[2:]
        return words, "magenta" if kind == "free" else _STYLES.get(kind, "")
    mine = next((one for one in gpu.reservations if one.active), None)
    if kind == "free" and mine is not None:
        return f"free, reserved for {whom(mine)}", "magenta"
    return words, _STYLES.get(kind, "")


def _job(holder: Holder) -> str:
    if holder.kind.value != "job":
        return text.message(holder.sentence_parts, holder.sentence)
    who = f"job {holder.job_id} {holder.job_name or ''}".rstrip()
    return f"{who} ({holder.user})" if holder.user else who


def _left(holder: Holder | None) -> str:
    """The time left: by its own progress where that tells, with a `~`, else by its time limit."""
    if holder is None:
        return ""
    left = None if holder.until is None else holder.until - datetime.now(UTC)
    left_s = holder.progress.seconds_left if holder.progress is not None else None
    if left_s is not None and (left is None or timedelta(seconds=left_s) < left):
        return f"~{text.about(timedelta(seconds=left_s))}"
    return "" if left is None else text.span(left)


def _drain_words(gpu: Gpu) -> str:
    if not gpu.draining:
        return ""
    until = f" until {text.clock(gpu.drain_until)}" if gpu.drain_until else ""
    reason = f": {gpu.drain_reason}" if gpu.drain_reason else ""
    return f", draining{until}{reason}"


def _power(gpu: Gpu) -> str:
    if gpu.power_w is None:
        return "-"
    limit = f"/{gpu.power_limit_w:.0f}" if gpu.power_limit_w else ""
    return f"{gpu.power_w:.0f}{limit} W"


def _gib(count: int) -> str:
    value = count / 1024**3
    return f"{value:.0f}" if value >= 10 or value == 0 else f"{value:.1f}"


def _report(changed: list[Gpu], what: str, *, as_json: bool) -> None:
    if as_json:
        print_json(changed[0] if len(changed) == 1 else changed)
        return
    for gpu in changed:
        holder = text.message(gpu.holder.sentence_parts, gpu.holder.sentence)
        busy = "" if gpu.holder.kind.value == "free" else f"; on it now: {holder}"
        print(f"GPU {gpu.index} {what}{busy}.")
