"""Metrics of runs, read from `metrics.jsonl`, else from lines of the log."""

from __future__ import annotations

import functools
import re
from math import nan
from typing import TYPE_CHECKING, Any, Literal, cast

from berth import jobfiles
from berth.protocol.metrics import MetricPoint, Metrics
from berth_server.service.jobs import lookup
from berth_server.service.logs.buckets import extremes_of
from berth_server.service.logs.pages import LOG_NAME
from berth_server.service.logs.tail import TailReader
from berth_server.service.state import ServerState

if TYPE_CHECKING:
    from berth_server.store.records import AttemptRecord

METRICS_NAME = "metrics.jsonl"
# Of longer files the last part is read: what a run does now matters most.
_READ_LIMIT = 32 << 20
# The transformers Trainer prints {'loss': 2.31, 'epoch': 0.1}, nan among it. Longer ones are
# something else, and nobody may have the server read a line for a minute.
_PRINTED = re.compile(rb"\{'[\w/. -]{1,200}': [^{}\n]{0,4000}\}")
_ITEM = re.compile(
    r"""\s*(?:'(?P<name>[^'\\]*)'|"(?P<other>[^"\\]*)")\s*:\s*
        (?:'(?P<text>[^'\\]*)'|"(?P<quoted>[^"\\]*)"|(?P<bare>[-+.\w]+)|\[[^\[\]]*\]|\([^()]*\))
        \s*(?:,|$)""",
    re.VERBOSE,
)
_WORDS = {"None": None, "True": True, "False": False}
_MOST_NAMES = 500
# An answer is bounded by its numbers: more points with few metrics, fewer with many.
_MOST_NUMBERS = 200_000
_GAP = re.compile(r"[+-]?(nan|inf(inity)?)", re.IGNORECASE)
_NAME_LENGTH = 200
_BESIDE = frozenset({"step", "time"})

Source = Literal["metrics.jsonl", "log", "none"]


