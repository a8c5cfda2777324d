"""Waste of a span of time: GPU-hours that did nothing, by kind, user and job."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Literal

WasteKind = Literal["waiting", "idle", "gang_idle", "lost", "memory"]

IDLE_PERCENT = 5
"""A step of the history with a lower utilisation is idle."""
LEAST_GPU_H = 0.02
"""Less is not worth a line."""
LITTLE_MEMORY = 0.25
"""A GPU of which a job used no more than this part was too large for it."""
_LONG_S = 600.0
_START_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Hold:
    """An attempt's hold on GPUs. Times are unix seconds."""

    job_id: int
    number: int
    name: str
    user: str
    begin: float
    end: float
    gpu_uuids: tuple[str, ...]
    counts: float
    """GPUs that it counts for; a share is its part of one."""
    share: bool = False
    ended_badly: str | None = None
    """Outcome of an end that was not its own success; None otherwise."""
    started_at: float | None = None
    ended_at: float | None = None
    saved_at: float | None = None
    """Its last whole checkpoint."""
    peak_memory_bytes: int | None = None
    gpu_bytes: int = 0
    """Memory of the smallest of its GPUs; 0 where unknown."""


@dataclass(frozen=True, kw_only=True)
class Wait:
    """A time in which only GPUs and limits kept a job from starting."""

    job_id: int
    name: str
    user: str
    gpus: int
    begin: float
    end: float


@dataclass(frozen=True, kw_only=True)
class Loads:
    """Utilisation by GPU and step; None where nothing was seen."""

    step_s: int
    first: int
    """Number of the first step: its begin is `first * step_s`."""
    by_gpu: Mapping[str, Sequence[int | None]]


@dataclass(kw_only=True)
class Waste:
    """One line of the report."""

    kind: WasteKind
    job_id: int
    name: str
    user: str
    gpu_h: float = 0.0
    gpus: int = 0
    """Of `waiting`, those that the job asked for; else those that it held."""
    idle_uuids: tuple[str, ...] = ()
    """Of `gang_idle`, the GPUs that were idle most of that time."""
    outcome: str | None = None
    peak_memory_bytes: int | None = None
    gpu_bytes: int = 0
    saved: bool = False
    """Of `lost`, it had saved a checkpoint."""


@dataclass(kw_only=True)
class Found:
    """The waste of a span."""

    lines: list[Waste] = field(default_factory=list["Waste"])
    held_gpu_h: float = 0.0
    """GPU-hours held in the span."""


def find(
    holds: Sequence[Hold],
    waits: Sequence[Wait],
    loads: Loads,
    *,
    since: float,
    until: float,
    gpus: Sequence[str],
) -> Found:
    """
    Add up the waste between two moments, most first.

    A GPU-hour is counted once: as free while a job waited, or, held, as idle, as idle beside busy
    GPUs of the same job, or as work that was lost. Memory that was asked for and not used is
    counted beside these, since the GPU worked. `gpus` are those that jobs could have had.
    """
    sums = _Sums()
    for hold in holds:
        begin, end = max(hold.begin, since), min(hold.end, until)
        if end <= begin:
            continue
        sums.held_gpu_h += hold.counts * (end - begin) / 3600
        idle_h = _idle(hold, begin, end, loads, sums)
        _lost(hold, since, until, idle_h, sums)
        _memory(hold, begin, end, sums)
    _waiting(holds, waits, (since, until), gpus, sums)
    lines = [one for one in sums.lines.values() if one.gpu_h >= LEAST_GPU_H]
    lines.sort(key=lambda one: (-one.gpu_h, one.job_id, one.kind))
    return Found(lines=lines, held_gpu_h=sums.held_gpu_h)


class _Sums:
    """Lines by kind and job."""

    def __init__(self) -> None:
        self.lines: dict[tuple[WasteKind, int], Waste] = {}
        self.held_gpu_h = 0.0

    def add(self, kind: WasteKind, of: Hold | Wait, gpu_h: float, gpus: int) -> Waste:
        line = self.lines.get((kind, of.job_id))
        if line is None:
            line = Waste(kind=kind, job_id=of.job_id, name=of.name, user=of.user)
            self.lines[kind, of.job_id] = line
        line.gpu_h += gpu_h
        line.gpus = max(line.gpus, gpus)
        return line


