"""
The job's parent: one per attempt. Standard library only, Python 3.8, no imports from Berth.

It claims the attempt (once, ever), starts the job detached from every daemon, stops it when
its time is over or when it is told to, reaps every descendant and writes down how it ended.
Nothing it needs may depend on a daemon being alive.

Told to stop by SIGTERM; `stop.json` beside `launch.json` says with how much grace. The worker
hears through the notice pipe, a line each: `began {shim.json}`, `ended {exit.json}`,
`refused sentence`. A worker that comes later reads the files.
"""
# ruff: noqa: PTH - importing pathlib would cost as much as the whole start of a shim

from __future__ import annotations

import errno
import json
import os
import resource
import select
import signal
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, NamedTuple, NoReturn, Optional, Set, Tuple

    class Process(NamedTuple):
        """One line of /proc/PID/stat, as far as it matters here."""

        pid: int
        name: str
        state: str
        parent: int
        flags: int
        started: int

    Key = Tuple[int, int]
else:
    from collections import namedtuple

    Process = namedtuple("Process", "pid name state parent flags started")

_BLOCKED = (
    signal.SIGCHLD,
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
_PR_SET_CHILD_SUBREAPER = 36
_FORKED_WITHOUT_EXEC = 0x40  # PF_FORKNOEXEC in /proc/PID/stat
_SHELLS = {"sh", "bash", "dash", "zsh", "ksh", "mksh", "fish", "ash", "busybox"}
_HELPERS = (b"multiprocessing", b"compile_worker", b"wandb")
_SETTLE_S = 0.2  # how long helpers may take to notice that the job has ended
_RECORD_BYTES = 4096  # kept on disk from the start: a full disk must not swallow the end
_GIVE_UP_WRITING_S = 60.0


class AlreadyStartedError(Exception):
    """Somebody has claimed the attempt before; it must not be started again."""


def main(launch_path: str, notice: int = -1, enter: Optional[Callable[..., None]] = None) -> None:
    """
    Run the attempt that `launch_path` describes, to its very end.

    `notice` is the writing end of the worker's pipe; `enter` the fence's door when the caller
    has loaded it already. Called in a process of its own; does not raise.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED)
    try:
        os.setsid()
    except PermissionError:
        pass  # the caller made the session
    folder = os.path.dirname(os.path.abspath(launch_path))
    try:
        with open(launch_path, "rb") as file:
            launch = json.load(file)
        claim(folder, launch["attempt"])
    except AlreadyStartedError:
        return
    except (OSError, ValueError, KeyError) as error:
        _tell(notice, "refused", "The attempt cannot be claimed: %s." % _reason(error))
        return
    Shim(folder, launch, notice, enter).run()


def claim(folder: str, attempt: str) -> None:
    """
    Make `started`, which says who has the right to start the attempt, exclusively.

    It appears with its content or not at all, so whoever finds it knows whom to look for.
    Raises AlreadyStartedError, or OSError when nothing can be written.
    """
    mine = dict(identity(os.getpid()), attempt=attempt)
    name = os.path.join(folder, "started")
    part = "%s.%d" % (name, os.getpid())
    try:
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:  # of an earlier boot's process with our pid
        os.unlink(part)
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        os.write(fd, json.dumps(mine).encode())
    finally:
        os.close(fd)
    try:
        os.link(part, name)
    except FileExistsError:
        raise AlreadyStartedError(attempt) from None
    finally:
        os.unlink(part)


class Shim:
    """One attempt from its start to its record."""

    def __init__(
        self,
        folder: str,
        launch: Dict[str, Any],
        notice: int,
        enter: Optional[Callable[..., None]],
    ) -> None:
        """`launch` is the content of launch.json."""
        self.folder = folder
        self.launch = launch
        self.notice = notice
        self.enter = enter
        self.cause = "exit"
        self.message: Optional[str] = None
        self.began: Optional[str] = None
        self.first = 0
        self.status: Optional[int] = None
        self.exec_pipe = -1
        self.warn_at: Optional[float] = None
        self.limit_at: Optional[float] = None
        self.kill_at: Optional[float] = None
        self.stop_started = 0.0
        self.sent: Set[Key] = set()
        self.killed: Set[Key] = set()

    def run(self) -> None:
        """Start the job, watch it, write down its end."""
        _become_subreaper()
        protected = _write("/proc/self/oom_score_adj", "-900")
        record = self._reserve_record()
        try:
            log = self._open_log()
            self._start(log, protected)
        except OSError as error:
            self.cause = "launch_error"
            self.message = "The attempt cannot be set up: %s." % _reason(error)
        else:
            self._watch()
            if self.cause == "launch_error" and self.message:
                os.write(log, self.message.encode() + b"\n")
        self._finish(record)

    # -- starting ----------------------------------------------------------------------

    def _path(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def _reserve_record(self) -> int:
        try:
            fd = os.open(
                self._path("exit.json.part"), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644
            )
            os.write(fd, b" " * _RECORD_BYTES)
        except OSError:
            return -1
        return fd

    def _open_log(self) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        log = os.open(self._path("output.log"), flags, 0o644)
        uid = self.launch.get("uid")
        if uid is not None and os.geteuid() == 0:
            gid = self.launch["gid"]
            os.fchown(log, uid, gid)
            os.chown(self.folder, uid, gid)
        return log

    def _start(self, log: int, protected: bool) -> None:
        self.exec_pipe, writing = os.pipe()
        self.first = os.fork()
        if self.first == 0:
            self._become_job(log, writing, protected)
        os.close(writing)
        now = time.monotonic()
        limit = self.launch.get("time_limit_s")
        if limit is not None:
            self.limit_at = now + limit
            self.warn_at = now + max(0.0, limit - self.launch.get("warn_before_s", 0.0))
        self._check_exec(1000)
        # Durable only now: the job need not wait for the disk. Until then a power cut takes
        # the claim and what the job did with it.
        _sync(self._path("started"))

    def _check_exec(self, timeout_ms: int) -> None:
        """See whether the job's program has been started, or why it could not be."""
        poll = select.poll()
        poll.register(self.exec_pipe, select.POLLIN)
        if not poll.poll(timeout_ms):
            return
        text = os.read(self.exec_pipe, 65536)
        os.close(self.exec_pipe)
        self.exec_pipe = -1
        if text:
            self.cause, self.message = "launch_error", text.decode(errors="replace")
            return
        self.began = now_text()
        facts = {
            "attempt": self.launch["attempt"],
            "shim": identity(os.getpid()),
            "first": identity(self.first),
            "started_at": self.began,
            "oom_kills": oom_kills(),
        }
        text = json.dumps(facts).encode()
        _tell(self.notice, "began", text.decode())
        try:
            _replace(self._path("shim.json"), text)
        except OSError:
            pass  # the disk is full: a later worker finds us through `started`

    def _become_job(self, log: int, writing: int, protected: bool) -> NoReturn:
        step = "The attempt cannot be set up"
        launch = self.launch
        try:
            os.setsid()  # `kill 0` in a job's script must not reach us
            os.umask(launch.get("umask", 0o022))
            nothing = os.open(os.devnull, os.O_RDONLY)
            os.dup2(nothing, 0)
            os.dup2(log, 1)
            os.dup2(log, 2)
            if protected:
                _write("/proc/self/oom_score_adj", "0")
            if launch.get("cgroup"):
                _write(os.path.join(launch["cgroup"], "cgroup.procs"), "0")
            fence = launch["fence"]
            if fence["mask"] or fence["drop_capabilities"]:
                enter = self.enter or load_fence(fence["apply"])
                enter(
                    fence["mask"],
                    user_namespace=fence["user_namespace"],
                    drop_capabilities=fence["drop_capabilities"],
                )
            uid = launch.get("uid")
            if uid is not None and os.geteuid() == 0:
                step = "The job cannot run as user id %d" % uid
                os.setgroups(launch["groups"])
                os.setgid(launch["gid"])
                os.setuid(uid)
            step = "The job's folder %s cannot be entered" % launch["cwd"]
            os.chdir(launch["cwd"])
            step = ""
            for number in range(1, 32):
                if number not in {signal.SIGKILL, signal.SIGSTOP}:
                    signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            os.execvpe(launch["argv"][0], launch["argv"], launch["env"])  # noqa: S606 - the job
        except Exception as error:  # noqa: BLE001 - whatever it was, the user reads it in the log
            sentence = _why_not(error, launch) if not step else "%s: %s." % (step, _reason(error))
            os.write(writing, sentence.encode(errors="replace"))
        finally:
            os._exit(127)

    # -- watching ----------------------------------------------------------------------

    def _watch(self) -> None:
        while self._reap():
            now = time.monotonic()
            if self.exec_pipe >= 0:
                self._check_exec(0)
            if self.warn_at is not None and now >= self.warn_at:
                self._warn()
            if self.limit_at is not None and now >= self.limit_at and self.status is None:
                self.limit_at = None
                self._stop("time_limit", self.launch["grace_s"])
            if self.kill_at is not None:
                self._press(now)
            received = signal.sigtimedwait(_BLOCKED, self._patience_s())
            if received is not None and received.si_signo == signal.SIGTERM:
                self._reap()
                self._stop("stopped", self._asked_grace_s())
        if self.exec_pipe >= 0:
            self._check_exec(0)

    def _patience_s(self) -> float:
        """How long until there is something to do that no signal announces."""
        now = time.monotonic()
        moments = [at for at in (self.warn_at, self.limit_at) if at is not None]
        if self.kill_at is not None:
            # Ranks are children of their launcher: their ends come to it, not to us.
            moments.append(now + (0.05 if now - self.stop_started < 3 else 0.25))
            moments.append(max(self.kill_at, now + 0.01))
        if self.exec_pipe >= 0:
            moments.append(now + 0.1)
        return max(0.0, min(moments) - now) if moments else 3600.0

    def _reap(self) -> bool:
        """Take in whatever has ended; False when nothing is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self.first:
                self.status = status
                self.warn_at = self.limit_at = None
                if self.kill_at is None:
                    self._sweep_after_end()

    def _sweep_after_end(self) -> None:
        """The job's first process has ended by itself: whoever is left has to leave as well."""
        try:
            if os.waitpid(-1, os.WNOHANG | getattr(os, "WNOWAIT", 0))[0] != 0:
                pass
        except ChildProcessError:
            return
        if self.status == 0 and ranks_left():
            self.message = "The launcher ended with exit code 0 while its ranks still ran."
            self.status = 1 << 8
        self.stop_started = time.monotonic() + _SETTLE_S
        self.kill_at = self.stop_started + self.launch.get("sweep_s", 5.0)

    def _warn(self) -> None:
        self.warn_at = None
        for process in descendants():
            if catches(process.pid, signal.SIGUSR1):
                _kill(process.pid, signal.SIGUSR1)

    def _asked_grace_s(self) -> float:
        try:
            with open(self._path("stop.json"), "rb") as file:
                return float(json.load(file)["grace_s"])
        except (OSError, ValueError, KeyError, TypeError):
            return float(self.launch["grace_s"])

    def _stop(self, cause: str, grace_s: float) -> None:
        """Begin to end the job, or hurry an end that has begun."""
        now = time.monotonic()
        if self.kill_at is not None:
            self.kill_at = min(self.kill_at, now + grace_s)
            return
        if self.status is None:
            self.cause = cause
        self.stop_started = now
        self.kill_at = now + grace_s

    def _press(self, now: float) -> None:
        """One round of ending: TERM to those who have not had it, KILL after the grace."""
        if self.kill_at is None or now < self.stop_started:
            return
        if now >= self.kill_at:
            if self.launch.get("cgroup"):
                _write(os.path.join(self.launch["cgroup"], "cgroup.kill"), "1")
            for process in descendants():
                self.killed.add((process.pid, process.started))
                _kill(process.pid, signal.SIGKILL)
            return
        family = descendants()
        grace_s = self.kill_at - self.stop_started
        everybody = now >= self.kill_at - min(10.0, grace_s / 4)
        for process in family if everybody else addressees(family):
            key = (process.pid, process.started)
            if key not in self.sent:
                self.sent.add(key)
                _kill(process.pid, signal.SIGTERM)
                if self.status is not None and self.cause == "exit":
                    self.killed.add(key)

    # -- the end -----------------------------------------------------------------------

    def _finish(self, record: int) -> None:
        status = self.status
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        ended = self.cause != "launch_error" and status is not None
        facts = {
            "attempt": self.launch["attempt"],
            "exit_code": os.WEXITSTATUS(status) if ended and os.WIFEXITED(status) else None,
            "signal": os.WTERMSIG(status) if ended and os.WIFSIGNALED(status) else None,
            "cause": self.cause,
            "message": self.message,
            "started_at": self.began,
            "ended_at": now_text(),
            "max_rss_bytes": usage.ru_maxrss * 1024 if ended else None,
            "user_cpu_s": round(usage.ru_utime, 4) if ended else None,
            "system_cpu_s": round(usage.ru_stime, 4) if ended else None,
            "killed": len(self.killed),
        }
        text = json.dumps(facts).encode()
        deadline = time.monotonic() + _GIVE_UP_WRITING_S
        written = False
        while True:
            try:
                self._write_record(record, text)
                written = True
            except OSError:
                record = -1
            _tell(self.notice, "ended", text.decode())
            self.notice = -1
            if written or time.monotonic() > deadline:
                break
            time.sleep(1)
        if written:
            _sync(self._path("exit.json"))

    def _write_record(self, record: int, text: bytes) -> None:
        if record < 0 or len(text) > _RECORD_BYTES:
            _replace(self._path("exit.json"), text)
            return
        os.pwrite(record, text, 0)
        os.ftruncate(record, len(text))
        os.rename(self._path("exit.json.part"), self._path("exit.json"))


# -- who is told to stop -------------------------------------------------------------------


def addressees(family: List[Process]) -> List[Process]:
    """
    Who gets TERM at once.

    All ranks together, however they were started. Whoever handles TERM leads its own helpers:
    a trainer that saves first must not lose its data loaders, so its children get none.
    Launchers that handle TERM are passed over while they have ranks: torchrun and deepspeed
    would kill ranks that still save 30 s later, deepspeed even one after the other.
    """
    children: Dict[int, List[Process]] = {}
    for process in family:
        children.setdefault(process.parent, []).append(process)
    in_rank = {p.pid: b"LOCAL_RANK" in environment(p.pid) for p in family}
    launching: Set[int] = set()
    parent_of = {p.pid: p.parent for p in family}
    for process in family:
        if in_rank[process.pid] and not in_rank.get(process.parent, False):
            above = process.parent
            while above in parent_of and above not in launching:
                launching.add(above)
                above = parent_of[above]
    chosen: List[Process] = []
    todo = list(children.get(os.getpid(), ()))
    while todo:
        process = todo.pop()
        handles = catches(process.pid, signal.SIGTERM)
        is_shell = process.name in _SHELLS
        if handles and not is_shell and process.pid in launching:
            todo.extend(children.get(process.pid, ()))
            continue
        chosen.append(process)
        if not handles or is_shell:
            todo.extend(children.get(process.pid, ()))
    return chosen


def ranks_left() -> bool:
    """Whether a whole set of ranks is still there: then no launcher can have succeeded."""
    found: Set[bytes] = set()
    size = 0
    for process in descendants():
        variables = environment(process.pid)
        rank = variables.get(b"LOCAL_RANK")
        command = _read("/proc/%d/cmdline" % process.pid)
        if rank is None or process.flags & _FORKED_WITHOUT_EXEC:
            continue
        if any(word in command for word in _HELPERS):
            continue
        found.add(rank)
        text = variables.get(b"LOCAL_WORLD_SIZE") or variables.get(b"WORLD_SIZE") or b""
        size = int(text) if text.isdigit() else size
    return size > 1 and len(found) >= size


def descendants() -> List[Process]:
    """Every living process below this one; as its subreaper we are above all orphans."""
    everybody: Dict[int, Process] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            process = stat(int(name))
            if process is not None and process.state not in "ZX":
                everybody[process.pid] = process
    me = os.getpid()
    below: Dict[int, bool] = {me: True}
    for pid in everybody:
        path = []
        at = pid
        while at in everybody and at not in below:
            path.append(at)
            at = everybody[at].parent
        verdict = below.get(at, False)
        for passed in path:
            below[passed] = verdict
    return [process for pid, process in everybody.items() if below.get(pid) and pid != me]


def stat(pid: int) -> Optional[Process]:
    """Read one process; None when there is none."""
    line = _read(f"/proc/{pid}/stat")
    end = line.rfind(b")")
    if end < 0:
        return None
    fields = line[end + 2 :].split()
    name = line[line.find(b"(") + 1 : end].decode(errors="replace")
    state = fields[0].decode()
    return Process(pid, name, state, int(fields[1]), int(fields[6]), int(fields[19]))


def identity(pid: int) -> Dict[str, Any]:
    """Who a process is, never to be mistaken for a later one with its pid."""
    process = stat(pid)
    boot_id = _read("/proc/sys/kernel/random/boot_id").decode().strip()
    return {"pid": pid, "start_ticks": process.started if process else 0, "boot_id": boot_id}


def environment(pid: int) -> Dict[bytes, bytes]:
    """A process's environment; empty when it may not be read."""
    pairs = (item.partition(b"=") for item in _read(f"/proc/{pid}/environ").split(b"\0"))
    return {name: value for name, sign, value in pairs if sign}


def catches(pid: int, number: int) -> bool:
    """Whether a process has a handler for a signal."""
    for line in _read(f"/proc/{pid}/status").splitlines():
        if line.startswith(b"SigCgt:"):
            return bool(int(line[7:], 16) >> (number - 1) & 1)
    return False


def oom_kills() -> int:
    """How often the kernel has killed for want of memory since the boot."""
    for line in _read("/proc/vmstat").splitlines():
        if line.startswith(b"oom_kill "):
            return int(line[9:])
    return 0


# -- small things --------------------------------------------------------------------------


def load_fence(path: str) -> Callable[..., None]:
    """The fence's door, from the file that holds it."""
    from importlib.machinery import SourceFileLoader
    from importlib.util import module_from_spec, spec_from_loader

    loader = SourceFileLoader("berth_fence", path)
    spec = spec_from_loader("berth_fence", loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    enter: Callable[..., None] = module.enter
    return enter


def now_text() -> str:
    """The time as the protocol writes it: UTC, milliseconds."""
    now = time.time()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + ".%03dZ" % (now % 1 * 1000)


def _why_not(error: Exception, launch: Dict[str, Any]) -> str:
    """Why a program could not be started, with the mend."""
    name = launch["argv"][0]
    code = error.errno if isinstance(error, OSError) else None
    path = os.path.join(launch["cwd"], name)
    if code == errno.ENOENT and "/" not in name:
        return (
            "%s was not found on the job's PATH; install it in the job's environment, or give "
            "its full path." % name
        )
    if code == errno.ENOENT and os.path.exists(path):
        return "%s names an interpreter in its first line that does not exist here." % name
    if code in {errno.ENOENT, errno.ENOTDIR}:
        return "%s does not exist (relative paths begin in %s)." % (name, launch["cwd"])
    if code == errno.EACCES and os.path.isdir(path):
        return "%s is a folder; name a program in it." % name
    if code == errno.EACCES:
        return (
            "%s may not be executed; run `chmod +x %s`, or start it through its interpreter "
            "(`bash %s`, `python %s`)." % (name, name, name, name)
        )
    if code == errno.ENOEXEC:
        return (
            "%s is not a program: begin it with a line like `#!/bin/bash`, or start it through "
            "its interpreter." % name
        )
    if code == errno.E2BIG:
        return "The command or its environment is too long for the kernel; use a file."
    return "%s cannot be started: %s." % (name, _reason(error))


def _reason(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text.rstrip(".") or type(error).__name__


def _become_subreaper() -> None:
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _kill(pid: int, number: int) -> None:
    # Its parent is below us or we are: the pid cannot have been given to anybody else unless
    # it was reaped since the look a moment ago.
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        pass


def _tell(notice: int, word: str, text: str) -> None:
    if notice >= 0:
        try:
            os.write(notice, ("%s %s\n" % (word, text)).encode())
        except OSError:
            pass  # the worker has gone; the next one reads the files


def _read(path: str) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError:
        return b""
    try:
        chunks = []
        while True:
            chunk = os.read(fd, 65536)
            if not chunk:
                return b"".join(chunks)
            chunks.append(chunk)
    except OSError:
        return b""
    finally:
        os.close(fd)


def _write(path: str, text: str) -> bool:
    try:
        fd = os.open(path, os.O_WRONLY)
    except OSError:
        return False
    try:
        os.write(fd, text.encode())
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


def _replace(path: str, text: bytes) -> None:
    part = path + ".part"
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644)
    try:
        os.write(fd, text)
    finally:
        os.close(fd)
    os.rename(part, path)


def _sync(path: str) -> None:
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(fd)
    except OSError:
        pass
    finally:
        os.close(fd)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else -1)
