"""
Attribution of processes to attempts, and their description for people.

A process is identified by pid and start ticks together: a pid alone may have been reused. An
attempt's processes are the descendants of its shim (the shim is a subreaper, so orphans stay
below it) and, if the shim was killed, every process that carries the attempt's mark in its
environment: `BERTH_ATTEMPT` together with a `BERTH_RUN_DIR` below this Berth's own home, because
several Berths may run on one box. A process once attributed to an attempt stays attributed until
it ends, even when it clears its environment and its parents die.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

from berth import jobfiles
from berth_worker.shim import files
from berth_worker.shim.process_tree import Process, environment, read, table

YOUNG_S = 10.0
"""The environment of a younger process is read again: before its exec it shows the parent's."""
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_SECRET_WORDS = frozenset(
    {"token", "secret", "password", "passwd", "passphrase", "credential", "credentials"}
    | {"key", "apikey"}
)
_COMMAND_LENGTH = 200
_JOB_FOLDER = os.fsencode(jobfiles.FOLDER)


@dataclass(frozen=True, slots=True)
class Description:
    """A process described for people. Absent values may not be read."""

    user: str | None
    command: str | None
    started_at: datetime | None


def age_s(process: Process) -> float:
    """Return the seconds since a process was forked, to a clock tick."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - process.started_ticks / TICKS_PER_S


def alive(pid: int) -> bool:
    """Return whether the pid names a process that has not ended (a zombie has)."""
    process = read(pid)
    return process is not None and process.state not in {"Z", "X"}


def tree(roots: Iterable[int], processes: Mapping[int, Process] | None = None) -> frozenset[int]:
    """Return the pids of `roots` and of all their descendants that are alive."""
    processes = table() if processes is None else processes
    children: dict[int, list[int]] = {}
    for process in processes.values():
        children.setdefault(process.parent, []).append(process.pid)
    found: set[int] = set()
    todo = [pid for pid in roots if pid in processes]
    while todo:
        pid = todo.pop()
        if pid not in found:
            found.add(pid)
            todo.extend(children.get(pid, ()))
    return frozenset(found)


def has_open(pid: int, prefix: str) -> bool:
    """Return whether a process has a file open whose path begins so; False where unreadable."""
    folder = f"/proc/{pid}/fd"
    try:
        for name in os.listdir(folder):  # noqa: PTH208 - hot path
            try:
                if os.readlink(f"{folder}/{name}").startswith(prefix):  # noqa: PTH115 - as above
                    return True
            except FileNotFoundError:
                continue
    except OSError:
        return False
    return False


class ProcessBook:
    """
    Cache of processes' attempts and descriptions, by identity (pid and start ticks).

    A repeated lookup costs one read of /proc/PID/stat. Not thread-safe: one owner.
    """

    def __init__(self, home: Path) -> None:
        """`home` is this Berth's state folder: marks that name another home are ignored."""
        self._runs = home / "runs"
        self._attempts: dict[tuple[int, int], str] = {}
        self._unmarked: set[tuple[int, int]] = set()
        self._descriptions: dict[tuple[int, int], Description] = {}
        self._boot_time = _boot_time()

    def attempt_of(
        self, pid: int, known: Mapping[int, str], uids: Mapping[str, int] | None = None
    ) -> str | None:
        """
        Return the attempt that a process belongs to.

        `known` names pids whose attempt is certain (shims and first processes). Otherwise the
        process's own mark decides, then that of its parents. `uids` gives the user of each
        attempt: a mark carried by a process of another user (but root and the worker's own) is
        ignored, so that no user can attribute a process to another user's job.
        """
        process = read(pid)
        return None if process is None else self._resolve(process, read, known, uids or {})

    def by_attempt(
        self,
        shims: Mapping[str, Collection[int]],
        uids: Mapping[str, int] | None = None,
        everything: Mapping[int, Process] | None = None,
    ) -> dict[str, frozenset[int]]:
        """
        Return all living processes of the named attempts, from one pass over the box (`table()`).

        `shims` gives for each attempt the pids that are certainly its own (its shim, its first
        process); they may have ended. Processes without a living relative are found by their
        mark.
        """
        everything = table() if everything is None else everything
        living = {pid: p for pid, p in everything.items() if p.state not in {"Z", "X"}}
        known = {pid: attempt for attempt, pids in shims.items() for pid in pids if pid in living}
        found: dict[str, set[int]] = {attempt: set() for attempt in shims}
        for process in living.values():
            attempt = self._resolve(process, living.get, known, uids or {})
            if attempt in found:
                found[attempt].add(process.pid)
        self.forget(living)
        return {attempt: frozenset(pids) for attempt, pids in found.items()}

    def describe(self, pid: int) -> Description | None:
        """Describe a process; None when there is no such process in this pid namespace."""
        process = read(pid)
        if process is None:
            return None
        identity = (pid, process.started_ticks)
        known = self._descriptions.get(identity)
        if known is not None and age_s(process) >= YOUNG_S:
            return known
        description = Description(
            user=_user(pid),
            command=_command(pid),
            started_at=datetime.fromtimestamp(
                self._boot_time + process.started_ticks / TICKS_PER_S, tz=UTC
            ),
        )
        self._descriptions[identity] = description
        return description

    def forget(self, living: Mapping[int, Process]) -> None:
        """Drop the entries of processes that have ended."""
        identities = {(p.pid, p.started_ticks) for p in living.values()}
        self._attempts = {k: v for k, v in self._attempts.items() if k in identities}
        self._unmarked &= identities
        self._descriptions = {k: v for k, v in self._descriptions.items() if k in identities}

    def _resolve(
        self,
        process: Process,
        find: Callable[[int], Process | None],
        known: Mapping[int, str],
        uids: Mapping[str, int],
    ) -> str | None:
        """
        Walk from a process to its parents until one of them gives the attempt.

        An attempt given by `known`, or by the mark of an attempt whose user is known, is cached
        for all processes on the way. The mark of an attempt that is not known (yet) is not: any
        process may carry it.
        """
        passed: list[tuple[int, int]] = []
        found: str | None = None
        certain = True
        at: Process | None = process
        while found is None and at is not None and at.pid > 1:
            identity = (at.pid, at.started_ticks)
            found = known.get(at.pid)
            if found is None:
                passed.append(identity)
                found = self._attempts.get(identity)
            if found is None and identity not in self._unmarked:
                found = self._marked_attempt(at.pid, uids)
                certain = found is None or found in uids
                if found is None and age_s(at) > YOUNG_S:
                    self._unmarked.add(identity)
            at = find(at.parent)
        if found is not None and certain:
            self._attempts.update(dict.fromkeys(passed, found))
        return found

    def _marked_attempt(self, pid: int, uids: Mapping[str, int]) -> str | None:
        variables = environment(pid)
        attempt = variables.get(b"BERTH_ATTEMPT", b"").decode(errors="replace")
        if jobfiles.attempt_key(attempt) is None:
            return None  # anybody may write anything there
        job, _, number = attempt.partition(".")
        run_dir = os.fsencode(self._runs / job / number)
        # Jobs of earlier versions were given the run directory itself.
        if variables.get(b"BERTH_RUN_DIR") not in {run_dir + b"/" + _JOB_FOLDER, run_dir}:
            return None
        if attempt in uids:
            try:
                owner = os.stat(f"/proc/{pid}").st_uid  # noqa: PTH116 - hot path
            except OSError:
                return None
            if owner not in {uids[attempt], os.geteuid(), 0}:
                return None
        return attempt


def shorten(argv: list[str]) -> str:
    """
    Return a command as one line of at most 200 characters, with secret-looking values starred.

    The commands of all users are shown to the whole lab, as `ps` shows them; the stars keep
    secrets typed on a command line off pages and logs.
    """
    words: list[str] = []
    hide_next = False
    for argument in argv:
        name, sign, _ = argument.partition("=")
        secret = not _SECRET_WORDS.isdisjoint(name.lower().replace("-", "_").split("_"))
        if hide_next and not argument.startswith("-"):
            words.append("********")
        else:
            words.append(f"{name}=********" if secret and sign else argument)
        hide_next = secret and not sign and argument.startswith("-")
    return jobfiles.line(" ".join(words), _COMMAND_LENGTH)


def _boot_time() -> float:
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


def _user(pid: int) -> str | None:
    try:
        return psutil.Process(pid).username()
    except (psutil.Error, OSError):
        return None


def _command(pid: int) -> str | None:
    raw = files.read(f"/proc/{pid}/cmdline")
    argv = [part.decode(errors="replace") for part in raw.rstrip(b"\0").split(b"\0")]
    return shorten(argv) or None
