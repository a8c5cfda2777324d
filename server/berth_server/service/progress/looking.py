"""Looking at the files of all running attempts, each as often as it may matter."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

import structlog

from berth.commands import CommandError
from berth.protocol.states import AttemptState
from berth_server.core.progress.work import Work
from berth_server.service.jobs.check import read_command
from berth_server.service.progress.beliefs import AttemptKey, Belief, Signs
from berth_server.service.progress.reader import AttemptReader
from berth_server.service.state import ServerState
from berth_server.store import jobs
from berth_server.store.records import AttemptRecord, JobRecord

log = structlog.get_logger()

_YOUNG_S = 600.0
_OLD_PERIOD_S = 10.0


@dataclass
class _Watched:
    reader: AttemptReader
    next_at: float = 0.0


class ProgressLooks:
    """The readers of all running attempts. `due` belongs on the loop, `look` on a thread."""

    def __init__(self) -> None:
        self._watched: dict[AttemptKey, _Watched] = {}

    def due(self, server: ServerState, now: float) -> list[AttemptKey]:
        """The attempts whose files should be looked at now; those that ended are forgotten."""
        running = {
            key: record
            for key, record in server.cache.alive.items()
            if record.state == AttemptState.RUNNING.value
        }
        server.progress.keep(running.keys())
        for key in [key for key in self._watched if key not in running]:
            del self._watched[key]
        new = {key: record for key, record in running.items() if key not in self._watched}
        owners = jobs.by_ids(server.db.read, {key[0] for key in new}) if new else []
        by_id = {owner.id: owner for owner in owners}
        for key, record in new.items():
            if key[0] in by_id:
                self._watched[key] = _Watched(_reader(record, by_id[key[0]]))
        due = [key for key, one in self._watched.items() if one.next_at <= now]
        for key in due:
            age_s = now - (running[key].started_at or now)
            self._watched[key].next_at = now if age_s < _YOUNG_S else now + _OLD_PERIOD_S
        return due

    def signs(self, keys: list[AttemptKey]) -> dict[AttemptKey, Signs]:
        """Signs of life of these attempts, as of the last look."""
        return {key: self._watched[key].reader.signs for key in keys if key in self._watched}

    def look(self, keys: list[AttemptKey], now: float) -> list[tuple[AttemptKey, Belief | None]]:
        """Read on in the files of these attempts. One that cannot be read keeps none from it."""
        found: list[tuple[AttemptKey, Belief | None]] = []
        for key in keys:
            watched = self._watched.get(key)
            if watched is None:
                continue
            try:
                found.append((key, watched.reader.look(now)))
            except Exception:
                log.exception("progress.not_read", job=key[0], attempt=key[1])
                found.append((key, None))
        return found


def _reader(record: AttemptRecord, owner: JobRecord) -> AttemptReader:
    command = owner.spec.command
    text = shlex.join(command) if isinstance(command, list) else command or owner.spec.script or ""
    return AttemptReader(record.run_dir, owner.uid, text, Work.decode(owner.work), _script(owner))


def _script(owner: JobRecord) -> str | None:
    """Path of the script that a job runs; None where it cannot be known."""
    try:
        view = read_command(owner.spec.command, owner.spec.script)
    except CommandError:
        return None
    return None if view.script_path is None else str(Path(owner.workdir, view.script_path))
