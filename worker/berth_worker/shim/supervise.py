"""
The shim: supervisor of one attempt, from its claim to its exit record.

The shim claims the attempt (once, ever), starts the job detached from every daemon, ends it at
its time limit or on request, reaps every descendant and records how it ended. The request to
stop is SIGTERM; `stop.json` gives the grace. The worker reads messages from the line to it: `began
{shim.json}`, `ended {exit.json}`, `refused sentence`. A later worker reads the files.

The folder of these files is the worker's; only what lies in the folder below it is the job's.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import time

from berth_worker.shim import exec_job, files, ports, process_tree, self_setup, signal_targets
from berth_worker.shim.folders import Folders
from berth_worker.shim.record import Record
from berth_worker.shim.termination import Termination, warn

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import Any

_BESIDE_S = 4.0  # for commands beside a job that has ended
_NOTE_AFTER_S = 0.1  # shorter jobs are over before shim.json could be of use


def main(launch_path: str, notice: int = -1) -> None:
    """Be the shim of the attempt that `launch_path` describes, in a process of its own."""
    files.keep_from_jobs(notice)
    Shim(self_setup.ready(), None).run(launch_path, notice)


class Shim:
    """The supervisor of one attempt."""

    def __init__(self, me: dict[str, Any], enter: exec_job.Enter | None) -> None:
        """
        `me` is the identity that `self_setup.ready` returned; `enter` is the fence's entry
        function when the caller has already loaded it.
        """
        self._enter = enter
        self._me = me
        self._first = -1
        self._start_error = -1
        self._folders: Folders
        self._notice = -1
        self._record = Record(-1)
        self._cause = "exit"
        self._message: str | None = None
        self._port: socket.socket | None = None
        self._port_taken = False
        self._facts: dict[str, Any] = {}
        self._status: int | None = None
        self._shim_record_at: float | None = None
        self._warn_at: float | None = None
        self._started_at = 0.0
        self._limit_at: float | None = None
        self._termination = Termination(-1)
        self._usage = files.Usage()
        self._beside: dict[int, int] = {}  # by pid: the number of a command beside the job
        self._beside_until = 0.0
        self._besides = 0  # the highest so far

    def run(self, launch_path: str, notice: int) -> bool:
        """
        Run the attempt that `launch_path` describes, to its very end; does not raise.

        `notice` is this end of the line to the worker. Returns whether this process may serve
        another attempt: nothing of this one is left in it.
        """
        self._notice = notice
        try:
            self._folders = Folders(launch_path)
            self._folders.claim(self._me)
        except files.AlreadyStartedError:
            return False
        except Exception as error:  # noqa: BLE001 - nothing runs yet: the worker tries again
            files.tell(notice, "refused", exec_job.reason(error))
            return False
        self._record = Record(self._folders.own)
        try:
            self._start()
            self._watch()
            return self._finish()
        except Exception:  # noqa: BLE001 - our own fault, which no process of the job may outlive
            self._give_up()
            return False

    @property
    def status(self) -> int | None:
        """Wait status of the job's first process; None when none has ended."""
        return self._status

    def _give_up(self) -> None:
        """End the job's processes after a fault of this shim, then say so beside the files."""
        import traceback

        trace = traceback.format_exc()
        left = True
        while left:
            with contextlib.suppress(OSError):
                for process in process_tree.descendants():
                    process_tree.kill(process.pid, signal.SIGKILL)
            left = self._reap()
            time.sleep(0.02)
        with contextlib.suppress(OSError):
            files.replace(self._folders.own, "shim.error", trace.encode(errors="replace"))

    # Starting

    def _start(self) -> None:
        launch = self._folders.launch
        try:
            self._folders.open_for_job()
            self._termination = Termination(self._folders.job)
            log = self._folders.log
            if not self._has_port(launch.get("port")):
                return
            if exec_job.is_plain(launch):
                self._first = exec_job.spawn(launch, log)
                self._begin()
            else:
                self._first, self._start_error = exec_job.fork(launch, log, self._enter)
        except exec_job.CannotStartError as error:
            self._fail(str(error))
            return
        except OSError as error:
            self._fail(f"The attempt cannot be set up: {exec_job.reason(error)}.")
            return
        now = time.monotonic()
        self._started_at = now
        limit_s = launch.get("time_limit_s")
        if limit_s is not None:
            self._limit(limit_s)
        self._shim_record_at = now + _NOTE_AFTER_S
        if self._start_error >= 0:
            self._read_start_error(timeout_ms=1000)

    def _has_port(self, port: int | None) -> bool:
        """Claim the rendezvous port at the moment of the start; False when somebody has it."""
        if port is None:
            return True
        self._port = ports.claim(port)
        if self._port is None:
            self._port_taken = True
            self._fail(
                f"Its rendezvous port {port} was taken by a process outside this Berth just before "
                "the start."
            )
        return self._port is not None

    def _limit(self, limit_s: float) -> None:
        """Set the moments of the warning and of the time limit."""
        if limit_s == float("inf"):
            self._warn_at = self._limit_at = None
            return
        self._limit_at = self._started_at + limit_s
        # In a short job the default would warn before there is anything to save.
        early_s = min(self._folders.launch.get("warn_before_s", 0.0), limit_s / 2)
        self._warn_at = self._limit_at - early_s

    def _extended(self) -> bool:
        """Take a longer limit, or none, that was granted since; True if there is one."""
        limit_s = self._folders.granted_limit_s()
        if (
            limit_s is None
            or self._limit_at is None
            or self._started_at + limit_s <= self._limit_at
        ):
            return False
        self._limit(limit_s)
        return True

    def _fail(self, sentence: str) -> None:
        self._cause, self._message = "launch_error", sentence

    def _read_start_error(self, timeout_ms: int) -> None:
        """Read whether the job's program has started; the pipe gives the reason if it could not."""
        poll = select.poll()
        poll.register(self._start_error, select.POLLIN)
        if not poll.poll(timeout_ms):
            return
        sentence = os.read(self._start_error, 65536)
        os.close(self._start_error)
        self._start_error = -1
        if sentence:
            self._fail(sentence.decode(errors="replace"))
        else:
            self._begin()

    def _begin(self) -> None:
        first = dict(self._me, pid=self._first, start_ticks=process_tree.start_ticks(self._first))
        self._facts = self._folders.named(
            {"shim": self._me, "first": first, "started_at": files.now_text()}
        )
        files.tell(self._notice, "began", json.dumps(self._facts))

    def _write_shim_record(self) -> None:
        """Write shim.json and reserve the space for the exit record: the job is not a short one."""
        self._shim_record_at = None
        files.write("/proc/self/oom_score_adj", "-900")  # not before: the job would inherit it
        self._facts["oom_kills"] = process_tree.oom_kills()
        # On a full disk a later worker finds this shim through `started`.
        with contextlib.suppress(OSError):
            files.replace(self._folders.own, "shim.json", json.dumps(self._facts).encode())
        self._folders.link()
        self._record.hold_space()

    # Watching

    def _watch(self) -> None:
        while self._reap():
            now = time.monotonic()
            if self._start_error >= 0:
                self._read_start_error(0)
            if self._shim_record_at is not None and now >= self._shim_record_at and self._facts:
                self._write_shim_record()
            if self._status is not None and not self._termination.begun and not self._wait_for(now):
                self._sweep(now)
            if self._warn_at is not None and now >= self._warn_at and not self._extended():
                self._warn_at = None
                warn()
            if self._limit_at is not None and now >= self._limit_at and not self._extended():
                self._limit_at = None
                self._stop("time_limit", self._folders.launch["grace_s"])
            if self._termination.begun:
                self._termination.go_on(now, by_itself=self._cause == "exit")
            received = signal.sigtimedwait(self_setup.BLOCKED, self._patience_s())
            if received is not None:
                self._on_signal(received.si_signo)
        if self._start_error >= 0:
            self._read_start_error(0)

    def _on_signal(self, number: int) -> None:
        if number == signal.SIGTERM and self._reap():
            self._stop("stopped", *self._folders.stop_terms_s())
        elif number == signal.SIGUSR2:
            self._start_beside()

    def _reap(self) -> bool:
        """Reap every ended descendant; return False when none is left."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            self._usage.add(usage)
            self._beside.pop(pid, None)
            if pid == self._first:
                self._status = status
                self._warn_at = self._limit_at = None
                self._beside_until = time.monotonic() + _BESIDE_S
                for one in self._beside:
                    process_tree.kill(one, signal.SIGTERM)

    def _start_beside(self) -> None:
        """Start the commands that are to run beside the job, each once."""
        if self._status is not None or self._termination.begun or not self._facts:
            return
        from berth_worker.shim import beside

        for order in self._folders.orders_beside(self._besides):
            self._besides = order["number"]
            with contextlib.suppress(OSError):  # its client is told by its own patience
                pid = beside.start(self._folders.launch, order, self._folders.job, self._enter)
                self._beside[pid] = order["number"]

    def _wait_for(self, now: float) -> bool:
        """Return whether commands beside the ended job are still ending: it did not leave them."""
        return bool(self._beside) and now < self._beside_until

    def _patience_s(self) -> float:
        """Return the seconds until the next step that no signal announces."""
        now = time.monotonic()
        moments = [
            at for at in (self._shim_record_at, self._warn_at, self._limit_at) if at is not None
        ]
        if self._start_error >= 0:
            moments.append(now + 0.1)
        if self._status is not None and self._wait_for(now):
            moments.append(self._beside_until)
        moments += self._termination.moments(now)
        return max(0.0, min(moments) - now) if moments else 3600.0

    # Ending

    def _sweep(self, now: float) -> None:
        """End the remaining processes of a job whose first process has ended by itself."""
        if self._status == 0 and signal_targets.ranks_left():
            self._message = (
                "The launcher exited with code 0 while its ranks still ran; look in the log "
                "for what ended the process between them."
            )
            self._status = 1 << 8
        self._termination.sweep(now)

    def _stop(self, cause: str, grace_s: float, save_s: float = 0.0) -> None:
        """Begin the termination, or hurry one that has begun; `save_s` comes before TERM."""
        now = time.monotonic()
        if self._termination.begun:
            self._termination.hurry(now, grace_s, save_s)
            return
        if self._status is None:
            self._cause = cause
        self._warn_at = self._limit_at = None
        self._termination.begin(now, grace_s, save_s)

    # The record

    def _finish(self) -> bool:
        """Report and record how the attempt ended; return whether nothing of it is left here."""
        if self._message:
            self._folders.append_to_log(self._message)
        if self._port is not None:
            self._port.close()
        end = self._end()
        # The worker first: the server releases the GPUs while we write.
        heard = files.tell(self._notice, "ended", json.dumps(end))
        if self._shim_record_at is not None and self._folders.has_files():
            self._folders.link()
        written = self._record.write(json.dumps(self._folders.named(end)).encode())
        if not heard:  # the file is the only copy: it must survive a power cut
            files.sync(self._folders.own, "exit.json")
        self._folders.close()
        return heard and written and self._cause == "exit" and self._shim_record_at is not None

    def _end(self) -> dict[str, Any]:
        status = self._status
        code: int | None = None
        number: int | None = None
        if status is not None and self._cause != "launch_error":
            if os.WIFSIGNALED(status):
                number = os.WTERMSIG(status)
            else:
                code = os.WEXITSTATUS(status)
        return {
            "attempt": self._folders.launch["attempt"],
            "exit_code": code,
            "signal": number,
            "cause": self._cause,
            "message": self._message,
            "port_taken": self._port_taken,
            "started_at": self._facts.get("started_at"),
            "ended_at": files.now_text(),
            "max_rss_bytes": self._usage.max_rss_bytes,
            "user_cpu_s": round(self._usage.user_s, 4),
            "system_cpu_s": round(self._usage.system_s, 4),
            "killed": self._termination.killed,
        }
