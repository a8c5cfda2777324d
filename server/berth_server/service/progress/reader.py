"""Reading the progress of one attempt: what it reports, else what its log shows."""

from __future__ import annotations

import os
import re
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

from berth import launcher_files
from berth.protocol.progress import ProgressSource
from berth_server.core.progress import links
from berth_server.core.progress.links import Link
from berth_server.core.progress.losses import Losses
from berth_server.core.progress.pace import Left, Pace
from berth_server.core.progress.reading import COUNTDOWN, LogReading, Position
from berth_server.core.progress.reported import Reported
from berth_server.core.progress.stalls import Steps
from berth_server.core.progress.work import Work
from berth_server.service.errors import Forbidden
from berth_server.service.jobs.permissions import Access
from berth_server.service.logs.metrics import METRICS_NAME, json_point
from berth_server.service.logs.pages import LOG_NAME
from berth_server.service.logs.run_files import open_run_file
from berth_server.service.logs.tail import TailReader
from berth_server.service.progress.beliefs import Belief, Signs

PROGRESS_NAME = "progress.json"
LINKS_NAME = "links.json"
# Of more new bytes than this in one look only the last are read, and of a log its beginning.
_MOST_LOG_BYTES = 1 << 19
_MOST_METRICS_BYTES = 1 << 18
_MOST_POINTS = 400
_MOST_PROGRESS_BYTES = 1 << 12
_MOST_LINKS_BYTES = 1 << 15
_MOST_PACES = 8
_TAIL_BYTES = 1000
_EPOCH_LOOP = re.compile(
    r"^\s*for\s+(?:\w*(?:epoch|ep\b)\w*\s+in\b|\w+\s+in\s+t?range\(.*epochs)",
    re.IGNORECASE | re.MULTILINE,
)
_NO_SIGNS = Signs(None, None, diverged=False)
# A program that reports, and goes on in its log without, is not heard any more.
_OUTDATED_S = 600.0


