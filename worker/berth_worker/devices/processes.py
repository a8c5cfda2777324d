"""
Which process belongs to which attempt, and who a process is.

A process is known by pid and start ticks together: a pid alone may have been given to
somebody else. An attempt's processes are the descendants of its shim (the shim is a
subreaper, so orphans stay below it) and, should the shim have been killed, every process
that carries the attempt's mark in its environment: `BERTH_ATTEMPT` together with a
`BERTH_RUN_DIR` below this Berth's own home, because several may run on one box. Once a
process was found to belong to an attempt it belongs to it until it ends, even when it
clears its environment and its parents die.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import psutil

YOUNG_S = 10.0
"""An environment is read again while a process is younger: before its exec it shows the
parent's."""
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_SECRET_WORDS = frozenset(
    {"token", "secret", "password", "passwd", "passphrase", "credential", "credentials"}
    | {"key", "apikey"}
)
_COMMAND_LENGTH = 200


@dataclass(frozen=True, slots=True)
class Process:
    """One process at one moment."""

    pid: int
    parent: int
    started_ticks: int
    """Clock ticks after boot; with the pid and the boot id it names one process for ever."""
    state: str
    """The kernel's letter; Z is a zombie, which holds nothing any more."""
    cpu_ticks: int
    """User and system time used so far, clock ticks."""
    resident_bytes: int


@dataclass(frozen=True, slots=True)
class Description:
    """Who a process is, for people. Absent values may not be read."""

    user: str | None
    command: str | None
    started_at: datetime | None


def read(pid: int) -> Process | None:
    """Read one process; None when there is none."""
    line = _contents(f"/proc/{pid}/stat")
    # The name stands in brackets and may itself hold brackets and blanks.
    fields = line[line.rfind(b")") + 2 :].split()
    if len(fields) < 22:
        return None
    return Process(
        pid=pid,
        state=fields[0].decode(),
        parent=int(fields[1]),
        cpu_ticks=int(fields[11]) + int(fields[12]),
        started_ticks=int(fields[19]),
        resident_bytes=int(fields[21]) * _page_size(),
    )


def age_s(process: Process) -> float:
    """Seconds since a process was started (forked), to a clock tick."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - process.started_ticks / TICKS_PER_S


def alive(pid: int) -> bool:
    """Whether the pid names a process that has not ended (a zombie has)."""
    process = read(pid)
    return process is not None and process.state not in {"Z", "X"}


def table() -> dict[int, Process]:
    """Every process of the box, by pid. Costs about 15 µs for each."""
    found: dict[int, Process] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 - hot path
        if name.isdigit():
            process = read(int(name))
            if process is not None:
                found[process.pid] = process
    return found


def tree(roots: Iterable[int], processes: Mapping[int, Process] | None = None) -> frozenset[int]:
    """The pids of `roots` and of all their descendants, as far as they are alive."""
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


def environment(pid: int) -> dict[bytes, bytes]:
    """The environment a process was started with; empty when it may not be read."""
    raw = _contents(f"/proc/{pid}/environ")
    pairs = (item.partition(b"=") for item in raw.split(b"\0") if item)
    return {name: value for name, _, value in pairs}


def has_open(pid: int, prefix: str) -> bool:
    """Whether a process has a file open whose path begins so; no, where that may not be read."""
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
    What was learned about processes, remembered by identity (pid and start ticks).

    Asking again costs one read of /proc/PID/stat. Not thread-safe: one owner.
    """

    def __init__(self, home: Path) -> None:
        """`home` is this Berth's state folder: marks that name another are not ours."""
        self._runs = home / "runs"
        self._attempts: dict[tuple[int, int], str] = {}
        self._unmarked: set[tuple[int, int]] = set()
        self._descriptions: dict[tuple[int, int], Description] = {}
        self._boot_time = _boot_time()

    def attempt_of(
        self, pid: int, known: Mapping[int, str], uids: Mapping[str, int] | None = None
    ) -> str | None:
        """
        The attempt a process belongs to.

        `known` names pids whose attempt is certain (shims and the processes found below
        them). Otherwise the process's own mark decides, then that of its parents. `uids`
        says as whom an attempt runs: the mark of anybody else but root and ourselves is not
        believed, so that nobody can put a process of his own on another's account.
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
        All living processes of the named attempts, from one pass over the box (`table()`).

        `shims` gives for each attempt the pids that are certainly its own (its shim, its
        first process); they may have ended. Processes without a living relative are found by
        their mark.
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
        """Who a process is; None when there is no such process in this pid namespace."""
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
        """Drop what is remembered about processes that have ended."""
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
        Go from a process to its parents until one of them tells the attempt.

        What `known` says, or the mark of an attempt whose user is known, is remembered for all
        processes on the way. A mark of an attempt that we do not know (yet) is not: anybody
        may carry it.
        """
        passed: list[tuple[int, int]] = []
        found: str | None = None
        certain = True
        at: Process | None = process
        while found is None and at is not None and at.pid > 1:
            identity = (at.pid, at.started_ticks)
            found = known.get(at.pid)
            if found is None:  # of a shim nothing is remembered: it may serve another one later
                passed.append(identity)
                found = self._attempts.get(identity)
            if found is None and identity not in self._unmarked:
                found = self._mark(at.pid, uids)
                certain = found is None or found in uids
                if found is None and age_s(at) > YOUNG_S:
                    self._unmarked.add(identity)
            at = find(at.parent)
        if found is not None and certain:
            self._attempts.update(dict.fromkeys(passed, found))
        return found

    def _mark(self, pid: int, uids: Mapping[str, int]) -> str | None:
        variables = environment(pid)
        attempt = variables.get(b"BERTH_ATTEMPT", b"").decode(errors="replace")
        job, _, number = attempt.partition(".")
        if os.fsencode(self._runs / job / number) != variables.get(b"BERTH_RUN_DIR"):
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
    One line for people: values of secret-looking options starred, at most 200 characters.

    Commands of others are shown to the whole lab, as `ps` shows them; the stars keep what
    somebody should not have typed there off pages and logs.
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
    line = " ".join(" ".join(words).split())
    return line if len(line) <= _COMMAND_LENGTH else line[: _COMMAND_LENGTH - 1] + "…"


def _contents(path: str) -> bytes:
    """A file of /proc, empty when it may not be read. Half the cost of open() and read()."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        parts: list[bytes] = []
        while part := os.read(fd, 65536):
            parts.append(part)
            if len(part) < 4096:
                break
        return b"".join(parts)
    except OSError:
        return b""
    finally:
        os.close(fd)


@lru_cache(maxsize=1)
def _page_size() -> int:
    return os.sysconf("SC_PAGE_SIZE")


def _boot_time() -> float:
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


def _user(pid: int) -> str | None:
    try:
        return psutil.Process(pid).username()
    except (psutil.Error, OSError):
        return None


def _command(pid: int) -> str | None:
    raw = _contents(f"/proc/{pid}/cmdline")
    argv = [part.decode(errors="replace") for part in raw.rstrip(b"\0").split(b"\0")]
    return shorten(argv) or None