def _idle(hold: Hold, begin: float, end: float, loads: Loads, sums: _Sums) -> float:
    """Count the steps wholly within in which all of its GPUs, or some, had no work; return GPU-hours."""
    first = max(loads.first, -int(-begin // loads.step_s))
    stop = int(end // loads.step_s)
    columns = [(uuid, loads.by_gpu[uuid]) for uuid in hold.gpu_uuids if uuid in loads.by_gpu]
    alone: defaultdict[str, int] = defaultdict(int)
    together = 0
    for place in range(first - loads.first, stop - loads.first):
        seen = [(uuid, load) for uuid, column in columns if (load := column[place]) is not None]
        idle = [uuid for uuid, load in seen if load < IDLE_PERCENT]
        if len(idle) == len(seen):
            together += len(idle)
        else:
            for uuid in idle:
                alone[uuid] += 1
    step_h = loads.step_s / 3600 * hold.counts / max(1, len(hold.gpu_uuids))
    if together:
        sums.add("idle", hold, together * step_h, len(hold.gpu_uuids))
    if alone:
        line = sums.add("gang_idle", hold, sum(alone.values()) * step_h, len(hold.gpu_uuids))
        # Those that were idle for most of that time, not for a moment.
        often = max(alone.values()) / 2
        line.idle_uuids = tuple(uuid for uuid in hold.gpu_uuids if alone[uuid] >= often)
    return (together + sum(alone.values())) * step_h


def _lost(hold: Hold, since: float, until: float, idle_h: float, sums: _Sums) -> None:
    """Count the work between the last checkpoint and an end that was not its own success."""
    if hold.ended_badly is None or hold.ended_at is None or hold.started_at is None:
        return
    begin = max(hold.started_at, hold.saved_at or 0.0, since)
    gpu_h = hold.counts * max(0.0, min(hold.ended_at, until) - begin) / 3600 - idle_h
    if gpu_h > 0:
        line = sums.add("lost", hold, gpu_h, len(hold.gpu_uuids))
        line.outcome, line.saved = hold.ended_badly, hold.saved_at is not None


def _memory(hold: Hold, begin: float, end: float, sums: _Sums) -> None:
    """Count the part of its GPUs' memory that it never used, where that is most of it."""
    peak, total = hold.peak_memory_bytes, hold.gpu_bytes
    if hold.share or peak is None or not total or end - begin < _LONG_S:
        return
    if peak <= LITTLE_MEMORY * total:
        unused = 1 - peak / total
        gpus = len(hold.gpu_uuids)
        line = sums.add("memory", hold, hold.counts * (end - begin) / 3600 * unused, gpus)
        line.peak_memory_bytes = max(peak, line.peak_memory_bytes or 0)
        line.gpu_bytes = total


def _waiting(
    holds: Sequence[Hold],
    waits: Sequence[Wait],
    span: tuple[float, float],
    gpus: Sequence[str],
    sums: _Sums,
) -> None:
    """Count the GPUs that were free while a job waited, for the one that waited longest."""
    since, until = span
    known = set(gpus)
    moves: list[tuple[float, int, Hold | Wait]] = []
    for one in (*holds, *waits):
        # Every start takes a moment.
        begin = max(one.begin + (_START_S if isinstance(one, Wait) else 0.0), since)
        end = min(one.end, until)
        if end > begin:
            moves += [(begin, 1, one), (end, -1, one)]
    moves.sort(key=lambda move: (move[0], move[1]))
    on: defaultdict[str, int] = defaultdict(int)
    taken = 0
    line: list[tuple[float, int, Wait]] = []
    gone: set[int] = set()
    before = since
    for at, way, one in moves:
        while line and line[0][1] in gone:
            gone.discard(heappop(line)[1])
        free = len(known) - taken
        if line and free > 0 and at > before:
            waits_longest = line[0][2]
            gpu_h = free * (at - before) / 3600
            sums.add("waiting", waits_longest, gpu_h, waits_longest.gpus)
        before = at
        if isinstance(one, Wait):
            if way > 0:
                heappush(line, (one.begin, one.job_id, one))
            else:
                gone.add(one.job_id)
            continue
        for uuid in known.intersection(one.gpu_uuids):
            taken -= on[uuid] > 0
            on[uuid] += way
            taken += on[uuid] > 0