def read_metrics(job_id: int, record: AttemptRecord | None, uid: int, max_points: int) -> Metrics:
    """Return an attempt's curve, thinned to `max_points`. Reads files; run it on a thread."""
    source: Source = "none"
    points: list[MetricPoint] = []
    if record is not None:
        source, points = _points(record.run_dir, uid)
    names, points = _bounded(points)
    max_points = max(1, min(max_points, _MOST_NUMBERS // max(1, len(names))))
    return Metrics(
        job_id=job_id,
        attempt=record.id if record is not None else None,
        source=source,
        names=names,
        points=thinned(points, max_points),
        total=len(points),
    )


def _bounded(points: list[MetricPoint]) -> tuple[list[str], list[MetricPoint]]:
    """Return the names of the metrics, the first 500 of them, and the points with those alone."""
    found: dict[str, None] = {}
    for point in points:
        found.update(dict.fromkeys(point))
    names = [name for name in found if name not in _BESIDE]
    if len(names) <= _MOST_NAMES:
        return sorted(names), points
    kept = {*names[:_MOST_NAMES], *_BESIDE}
    return sorted(names[:_MOST_NAMES]), [
        {name: value for name, value in point.items() if name in kept} for point in points
    ]


def metrics_of(
    server: ServerState, job_id: int, number: int | None
) -> tuple[AttemptRecord | None, int]:
    """Return the attempt whose curve is asked for, and the uid of its job. Raises NotFound."""
    record = lookup.attempt(server.db.read, job_id, number)
    return record, lookup.job(server.db.read, job_id).uid


def thinned(points: list[MetricPoint], most: int) -> list[MetricPoint]:
    """
    Return at most `most` of the points: the ends, the extremes of each metric, then evenly chosen.

    The least, the greatest and the first missing value of each metric are always among them, as
    far as `most` allows; where it allows more, those of each stretch of the curve. Of what is
    left half goes to points with metrics that few others have (an evaluation every hundred
    steps), the rest to all evenly.
    """
    if len(points) <= most:
        return points
    if most <= 1:
        return points[-1:] if most else []
    columns = _columns(points)
    kept = {0, len(points) - 1}
    stretches = max(1, most // 2 // (3 * max(1, len(columns))))
    for rows, values in columns.values():
        # Its own ends are chosen evenly; they are no extremes.
        found = extremes_of(values, 3 * stretches + 2)[1:-1]
        kept.update(rows[i] for i in found[: max(0, most - len(kept))])
    few = {name for name, (rows, _) in columns.items() if len(rows) * 4 < len(points)}
    rare = [i for i, point in enumerate(points) if not few.isdisjoint(point)] if few else []
    kept.update(_evenly([i for i in rare if i not in kept], (most - len(kept)) // 2))
    every = list(range(len(points)))
    kept.update(_evenly(every, most - len(kept) + 2)[: max(0, most - len(kept) + 2)])
    others = [i for i in every if i not in kept]
    return [points[i] for i in sorted(kept | set(_evenly(others, most - len(kept))))]


def _columns(points: list[MetricPoint]) -> dict[str, tuple[list[int], list[float]]]:
    """Return of each metric the points that have it, and its values with NaN for a gap."""
    columns: dict[str, tuple[list[int], list[float]]] = {}
    for i, point in enumerate(points):
        for name, value in point.items():
            if name not in _BESIDE:
                rows, values = columns.setdefault(name, ([], []))
                rows.append(i)
                values.append(nan if value is None else value)
    return columns


def _evenly(places: list[int], most: int) -> list[int]:
    if len(places) <= most:
        return places
    if most <= 1:
        return places[-1:] if most else []
    last = len(places) - 1
    return [places[round(i * last / (most - 1))] for i in range(most)]


def _points(run_dir: str, uid: int) -> tuple[Source, list[MetricPoint]]:
    data = _end_of(run_dir, METRICS_NAME, uid)
    if data:
        points = [p for line in data.splitlines() if (p := json_point(line)) is not None]
        if points:
            return "metrics.jsonl", points
    points = printed_points(_end_of(run_dir, LOG_NAME, uid))
    return ("log", points) if points else ("none", [])


def _end_of(run_dir: str, name: str, uid: int) -> bytes:
    reader = TailReader(_READ_LIMIT)
    return reader.lines(run_dir, name, uid) + reader.rest


def printed_points(log: bytes) -> list[MetricPoint]:
    """Return the points that trainers printed as dictionaries among other lines."""
    return [p for match in _PRINTED.findall(log) if (p := _printed_point(match)) is not None]


def json_point(line: bytes) -> MetricPoint | None:
    """Return the point of a line of `metrics.jsonl`; None for nonsense."""
    # None for a line that is being written, too.
    return point_of(jobfiles.json_object(line))


def _printed_point(text: bytes) -> MetricPoint | None:
    found = _literal(text[1:-1].decode("utf-8", "replace"))
    if found is None:
        return None
    point = point_of(found)
    # Other dictionaries are printed too; a metric has a name that says so.
    if point is None or not any("loss" in name or name == "step" for name in point):
        return None
    if "step" not in point and "epoch" in point:
        point["step"] = point["epoch"]
    return point


def _literal(inside: str) -> dict[str, object] | None:
    """Return names and simple values of a printed dictionary; None where it holds anything else."""
    found: dict[str, object] = {}
    place = 0
    while place < len(inside):
        item = _ITEM.match(inside, place)
        if item is None:
            return found if not inside[place:].strip() else None
        place = item.end()
        bare = item["bare"]
        value: object = item["text"] if item["text"] is not None else item["quoted"]
        if bare is not None:
            value = _WORDS.get(bare, bare)
            if isinstance(value, str) and jobfiles.finite(value) is None and not _is_gap(value):
                return None
        elif value is None:
            continue  # a list or a tuple, which is no metric
        found[item["name"] if item["name"] is not None else item["other"]] = value
    return found


def point_of(found: object) -> MetricPoint | None:
    """Return the numbers of one level, and of dictionaries one level below as `name/key`."""
    if not isinstance(found, dict):
        return None
    point: MetricPoint = {}
    for name, value in cast("dict[object, Any]", found).items():
        if isinstance(value, dict):
            for key, inner in cast("dict[object, Any]", value).items():
                _put(point, clean_name(f"{name}/{key}"), inner)
        else:
            _put(point, clean_name(str(name)), value)
    return point or None


@functools.lru_cache(maxsize=4096)
def clean_name(name: str) -> str:
    """Return a metric's name as it is shown."""
    return jobfiles.line(name, _NAME_LENGTH)


def _put(point: MetricPoint, name: str, value: object) -> None:
    number = jobfiles.finite(value)  # newer trainers print their numbers as text
    # A number that is not finite is a gap in the curve; what is no number is left out.
    if number is not None or value is None or _is_gap(value):
        point[name] = number


def _is_gap(value: object) -> bool:
    if isinstance(value, str):
        return _GAP.fullmatch(value.strip()) is not None
    return isinstance(value, int | float) and not isinstance(value, bool)
