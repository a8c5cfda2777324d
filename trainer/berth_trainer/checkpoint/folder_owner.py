"""Owner of an output folder: one live run at a time, also over NFS and after a kill."""

import contextlib
import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Generator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from berth_trainer.checkpoint.atomic_file import write_json
from berth_trainer.errors import UserError

LOCK, OWNER = ".berth_run.lock", ".berth_run_owner.json"
BEAT_S = 10.0  # a live owner touches its record this often
_DEAD_AFTER_S = 6 * BEAT_S
_WATCHED_S = 2.5 * BEAT_S
_SETTLED_S = 2.0  # in which two that began at once have both written their record
_PATIENCE_S = 60.0  # for the earlier attempt of the same job, which may still be saving


@dataclass(frozen=True, slots=True)
class Owner:
    """A process, told from all others: numbers of processes are reused and are local to a host."""

    host: str
    boot: str
    namespace: str  # of process numbers: containers of one host have their own
    pid: int
    started: str  # in ticks since the boot
    attempt: str = ""  # of a Berth job, like 42.1

    @property
    def job(self) -> str:
        return self.attempt.rpartition(".")[0]

    def __str__(self) -> str:
        job = f", Berth job {self.job}" if self.job else ""
        return f"process {self.pid} on {self.host}{job}"


def this_process(environment: Mapping[str, str]) -> Owner:
    """Return this process as an owner."""
    return Owner(
        host=socket.gethostname(),
        boot=_text(Path("/proc/sys/kernel/random/boot_id")),
        namespace=_link(Path("/proc/self/ns/pid")),
        pid=os.getpid(),
        started=_start_of(os.getpid()),
        attempt=environment.get("BERTH_ATTEMPT", ""),
    )


def is_alive(owner: Owner, me: Owner) -> bool | None:
    """Return whether the owner's process lives; None where this process cannot see it."""
    if owner.host != me.host:
        return None
    if owner.boot != me.boot:
        return False  # the host was started again since
    if owner.namespace != me.namespace:
        return None
    return _start_of(owner.pid) == owner.started


@contextlib.contextmanager
def owned(folder: Path, environment: Mapping[str, str]) -> Generator[None]:
    """
    Own the output folder until the end of the block. For rank 0.

    Two marks, because neither is enough: the kernel's lock is gone with its process and reaches
    over NFS, but some mounts keep it local or have none; the record names the process, and its
    owner touches it, so that one who cannot see the process sees that it lives. Raises UserError
    where another run owns the folder.
    """
    me = this_process(environment)
    with (folder / LOCK).open("a") as lock:
        deadline = time.monotonic() + _PATIENCE_S
        while (holder := _holder(folder, lock.fileno(), me)) is not None:
            if not me.job or holder.job != me.job or time.monotonic() > deadline:
                raise UserError(_belongs(folder, holder))
            time.sleep(1)
        record = folder / OWNER
        write_json(record, asdict(me))
        if not _locks(lock.fileno()):
            time.sleep(_SETTLED_S)  # another may have begun at the same moment: the last one has it
            other = _read(record)
            if other is not None and other != me:
                raise UserError(_belongs(folder, other))
        over = threading.Event()
        beat = threading.Thread(target=_beat, args=(record, over), daemon=True)
        beat.start()
        try:
            yield
        finally:
            over.set()
            beat.join()
            if _read(record) == me:
                record.unlink(missing_ok=True)


def _belongs(folder: Path, owner: Owner) -> str:
    return (
        f"{folder} belongs to a run that is still running ({owner}): wait for its end or stop it, or "
        "choose another --output_dir."
    )


def _locks(lock: int) -> bool:
    """Return whether the file system has locks; this process holds this one where it has."""
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def live_owner(folder: Path, environment: Mapping[str, str]) -> Owner | None:
    """Return the live run that owns the folder, as far as this process can see it."""
    owner, me = _read(folder / OWNER), this_process(environment)
    return owner if owner is not None and owner != me and is_alive(owner, me) else None


def _holder(folder: Path, lock: int, me: Owner) -> Owner | None:
    """Return the live owner, None once this process holds the lock and no other owns the folder."""
    # The POSIX kind: it belongs to the process, so that children which outlive it hold nothing.
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return _read(folder / OWNER) or Owner("another host", "", "", 0, "")
    except OSError:  # this file system has no locks: the record alone decides
        pass
    owner = _read(folder / OWNER)
    if owner is None or owner == me:
        return None
    alive = is_alive(owner, me)
    if alive is None:
        alive = _beats(folder / OWNER, folder / LOCK)
    if not alive:
        return None
    with contextlib.suppress(OSError):
        fcntl.lockf(lock, fcntl.LOCK_UN)
    return owner


def _beats(record: Path, fresh: Path) -> bool:
    """Return whether an owner that cannot be seen still touches its record."""
    try:
        os.utime(fresh)  # by the clock of the file system, as the record
        last = record.stat().st_mtime_ns
        if fresh.stat().st_mtime_ns - last > _DEAD_AFTER_S * 1e9:
            return False
        deadline = time.monotonic() + _WATCHED_S
        while time.monotonic() < deadline:
            time.sleep(0.5)
            if record.stat().st_mtime_ns != last:
                return True
    except OSError:  # it has just been removed, by its owner
        return False
    return False


def _beat(record: Path, over: threading.Event) -> None:
    while not over.wait(BEAT_S):
        with contextlib.suppress(OSError):
            os.utime(record)


def _read(record: Path) -> Owner | None:
    try:
        return Owner(**json.loads(record.read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _start_of(pid: int) -> str:
    """Return when a process was started; empty where there is none, or only its remains."""
    words = _text(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return words[19] if len(words) > 19 and words[0] not in "ZX" else ""


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace").strip()
    except OSError:
        return ""


def _link(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:
        return ""
