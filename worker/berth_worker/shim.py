# ruff: noqa: PTH - pathlib's import is a good part of a shim's start
"""
The shim: the parent of one attempt. `python -I -S shim.py RUN_DIR`, or forked by the nursery.

Standard library only, Python 3.8, no imports from Berth, so that nothing an upgrade changes
can disturb a running job. It reads `launch.json`, makes sure that the attempt starts at most
once, starts the job inside its fence, keeps the time limit, brings the job to its end when
asked (SIGTERM to the shim), reaps every descendant and writes `exit.json` last.

It depends on no daemon. A datagram to `notify.sock` in the launch order tells the worker of
news; nobody needs to listen.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import runpy
import signal
import socket
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_ALL_SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR1}
_STOP_SIGNALS = {signal.SIGTERM, signal.SIGINT}
# After the job's own end what it left behind gets this long, seconds, before it is killed.
_LEFTOVER_GRACE_S = 5.0
# How often a stop looks whether only launchers are left, and a kill is repeated, seconds.
_STOP_TICK_S = 0.1
# Launchers forward a stop by killing their ranks one after the other; ranks are told directly.
_AGENTS = (b"torch.distributed.run", b"torchrun", b"deepspeed.launcher", b"accelerate")


def main(run_dir: str) -> int:
    """Run the attempt of a run directory to its end; 0 also when it had been started before."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _ALL_SIGNALS)
    with open(os.path.join(run_dir, "launch.json"), encoding="utf-8") as file:
        order = json.load(file)
    if not _claim(run_dir):
        return 0
    return Shim(run_dir, order).run()


def load_fence(path: str, _loaded: dict[str, dict[str, Any]] = {}) -> dict[str, Any]:  # noqa: B006 - a cache
    """The functions of the fence's file; the nursery loads them before the first shim."""
    if path not in _loaded:
        _loaded[path] = runpy.run_path(path)
    return _loaded[path]


