"""
Named points at which a process dies, put around Berth's functions from outside.

`python points.py --keep berth_server` (or `berth_worker`) keeps that daemon up with the points in place; its
worker starts this file in place of the shim's entry. Berth itself has no hooks: what is installed
runs none of this. A point that is armed, a file of its name in `$BERTH_SOAK`, kills the first
process that comes there with SIGKILL, which leaves nothing to clean up, as a real kill does.
"""

# pathlib is left out: shims start without it.
# ruff: noqa: PTH100, PTH108, PTH120, PTH123

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import signal
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# Process, point: (module, function, before or after it).
POINTS = {
    # Between the decision and the answer of a submit, a plan, a report.
    "server.before_commit": ("berth_server.store.database", "Database.write", "inside"),
    "server.committed": ("berth_server.store.database", "Database.write", "after"),
    "server.report_taken": ("berth_server.api.routes.internal", "on_report", "after"),
    "server.desired_read": (
        "berth_server.service.scheduling.cache",
        "SchedulerCache.desired_state",
        "after",
    ),
    # From the orders to the shim.
    "worker.before_folder": ("berth_worker.attempts.rundir", "RunDir.make", "before"),
    "worker.folder_made": ("berth_worker.attempts.rundir", "RunDir.make", "after"),
    "worker.orders_written": (
        "berth_worker.launch.shim_launcher",
        "ShimLauncher.start",
        "before",
    ),
    "worker.shim_started": ("berth_worker.launch.shim_launcher", "ShimLauncher.start", "after"),
    "worker.launched": ("berth_worker.attempts.attempt_runner", "launch", "after"),
    # From the end to the report.
    "worker.end_heard": ("berth_worker.attempts.attempt_runner", "AttemptRunner.finish", "before"),
    "worker.report_built": ("berth_worker.server_link.report", "Reporter.build", "after"),
    "worker.stop_asked": ("berth_worker.attempts.supervisor", "Supervisor._stop", "after"),
    # The fork server: the fork, the message.
    "forks.before_fork": ("berth_worker.shim.fork_server", "_fork_shim", "before"),
    "forks.handed_over": ("berth_worker.shim.fork_server", "_hand_over", "after"),
    # The shim: claim, log, fork, exec, the messages, the record.
    "shim.before_claim": ("berth_worker.shim.folders", "Folders.claim", "before"),
    "shim.claimed": ("berth_worker.shim.folders", "Folders.claim", "after"),
    "shim.log_open": ("berth_worker.shim.folders", "Folders.open_for_job", "after"),
    "shim.spawned": ("berth_worker.shim.exec_job", "spawn", "after"),
    "shim.forked": ("berth_worker.shim.exec_job", "fork", "after"),
    "job.before_exec": ("berth_worker.shim.exec_job", "_enter_folder", "before"),
    "shim.began": ("berth_worker.shim.supervise", "Shim._begin", "after"),
    "shim.noted": ("berth_worker.shim.supervise", "Shim._write_shim_record", "after"),
    "shim.stop_heard": ("berth_worker.shim.supervise", "Shim._stop", "after"),
    "shim.all_reaped": ("berth_worker.shim.supervise", "Shim._finish", "before"),
    "shim.end_told": ("berth_worker.shim.record", "Record.write", "before"),
    "shim.recorded": ("berth_worker.shim.record", "Record.write", "after"),
}
_CLOCK = "clock"


def hit(point: str) -> None:
    """Die here if the point is armed; the first that comes disarms it."""
    folder = os.environ["BERTH_SOAK"]
    try:
        os.unlink(f"{folder}/{point}")
    except OSError:
        return
    with contextlib.suppress(OSError):
        os.close(os.open(f"{folder}/hit.{point}.{os.getpid()}", os.O_CREAT | os.O_WRONLY, 0o666))
    os.kill(os.getpid(), signal.SIGKILL)


def place(*processes: str) -> None:
    """Put the points of these processes around their functions."""
    for point, (module_name, path, where) in POINTS.items():
        if point.partition(".")[0] not in processes:
            continue
        owner = importlib.import_module(module_name)
        *parents, name = path.split(".")
        for parent in parents:
            owner = getattr(owner, parent)
        setattr(owner, name, _around(getattr(owner, name), point, where))


def _around(function, point: str, where: str):
    if where == "inside":

        @contextlib.contextmanager
        def entered(*args: object, **more: object):
            with function(*args, **more) as value:
                yield value
                hit(point)

        return entered
    if where == "after" and point == "server.committed":

        @contextlib.contextmanager
        def left(*args: object, **more: object):
            with function(*args, **more) as value:
                yield value
            hit(point)

        return left

    @functools.wraps(function)
    def called(*args: object, **more: object) -> object:
        if where == "before":
            hit(point)
        value = function(*args, **more)
        if where == "after":
            hit(point)
        return value

    return called


def _step_clock() -> None:
    """Let the daemon's wall clock follow the number of seconds in a file, looked at once a second."""
    import time

    real, path = time.time, f"{os.environ['BERTH_SOAK']}/{_CLOCK}"
    seen = [0.0, 0.0]

    def stepped() -> float:
        now = real()
        if now - seen[0] > 1.0:
            seen[0] = now
            try:
                with open(path, encoding="ascii") as file:
                    seen[1] = float(file.read() or 0)
            except (OSError, ValueError):
                seen[1] = 0.0
        return now + seen[1]

    time.time = stepped


def _daemon(name: str) -> None:
    _step_clock()
    if name == "berth_worker":
        place("worker")
        from berth_worker.launch import shim_launcher

        shim_launcher._PROGRAM = os.path.abspath(__file__)  # noqa: SLF001 - this is from outside
        from berth_worker.daemon import main
    else:
        place("server")
        from berth_server.__main__ import main
    sys.exit(main())


def _keep(name: str) -> None:
    """Load a daemon's modules once, and fork it again as often as it ends; its pid is printed."""
    import time

    importlib.import_module({"berth_server": "berth_server.__main__"}.get(name, f"{name}.daemon"))
    while True:
        pid = os.fork()
        if pid == 0:
            devnull = os.open(os.devnull, os.O_WRONLY)
            os.dup2(devnull, 1)
            try:
                _daemon(name)
            except SystemExit as end:
                os._exit(end.code if isinstance(end.code, int) else 1)
            finally:
                os._exit(1)
        print(pid, flush=True)
        os.waitpid(pid, 0)
        print(0, flush=True)
        time.sleep(0.05)


def _shim() -> None:
    """Do as the shim's own entry does."""
    sys.path.append(f"{ROOT}/worker")
    from berth_worker.shim import fork_server, supervise

    place("forks", "shim", "job")
    if sys.argv[1] == "--fork-server":
        fork_server.serve(int(sys.argv[2]), sys.argv[3])
    else:
        supervise.main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else -1)


if __name__ == "__main__":
    if sys.argv[1] == "--keep":
        _keep(sys.argv[2])
    else:
        _shim()
