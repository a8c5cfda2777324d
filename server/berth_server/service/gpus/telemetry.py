"""
GPU telemetry: a ring file of fixed size per GPU and resolution, beside the database.

A ring is a file of records, the place of a record given by its time: writing one costs 12 bytes,
nothing is ever moved or deleted, and what is older than the ring is overwritten. Losing the last
seconds to a power cut does no harm, so nothing here is synced.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from berth.protocol.dashboard import GpuHistory, GpuSeries
from berth.protocol.gpus import BoxSnapshot, GpuSnapshot

# Time (unix seconds), utilisation (%), temperature (°C), power (W), memory (MiB).
_RECORD = struct.Struct("<IBBHI")
_LOAD = struct.Struct("<IB7x")
"""Time and utilisation of the same record."""
_NOTHING = (0xFF, 0xFF, 0xFFFF, 0xFFFFFFFF)
_MIB = 1 << 20
_POWER_POINTS = 1000
Key = tuple[int, int]
Values = tuple[float | None, float | None, float | None, float | None]
_ABSENT: Values = (None, None, None, None)


@dataclass(frozen=True)
class Ring:
    """A resolution: seconds per record, and how many records are kept."""

    step_s: int
    slots: int

    @property
    def reach_s(self) -> int:
        """Seconds that it goes back."""
        return self.step_s * self.slots


FINE = Ring(5, 17_280)
COARSE = Ring(120, 21_600)


@dataclass
class _Bucket:
    """Samples of the present step of the coarse ring."""

    slot: int
    sums: list[float] = field(default_factory=lambda: [0.0] * 4)
    counts: list[int] = field(default_factory=lambda: [0] * 4)

    def add(self, values: Values) -> None:
        for i, value in enumerate(values):
            if value is not None:
                self.sums[i] += value
                self.counts[i] += 1

    def mean(self) -> Values:
        first, second, third, fourth = (
            s / n if n else None for s, n in zip(self.sums, self.counts, strict=True)
        )
        return first, second, third, fourth


class GpuTelemetry:
    """Writes and reads the rings under one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._buckets: dict[str, _Bucket] = {}

    def take(self, snapshot: BoxSnapshot, now: float) -> None:
        """Remember what the worker saw; called every five seconds."""
        self._folder.mkdir(mode=0o755, exist_ok=True)
        for gpu in snapshot.gpus:
            values = _values(gpu)
            self._write(gpu.uuid, FINE, now, values)
            slot = int(now) // COARSE.step_s
            bucket = self._buckets.get(gpu.uuid)
            if bucket is None or bucket.slot != slot:
                bucket = self._buckets[gpu.uuid] = _Bucket(slot)
            bucket.add(values)
            self._write(gpu.uuid, COARSE, now, bucket.mean())

    def read(
        self, uuids: Sequence[str], span: tuple[float, float], points: int, *, now: float
    ) -> GpuHistory:
        """Samples of a span of time in at most `points` even steps. Reads files."""
        start, end = span
        ring = FINE if start > now - FINE.reach_s else COARSE
        first = int(max(start, now - ring.reach_s + ring.step_s)) // ring.step_s
        last = max(first, int(min(end, now)) // ring.step_s)
        width = -(-(last - first + 1) // points)
        places = range(first, last + 1, width)
        series: dict[str, GpuSeries] = {}
        for uuid in uuids:
            records = self._records(uuid, ring, first, last)
            rows = [_mean(records, place, min(place + width, last + 1)) for place in places]
            series[uuid] = GpuSeries(
                utilization_percent=[_rounded(row[0]) for row in rows],
                temperature_c=[_rounded(row[1]) for row in rows],
                power_w=[_rounded(row[2]) for row in rows],
                memory_used_bytes=[None if r[3] is None else int(r[3] * _MIB) for r in rows],
            )
        return GpuHistory(
            times=[datetime.fromtimestamp(place * ring.step_s, UTC) for place in places],
            step_s=float(width * ring.step_s),
            gpus=series,
        )

    def loads(self, uuid: str, first: int, last: int) -> list[int | None]:
        """
        Utilisation (%) by step of the coarse ring, from step `first` to `last`; None where nothing
        was seen. At most the ring's length. Reads a file.
        """
        size, slots = _RECORD.size, COARSE.slots
        try:
            data = self._path(uuid, COARSE).read_bytes()
        except FileNotFoundError:
            return [None] * (last - first + 1)
        data = data.ljust(size * slots, b"\0")
        begin, stop = first % slots * size, (last % slots + 1) * size
        data = data[begin:stop] if begin < stop else data[begin:] + data[:stop]
        return [
            load if time == slot * COARSE.step_s and load != _NOTHING[0] else None
            for slot, (time, load) in enumerate(_LOAD.iter_unpack(data), first)
        ]

    def _path(self, uuid: str, ring: Ring) -> Path:
        return self._folder / f"{re.sub(r'[^A-Za-z0-9-]', '_', uuid)}.{ring.step_s}s"

    def _write(self, uuid: str, ring: Ring, now: float, values: Values) -> None:
        slot = int(now) // ring.step_s
        record = _RECORD.pack(slot * ring.step_s, *_packed(values))
        handle = os.open(self._path(uuid, ring), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.pwrite(handle, record, slot % ring.slots * _RECORD.size)
        finally:
            os.close(handle)

    def _records(self, uuid: str, ring: Ring, first: int, last: int) -> dict[int, Values]:
        """Slot number to values, for those that were written in this turn of the ring."""
        try:
            data = self._path(uuid, ring).read_bytes()
        except FileNotFoundError:
            return {}
        found: dict[int, Values] = {}
        for slot in range(first, last + 1):
            place = slot % ring.slots * _RECORD.size
            if place + _RECORD.size > len(data):
                continue
            time, *packed = _RECORD.unpack_from(data, place)
            if time == slot * ring.step_s:
                found[slot] = _unpacked(packed)
        return found


def most_power(
    history: GpuTelemetry, held: Mapping[Key, tuple[Sequence[str], float]], now: float
) -> dict[Key, list[float]]:
    """Return the most power (W) that the GPUs of each holder drew since it has them. Reads files."""
    found: dict[Key, list[float]] = {}
    for key, (uuids, since) in held.items():
        # A record of the coarse ring may begin with what was there before.
        span = (min(now, since + COARSE.step_s), now)
        series = history.read(uuids, span, _POWER_POINTS, now=now).gpus
        found[key] = [max((w or 0.0 for w in series[uuid].power_w), default=0.0) for uuid in uuids]
    return found


def _values(gpu: GpuSnapshot) -> Values:
    used = gpu.memory_used_bytes
    memory = None if used is None else used / _MIB
    return gpu.utilization_percent, gpu.temperature_c, gpu.power_w, memory


def _packed(values: Values) -> list[int]:
    return [
        nothing if value is None else min(nothing - 1, max(0, round(value)))
        for value, nothing in zip(values, _NOTHING, strict=True)
    ]


def _unpacked(packed: Sequence[int]) -> Values:
    first, second, third, fourth = (
        None if value == nothing else float(value)
        for value, nothing in zip(packed, _NOTHING, strict=True)
    )
    return first, second, third, fourth


def _mean(records: dict[int, Values], first: int, stop: int) -> Values:
    if stop - first == 1:
        return records.get(first, _ABSENT)
    bucket = _Bucket(first)
    for slot in range(first, stop):
        if slot in records:
            bucket.add(records[slot])
    return bucket.mean()


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