class Shim:
    """One attempt from its start to its exit record."""

    def __init__(self, run_dir: str, order: dict[str, Any]) -> None:
        self._run_dir = run_dir
        self._order = order
        self._job = 0
        self._started_at: float | None = None
        self._status: int | None = None
        self._usage = [0, 0.0, 0.0]
        self._cause = "exit"
        self._killed: set[int] = set()
        self._told: set[int] = set()

    def run(self) -> int:
        """Start, watch, end, record."""
        libc = ctypes.CDLL(None)
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        _survive_memory_shortage()
        problem = self._start(libc)
        if problem is not None:
            self._explain(problem)
            self._record("launch_error", problem)
            return 0
        _write_json(
            os.path.join(self._run_dir, "shim.json"),
            {
                "shim": _identity(os.getpid()),
                "job": _identity(self._job),
                "started_at": _iso(self._started_at),
            },
        )
        self._tell()
        self._watch()
        self._record(self._cause, None)
        return 0

    def _start(self, libc: ctypes.CDLL) -> str | None:
        """Fork and exec the job; the sentence why it could not be started, else None."""
        log_path = os.path.join(self._run_dir, "output.log")
        try:
            log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError as error:
            return f"The log {log_path} cannot be opened: {error.strerror}."
        failure_read, failure_write = os.pipe2(os.O_CLOEXEC)
        self._started_at = time.time()
        self._job = os.fork()
        if self._job == 0:
            try:
                self._become_the_job(libc, log)
            except BaseException as error:  # noqa: BLE001 - whatever it is, the parent must hear it
                os.write(failure_write, _sentence(error, self._order).encode()[:4000])
            os._exit(127)
        os.close(log)
        os.close(failure_write)
        with os.fdopen(failure_read, "rb") as pipe:
            message = pipe.read()
        if not message:
            return None
        os.waitpid(self._job, 0)
        return message.decode(errors="replace")

    def _become_the_job(self, libc: ctypes.CDLL, log: int) -> None:
        order, fence, user = self._order, self._order["fence"], self._order.get("user")
        os.setpgid(0, 0)
        null = os.open("/dev/null", os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        _write_quietly("/proc/self/oom_score_adj", "0")
        apply = load_fence(fence["apply"])
        apply["enter"](
            fence["mask"],
            user_namespace=fence["user_namespace"],
            drop_capabilities=fence["drop_capabilities"],
        )
        if user:
            apply["become"](user["uid"], user["gid"], user["groups"])
        # Forgotten with a change of user, hence after it. Ranks then die with the shim.
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        os.chdir(order["cwd"])
        os.umask(order.get("umask", 0o022))
        for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores these; a job must not
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        os.execvpe(order["argv"][0], order["argv"], order["env"])  # noqa: S606 - it is the job

    def _watch(self) -> None:
        """Until no descendant is left: reap, keep the clock, stop when asked."""
        limit, warn = self._clock()
        kill_at: float | None = None
        while self._reap():
            now = time.monotonic()
            if self._status is not None and kill_at is None:
                kill_at = now + _LEFTOVER_GRACE_S
                self._terminate()
            if warn is not None and now >= warn:
                warn = None
                self._warn()
            if limit is not None and now >= limit and kill_at is None:
                self._cause = "time_limit"
                kill_at = now + self._order["grace_s"]
                self._terminate()
            if kill_at is not None:
                if now >= kill_at:
                    self._kill()
                else:
                    self._terminate()
            wake = [t for t in (limit if kill_at is None else None, warn, kill_at) if t is not None]
            if kill_at is not None:
                wake.append(now + _STOP_TICK_S)
            news = _wait_for_signal(max(0.0, min(wake) - now) if wake else 3600.0)
            if news in _STOP_SIGNALS and self._cause == "exit" and self._status is None:
                self._cause = "stopped"
                kill_at = time.monotonic() + self._order["grace_s"]
            elif news == signal.SIGUSR1:
                self._warn()

    def _clock(self) -> tuple[float | None, float | None]:
        """When the time limit is reached and when to warn of it, monotonic seconds."""
        limit_s = self._order.get("time_limit_s")
        if limit_s is None:
            return None, None
        limit = time.monotonic() + limit_s
        warn_s = self._order.get("warn_before_s") or 0.0
        return limit, (limit - warn_s if 0 < warn_s < limit_s else None)

    def _reap(self) -> bool:
        """Collect what has ended; whether any descendant is left."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            self._usage[0] = max(self._usage[0], usage.ru_maxrss * 1024)
            self._usage[1] += usage.ru_utime
            self._usage[2] += usage.ru_stime
            if pid == self._job:
                self._status = status

    def _terminate(self) -> None:
        """
        TERM to each process that can act on it, once.

        A process that catches TERM is left to end its own children (a trainer its data
        loaders); of one that does not, the children are told as well. Launchers come last:
        they would kill ranks that are still saving.
        """
        tree = _Tree()
        todo = tree.children(os.getpid())
        agents, others = [], 0
        while todo:
            pid = todo.pop()
            if _is_agent(pid):
                agents.append(pid)
                todo.extend(tree.children(pid))
                continue
            others += 1
            if pid not in self._told:
                self._told.add(pid)
                catches = _catches(pid, signal.SIGTERM)
                _send(pid, signal.SIGTERM)
                if catches:
                    continue
            elif _catches(pid, signal.SIGTERM):
                continue
            todo.extend(tree.children(pid))
        if not others:
            for pid in agents:
                if pid not in self._told:
                    self._told.add(pid)
                    _send(pid, signal.SIGTERM)

    def _kill(self) -> None:
        for pid in _Tree().descendants(os.getpid()):
            if _send(pid, signal.SIGKILL):
                self._killed.add(pid)

    def _warn(self) -> None:
        """USR1 to those who catch it; it would kill the others."""
        for pid in _Tree().descendants(os.getpid()):
            if _catches(pid, signal.SIGUSR1):
                _send(pid, signal.SIGUSR1)

    def _explain(self, sentence: str) -> None:
        """Into the job's own log: that is where its user looks first."""
        try:
            with open(os.path.join(self._run_dir, "output.log"), "a", encoding="utf-8") as log:
                log.write("berth: " + sentence + "\n")
        except OSError:
            return

    def _record(self, cause: str, message: str | None) -> None:
        code = number = None
        if self._status is not None and os.WIFSIGNALED(self._status):
            number = os.WTERMSIG(self._status)
        elif self._status is not None:
            code = os.WEXITSTATUS(self._status)
        _write_json(
            os.path.join(self._run_dir, "exit.json"),
            {
                "attempt": self._order["attempt"],
                "exit_code": code,
                "signal": number,
                "cause": cause,
                "message": message,
                "started_at": _iso(self._started_at) if cause != "launch_error" else None,
                "ended_at": _iso(time.time()),
                "max_rss_bytes": self._usage[0] or None,
                "user_cpu_s": round(self._usage[1], 3),
                "system_cpu_s": round(self._usage[2], 3),
                "killed": len(self._killed),
            },
            durable=True,
        )
        self._tell()

    def _tell(self) -> None:
        """Wake the worker, if there is one."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as news:
                news.setblocking(False)
                news.sendto(self._order["attempt"].encode(), self._order["notify"])
        except (OSError, KeyError):
            return


class _Tree:
    """Who is whose child, from one pass over /proc."""

    def __init__(self) -> None:
        self._children: dict[int, list[int]] = {}
        for name in os.listdir("/proc"):
            if not name.isdigit():
                continue
            fields = _stat(int(name))
            if fields and fields[0] not in (b"Z", b"X"):
                self._children.setdefault(int(fields[1]), []).append(int(name))

    def children(self, pid: int) -> list[int]:
        return list(self._children.get(pid, ()))

    def descendants(self, pid: int) -> list[int]:
        found: list[int] = []
        todo = self.children(pid)
        while todo:
            one = todo.pop()
            found.append(one)
            todo.extend(self.children(one))
        return found


def _claim(run_dir: str) -> bool:
    """Take the one right to start this attempt: a hard link is made at most once."""
    own = os.path.join(run_dir, "started.%d" % os.getpid())
    _write_json(own, _identity(os.getpid()), durable=True)
    try:
        os.link(own, os.path.join(run_dir, "started"))
    except FileExistsError:
        return False
    finally:
        os.unlink(own)
    return True


def _identity(pid: int) -> dict[str, Any]:
    fields = _stat(pid)
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        boot = file.read().strip()
    return {"pid": pid, "ticks": int(fields[19]) if fields else 0, "boot_id": boot}


def _stat(pid: int) -> list[bytes]:
    """The fields of /proc/PID/stat from the state on; empty when the process is gone."""
    try:
        with open("/proc/%d/stat" % pid, "rb") as file:
            line = file.read()
    except OSError:
        return []
    return line[line.rfind(b")") + 2 :].split()


def _catches(pid: int, number: int) -> bool:
    """Whether a process has a handler of its own for a signal."""
    try:
        with open("/proc/%d/status" % pid, "rb") as file:
            for line in file:
                if line.startswith(b"SigCgt:"):
                    return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    except OSError:
        pass
    return False


def _is_agent(pid: int) -> bool:
    try:
        with open("/proc/%d/cmdline" % pid, "rb") as file:
            words = file.read().split(b"\0")[:4]
    except OSError:
        return False
    # The interpreter, perhaps -u, perhaps -m: the launcher stands among the first words.
    return any(agent in word for word in words for agent in _AGENTS)


def _send(pid: int, number: int) -> bool:
    try:
        os.kill(pid, number)
    except OSError as error:
        return error.errno == errno.EPERM
    return True


def _wait_for_signal(timeout_s: float) -> int:
    try:
        info = signal.sigtimedwait(_ALL_SIGNALS, min(timeout_s, 3600.0))
    except InterruptedError:
        return 0
    return info.si_signo if info else 0


def _survive_memory_shortage() -> None:
    """The kernel's OOM killer should take the job, not the one who can tell of it."""
    _write_quietly("/proc/self/oom_score_adj", "-900")


def _write_quietly(path: str, text: str) -> None:
    try:
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
    except OSError:
        return


def _write_json(path: str, value: dict[str, Any], *, durable: bool = False) -> None:
    """Whole or not at all: written beside, then renamed over."""
    beside = "%s.%d.part" % (path, os.getpid())
    with open(beside, "w", encoding="utf-8") as file:
        json.dump(value, file)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    os.rename(beside, path)


def _iso(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return "%s.%03dZ" % (whole, int(seconds * 1000) % 1000)


def _sentence(error: BaseException, order: dict[str, Any]) -> str:
    program = order["argv"][0]
    if isinstance(error, FileNotFoundError) and error.filename != order["cwd"]:
        return f"{program} was not found; check the name, or PATH in the job's environment."
    if isinstance(error, PermissionError) and error.filename not in {None, order["cwd"]}:
        return f"{program} may not be executed; make it executable with `chmod +x`."
    if isinstance(error, OSError) and error.filename == order["cwd"]:
        return "The folder {} cannot be entered: {}.".format(order["cwd"], error.strerror)
    if isinstance(error, OSError) and error.errno == errno.ENOEXEC:
        return f"{program} is no program; a script needs a first line like #!/bin/sh."
    if isinstance(error, OSError) and error.errno == errno.E2BIG:
        return "The command is too long for the kernel; put it into a script."
    return str(error)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
