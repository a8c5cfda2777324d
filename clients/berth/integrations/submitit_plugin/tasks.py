"""
Program of a submitted function's job: starts its tasks, and copies their output.

Each task is submitit's own program. Its output goes to the files that submitit reads, and to the
job's log. When a task fails, the others get half a minute.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import IO, BinaryIO

_AFTER_A_FAILURE_S = 30.0
_PIECE = 1 << 16


def main() -> int:
    """Run the tasks; return the first failed one's exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("pickle", type=Path)
    parser.add_argument("environment", type=Path)
    parser.add_argument("tasks", type=int)
    parser.add_argument("--stderr-to-stdout", action="store_true")
    options = parser.parse_args()
    _name_pickle(options.folder, options.pickle)
    signal.signal(signal.SIGTERM, _leave_it_to_the_tasks)
    environment = {
        **json.loads(options.environment.read_text(encoding="utf-8")),
        **os.environ,
        "SUBMITIT_EXECUTOR": "berth",
        # Berth warns with it, and only processes that handle it.
        "SUBMITIT_PREEMPT_SIGNAL": "USR1",
        "SUBMITIT_BERTH_NTASKS": str(options.tasks),
        "SUBMITIT_BERTH_NUM_NODES": "1",
        "SUBMITIT_BERTH_NODEID": "0",
    }
    merged = options.stderr_to_stdout
    tasks = [
        _Task(rank, options.folder, environment, merged=merged) for rank in range(options.tasks)
    ]
    return _wait(tasks)


def _leave_it_to_the_tasks(number: int, frame: FrameType | None) -> None:
    """Every process of a job has the signal: the tasks decide, and their ends end this one."""


def _name_pickle(folder: str, pickle: Path) -> None:
    """Give the function its name by the job's id, unless the submitter has done so."""
    # Only now: this program's own imports stay few, a job waits for them.
    from submitit.core.utils import JobPaths

    target = JobPaths(folder, job_id=os.environ["BERTH_JOB_ID"]).submitted_pickle
    target.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError, FileNotFoundError):
        os.link(pickle, target)


class _Task:
    """One rank, and the threads that copy what it prints."""

    def __init__(
        self, rank: int, folder: str, environment: dict[str, str], *, merged: bool
    ) -> None:
        from submitit.core.utils import JobPaths

        paths = JobPaths(folder, job_id=environment["BERTH_JOB_ID"], task_id=rank)
        ranks = {"SUBMITIT_BERTH_LOCALID": str(rank), "SUBMITIT_BERTH_GLOBALID": str(rank)}
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-m", "submitit.core._submit", folder],
            env={**environment, **ranks},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if merged else subprocess.PIPE,
        )
        streams: list[tuple[IO[bytes] | None, Path, BinaryIO]] = [
            (self.process.stdout, paths.stdout, sys.stdout.buffer),
            (self.process.stderr, paths.stderr, sys.stderr.buffer),
        ]
        self._threads = [
            threading.Thread(target=_copy, args=(source, path, log), daemon=True)
            for source, path, log in streams
            if source is not None
        ]
        for thread in self._threads:
            thread.start()

    def finish(self) -> int:
        """Return the exit code, when all output is copied."""
        code = self.process.wait()
        for thread in self._threads:
            # A process that it left behind may hold the pipe.
            thread.join(timeout=5.0)
        return 128 - code if code < 0 else code


def _copy(source: IO[bytes], path: Path, log: BinaryIO) -> None:
    with path.open("ab") as file:
        while piece := os.read(source.fileno(), _PIECE):
            file.write(piece)
            file.flush()
            log.write(piece)
            log.flush()


def _wait(tasks: list[_Task]) -> int:
    """Wait for every task; those that outlive a failed one are ended."""
    failed_at: float | None = None
    while any(task.process.poll() is None for task in tasks):
        ended = [code for task in tasks if (code := task.process.poll()) is not None]
        if failed_at is None and any(ended):
            failed_at = time.monotonic()
        if failed_at is not None and time.monotonic() - failed_at > _AFTER_A_FAILURE_S:
            print("A task failed, so the others are ended.", file=sys.stderr, flush=True)
            for task in tasks:
                task.process.kill()
            break
        running = next(task for task in tasks if task.process.poll() is None)
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.process.wait(timeout=None if len(tasks) == 1 else 0.5)
    codes = [task.finish() for task in tasks]
    return next((code for code in codes if code), 0)


if __name__ == "__main__":
    sys.exit(main())