@dataclass
class AttemptReader:
    """Positions in the files of one attempt, and what was read there."""

    run_dir: str
    uid: int
    command: str = field(repr=False)
    work: Work | None = None
    script: str | None = None
    """Path of the script that it runs, where that is known."""
    _log_tail: TailReader = field(default_factory=lambda: TailReader(_MOST_LOG_BYTES))
    _metrics_tail: TailReader = field(default_factory=lambda: TailReader(_MOST_METRICS_BYTES))
    _links: dict[str, Link] = field(default_factory=dict[str, Link])
    _losses: Losses = field(default_factory=Losses)
    _wrote_at: float | None = None
    _tail: bytes = field(default=b"", repr=False)
    signs: Signs = _NO_SIGNS
    """As of the last look."""
    _metrics: Reported = field(default_factory=Reported)
    _jobside: Reported = field(default_factory=Reported)
    _paces: OrderedDict[tuple[object, ...], Pace] = field(default_factory=OrderedDict)

    def __post_init__(self) -> None:
        """Take what the command says of totals."""
        self._loops: bool | None = None
        self._epochs: int | None = None
        self._reading = self._fresh()

    def look(self, now: float) -> Belief | None:
        """Read on and return how far the attempt is; None where nothing tells. Never raises."""
        if self._loops is None:
            text = self._script_text()
            self._loops = _EPOCH_LOOP.search(text) is not None
            self._reading.loops_over_epochs = self._loops
            self._reading.totals.read_script(text)
            self._epochs = self._reading.totals.epochs_in_script
        self._read_jobside()
        self._read_metrics()
        self._read_log(now)
        self._keep(links.reported(self._small(LINKS_NAME, _MOST_LINKS_BYTES)[0]))
        position = self._reading.position()
        reported: list[tuple[ProgressSource, Position | None, Left | None]] = [
            ("jobside", self._jobside.position, self._jobside.left(now)),
            ("metrics.jsonl", self._metrics.position, self._metrics.left(now)),
            ("log", position, self._log_left(position, now)),
        ]
        newest = max((at.at for _, at, _ in reported if at is not None), default=0.0)
        known: list[tuple[ProgressSource, Position, Left | None]] = [
            (source, at, left)
            for source, at, left in reported
            if at is not None and (newest - at.at < _OUTDATED_S or left is not None)
        ]
        # What a script reports by itself counts; else one with a time left before one without.
        known.sort(key=lambda one: (one[0] != "jobside", one[2] is None))
        source, at, left = known[0] if known else ("log", None, None)
        self.signs = Signs(
            self._steps(source, at),
            self._wrote_at,
            diverged=self._losses.diverged,
            tail=self._tail.decode("utf-8", "replace"),
            links=tuple(self._links.values()),
        )
        if at is None:
            return None
        return Belief(source, at, left, now)

    def _steps(self, source: ProgressSource, at: Position | None) -> Steps | None:
        """Steps by the source that is believed."""
        if source == "jobside":
            return self._jobside.steps()
        if source == "metrics.jsonl":
            return self._metrics.steps()
        pace = None if at is None else self._paces.get(at.key)
        return None if pace is None else pace.steps()

    def _log_left(self, position: Position | None, now: float) -> Left | None:
        if position is None or not position.sure:
            return None
        if position.key == (COUNTDOWN,):
            return self._reading.countdown.left(now)
        pace = self._paces.get(position.key)
        return None if pace is None else pace.left(now)

    def _fresh(self) -> LogReading:
        reading = LogReading()
        reading.totals.read_command(self.command)
        reading.totals.read_work(self.work)
        # What the script says of epochs, which its log need not name.
        reading.loops_over_epochs = bool(self._loops)
        reading.totals.epochs_in_script = self._epochs
        return reading

    def _script_text(self) -> str:
        if self.script is None:
            return ""
        access = Access(self.uid)
        return launcher_files.script(self.script, lambda opened: access.may(opened, os.R_OK)) or ""

    def _read_jobside(self) -> None:
        data, written_at = self._small(PROGRESS_NAME, _MOST_PROGRESS_BYTES)
        if data:
            self._jobside.file(data, written_at)

    def _small(self, name: str, most_bytes: int) -> tuple[bytes, float]:
        """Return the content of a file that the job reports in, and its time; empty without one."""
        try:
            handle = open_run_file(self.run_dir, name, self.uid)
        except Forbidden:
            return b"", 0.0
        if handle is None:
            return b"", 0.0
        try:
            return os.read(handle, most_bytes), os.fstat(handle).st_mtime
        except OSError:
            return b"", 0.0
        finally:
            os.close(handle)

    def _keep(self, found: Iterable[Link]) -> None:
        for link in found:
            if len(self._links) < links.MOST:
                self._links.setdefault(link.url, link)

    def _read_metrics(self) -> None:
        try:
            grown = self._metrics_tail.lines(self.run_dir, METRICS_NAME, self.uid)
        except (Forbidden, OSError):
            return
        total = self._reading.totals.of("step")
        for line in grown.splitlines()[-_MOST_POINTS:]:
            point = json_point(line) if b"step" in line else None
            if point is not None:
                self._metrics.point(point, self._metrics_tail.written_at, total)

    def _read_log(self, now: float) -> None:
        try:
            grown = self._log_tail.grown(self.run_dir, LOG_NAME, self.uid)
        except (Forbidden, OSError):
            return
        if not grown.data:
            return
        if grown.from_start:
            self._reading = self._fresh()
        at = min(now, grown.written_at)
        self._wrote_at, self._tail = at, (self._tail + grown.data[-_TAIL_BYTES:])[-_TAIL_BYTES:]
        self._losses.read(grown.data)
        self._keep(links.of_log(grown.data))
        for position in self._reading.feed(grown.data, at, past=grown.from_start):
            pace = self._paces.get(position.key)
            if pace is None:
                pace = self._paces[position.key] = Pace()
                while len(self._paces) > _MOST_PACES:
                    self._paces.popitem(last=False)
            pace.add(position.at, position.fraction)
