"""
One attempt from its claim to its record.

The shim claims the attempt (once, ever), starts the job detached from every daemon, ends it
when its time is over or when it is told to, reaps every descendant and writes down how it
ended. It is told to stop by SIGTERM; `stop.json` beside `launch.json` says with how much
grace. The worker hears through the notice pipe, a line each: `began {shim.json}`,
`ended {exit.json}`, `refused sentence`. A worker that comes later reads the files.
"""
# pathlib is left out: see files.py.
# ruff: noqa: PTH100, PTH104, PTH120

from __future__ import annotations

import _thread
import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import time

from berth_worker.shim import become, ending, files, kin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

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
_SETTLE_S = 0.2  # how long helpers may take to notice that the job has ended
_SWEEP_S = 5.0  # between TERM and KILL for those that have not
_RECORD_BYTES = 4096  # held on the disk from the start: a full one must not swallow the end
_GIVE_UP_WRITING_S = 600.0


def warm() -> None:
    """Do once what every forked shim would have to do again."""
    ctypes.CDLL(None)
    kin.identity(os.getpid())
    json.loads(json.dumps({"warm": 1.0}))
    files.now_text()


def main(launch_path: str, notice: int = -1, enter: become.Enter | None = None) -> None:
    """
    Run the attempt that `launch_path` describes, to its very end; does not raise.

    `notice` is the writing end of the worker's pipe; `enter` the fence's door when the caller
    has loaded it already. Called in a process of its own.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED)
    with contextlib.suppress(PermissionError):  # the caller made the session
        os.setsid()
    if notice >= 0:  # the job must not hold it: it closes when the shim is gone
        os.set_inheritable(notice, False)  # noqa: FBT003 - by position only
    folder = os.path.dirname(os.path.abspath(launch_path))
    try:
        launch = json.loads(files.read(launch_path))
        files.claim(folder, dict(kin.identity(os.getpid()), attempt=launch["attempt"]))
    except files.AlreadyStartedError:
        return
    except (OSError, ValueError, KeyError) as error:
        files.tell(notice, "refused", become.reason(error))
        return
    nothing = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):  # whoever reads what the worker says must not wait for us
        os.dup2(nothing, fd)
    try:
        Shim(folder, launch, notice, enter).run()
    except Exception:  # noqa: BLE001 - our own mistake: kept where the attempt's story is
        import traceback

        files.replace(f"{folder}/shim.error", traceback.format_exc().encode())


class Shim:
    """The state of one attempt."""

    def __init__(
        self, folder: str, launch: dict[str, Any], notice: int, enter: become.Enter | None
    ) -> None:
        """`launch` is the content of launch.json, `folder` where it lies."""
        self._folder = folder
        self._launch = launch
        self._notice = notice
        self._enter = enter
        self._cause = "exit"
        self._message: str | None = None
        self._began: str | None = None
        self._first = 0
        self._status: int | None = None
        self._complaint = -1
        self._warn_at: float | None = None
        self._limit_at: float | None = None
        self._press_from = 0.0
        self._kill_at: float | None = None
        self._sent: set[tuple[int, int]] = set()
        self._killed: set[tuple[int, int]] = set()

    def run(self) -> None:
        """Start the job, watch it, write down its end."""
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        files.write("/proc/self/oom_score_adj", "-900")
        record = self._reserve_record()
        log = -1
        try:
            log = self._open_log()
            self._start(log)
            self._watch()
        except OSError as error:
            self._cause = "launch_error"
            self._message = f"The attempt cannot be set up: {become.reason(error)}."
        if self._message and log >= 0:
            with contextlib.suppress(OSError):  # the disk is full; the record was held
                os.write(log, self._message.encode() + b"\n")
        self._finish(record)

    def _path(self, name: str) -> str:
        return f"{self._folder}/{name}"

    # Starting

    def _reserve_record(self) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        try:
            record = os.open(self._path("exit.json.part"), flags, 0o644)
        except OSError:
            return -1
        try:
            os.write(record, b" " * _RECORD_BYTES)
        except OSError:
            os.close(record)
            return -1
        return record

    def _open_log(self) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        log = os.open(self._path("output.log"), flags, 0o644)
        uid = self._launch.get("uid")
        if uid is not None and os.geteuid() == 0:
            os.fchown(log, uid, self._launch["gid"])
            os.chown(self._folder, uid, self._launch["gid"])
        return log

    def _start(self, log: int) -> None:
        self._complaint, writing = os.pipe()
        self._first = os.fork()
        if self._first == 0:
            become.become(self._launch, log, writing, self._enter)
        os.close(writing)
        limit_s = self._launch.get("time_limit_s")
        if limit_s is not None:
            now = time.monotonic()
            self._limit_at = now + limit_s
            self._warn_at = now + max(0.0, limit_s - self._launch.get("warn_before_s", 0.0))
        self._hear_complaint(timeout_ms=1000)
        # Durable only now: the job need not wait for the disk. A power cut before then takes
        # the claim, and what the job did in these milliseconds, with it.
        _thread.start_new_thread(files.sync, (self._path("started"),))

    def _hear_complaint(self, timeout_ms: int) -> None:
        """See whether the job's program has started, or why it could not."""
        poll = select.poll()
        poll.register(self._complaint, select.POLLIN)
        if not poll.poll(timeout_ms):
            return
        sentence = os.read(self._complaint, 65536)
        os.close(self._complaint)
        self._complaint = -1
        if sentence:
            self._cause, self._message = "launch_error", sentence.decode(errors="replace")
            return
        self._began = files.now_text()
        facts = {
            "attempt": self._launch["attempt"],
            "shim": kin.identity(os.getpid()),
            "first": kin.identity(self._first),
            "started_at": self._began,
            "oom_kills": kin.oom_kills(),
        }
        text = json.dumps(facts)
        files.tell(self._notice, "began", text)
        # Should the disk be full: a later worker finds us through `started`.
        with contextlib.suppress(OSError):
            files.replace(self._path("shim.json"), text.encode())

    # Watching

    def _watch(self) -> None:
        while self._reap():
            now = time.monotonic()
            if self._complaint >= 0:
                self._hear_complaint(0)
            if self._status is not None and self._kill_at is None:
                self._sweep(now)
            if self._warn_at is not None and now >= self._warn_at:
                self._warn()
            if self._limit_at is not None and now >= self._limit_at:
                self._limit_at = None
                self._stop("time_limit", self._launch["grace_s"])
            if self._kill_at is not None and now >= self._press_from:
                self._press(now, self._kill_at)
            received = signal.sigtimedwait(_BLOCKED, self._patience_s())
            if received is not None and received.si_signo == signal.SIGTERM and self._reap():
                self._stop("stopped", self._asked_grace_s())
        if self._complaint >= 0:
            self._hear_complaint(0)

    def _reap(self) -> bool:
        """Take in whatever has ended; False when nothing is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self._first:
                self._status = status
                self._warn_at = self._limit_at = None

    def _patience_s(self) -> float:
        """How long until there is something to do that no signal announces."""
        now = time.monotonic()
        moments = [at for at in (self._warn_at, self._limit_at) if at is not None]
        if self._complaint >= 0:
            moments.append(now + 0.1)
        if self._kill_at is not None:
            # Ranks are children of their launcher: their ends come to it, not to us.
            moments += [at for at in (self._press_from, self._kill_at) if at > now]
            pressed_s = now - max(self._press_from, min(self._kill_at, now))
            moments.append(now + (0.03 if pressed_s < 1 else 0.25))
        return max(0.0, min(moments) - now) if moments else 3600.0

    # Ending

    def _sweep(self, now: float) -> None:
        """The job's first process has ended by itself: whoever is left has to leave as well."""
        if self._status == 0 and ending.ranks_left():
            self._message = (
                "The launcher ended with exit code 0 while its ranks still ran; look in the log "
                "for what ended the process between them."
            )
            self._status = 1 << 8
        self._press_from = now + _SETTLE_S
        self._kill_at = self._press_from + _SWEEP_S

    def _warn(self) -> None:
        self._warn_at = None
        for process in kin.descendants():
            if kin.catches(process.pid, signal.SIGUSR1):
                kin.kill(process.pid, signal.SIGUSR1)

    def _asked_grace_s(self) -> float:
        try:
            return float(json.loads(files.read(self._path("stop.json")))["grace_s"])
        except (ValueError, KeyError, TypeError):
            return float(self._launch["grace_s"])

    def _stop(self, cause: str, grace_s: float) -> None:
        """Begin to end the job, or hurry an end that has begun."""
        now = time.monotonic()
        if self._kill_at is not None:
            self._kill_at = min(self._kill_at, now + grace_s)
            return
        if self._status is None:
            self._cause = cause
        self._warn_at = self._limit_at = None
        self._press_from = now
        self._kill_at = now + grace_s

    def _press(self, now: float, kill_at: float) -> None:
        """One round of ending: TERM to those who have not had it, KILL after the grace."""
        family = kin.descendants()
        if now >= kill_at:
            cgroup = self._launch.get("cgroup")
            if cgroup:
                files.write(f"{cgroup}/cgroup.kill", "1")
            for process in family:
                self._killed.add((process.pid, process.started))
                kin.kill(process.pid, signal.SIGKILL)
            return
        nearly_over = now >= kill_at - min(10.0, (kill_at - self._press_from) / 4)
        for process in family if nearly_over else ending.addressees(family):
            key = (process.pid, process.started)
            if key not in self._sent:
                self._sent.add(key)
                kin.kill(process.pid, signal.SIGTERM)
                if self._cause == "exit":
                    self._killed.add(key)

    # The record

    def _finish(self, record: int) -> None:
        text = json.dumps(self._facts()).encode()
        deadline = time.monotonic() + _GIVE_UP_WRITING_S
        while True:
            try:
                self._write_record(record, text)
                written = True
            except OSError:
                record, written = -1, False
            files.tell(self._notice, "ended", text.decode())
            self._notice = -1
            if written or time.monotonic() > deadline:
                break
            time.sleep(1)
        files.sync(self._path("exit.json"))

    def _facts(self) -> dict[str, Any]:
        status = self._status
        code: int | None = None
        number: int | None = None
        if status is not None and self._cause != "launch_error":
            if os.WIFSIGNALED(status):
                number = os.WTERMSIG(status)
            else:
                code = os.WEXITSTATUS(status)
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return {
            "attempt": self._launch["attempt"],
            "exit_code": code,
            "signal": number,
            "cause": self._cause,
            "message": self._message,
            "started_at": self._began,
            "ended_at": files.now_text(),
            "max_rss_bytes": usage.ru_maxrss * 1024,
            "user_cpu_s": round(usage.ru_utime, 4),
            "system_cpu_s": round(usage.ru_stime, 4),
            "killed": len(self._killed),
        }

    def _write_record(self, record: int, text: bytes) -> None:
        if record < 0 or len(text) > _RECORD_BYTES:
            files.replace(self._path("exit.json"), text)
            return
        os.pwrite(record, text, 0)
        os.ftruncate(record, len(text))
        os.rename(self._path("exit.json.part"), self._path("exit.json"))
