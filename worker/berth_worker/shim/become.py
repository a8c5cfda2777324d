"""Becoming the job: what happens between fork and exec."""
# pathlib is left out: see files.py.
# ruff: noqa: PTH110, PTH112

from __future__ import annotations

import errno
import os
import signal

from berth_worker.shim import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    Enter = Callable[..., None]


def become(launch: dict[str, Any], log: int, complaint: int, enter: Enter | None) -> NoReturn:
    """
    Turn this process into the job.

    What prevents it is written to `complaint` as one sentence; otherwise that closes without
    a word when the job's program starts.
    """
    try:
        try:
            _prepare(launch, log, enter)
        except _CannotError as error:
            os.write(complaint, str(error).encode(errors="replace"))
            os._exit(127)
        try:
            os.execvpe(launch["argv"][0], launch["argv"], launch["env"])  # noqa: S606 - the job
        except (OSError, ValueError) as error:
            os.write(complaint, _why_not(error, launch).encode(errors="replace"))
    except BaseException as error:  # noqa: BLE001 - a fork must never return into the shim
        os.write(complaint, f"The attempt cannot be set up: {error!r}.".encode(errors="replace"))
    finally:
        os._exit(127)


class _CannotError(Exception):
    """The message is the sentence."""


def _prepare(launch: dict[str, Any], log: int, enter: Enter | None) -> None:
    step = "The attempt cannot be set up"
    try:
        os.setsid()  # `kill 0` in a job's script must not reach the shim
        os.umask(launch.get("umask", 0o022))
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        files.write("/proc/self/oom_score_adj", "0")
        cgroup = launch.get("cgroup")
        if cgroup:
            files.write(f"{cgroup}/cgroup.procs", "0")
        fence = launch["fence"]
        if fence["mask"] or fence["drop_capabilities"]:
            (enter or load_fence(fence["apply"]))(
                fence["mask"],
                user_namespace=fence["user_namespace"],
                drop_capabilities=fence["drop_capabilities"],
            )
        uid = launch.get("uid")
        if uid is not None and os.geteuid() == 0 and uid != 0:
            step = f"The job cannot run as user id {uid}"
            os.setgroups(launch["groups"])
            os.setgid(launch["gid"])
            os.setuid(uid)
        step = f"The job's folder {launch['cwd']} cannot be entered"
        os.chdir(launch["cwd"])
    except OSError as error:
        raise _CannotError(f"{step}: {reason(error)}.") from None
    for number in range(1, signal.SIGSYS + 1):
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def load_fence(path: str) -> Enter:
    """The fence's door, from the file that holds it."""
    from importlib.machinery import SourceFileLoader
    from importlib.util import module_from_spec, spec_from_loader

    loader = SourceFileLoader("berth_fence", path)
    spec = spec_from_loader("berth_fence", loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    enter: Enter = module.enter
    return enter


def reason(error: Exception) -> str:
    """What an error says, without a full stop."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text.rstrip(".") or type(error).__name__


def _why_not(error: Exception, launch: dict[str, Any]) -> str:
    """Why a program could not be started, with the mend."""
    name = launch["argv"][0]
    code = error.errno if isinstance(error, OSError) else None
    path = name if name.startswith("/") else f"{launch['cwd']}/{name}"
    if code == errno.ENOENT and "/" not in name:
        return (
            f"{name} was not found on the job's PATH; install it in the job's environment or "
            "give its full path."
        )
    if code == errno.ENOENT and os.path.exists(path):
        return f"{name} names an interpreter in its first line that does not exist here."
    if code in (errno.ENOENT, errno.ENOTDIR):
        return f"{name} does not exist (relative paths begin in {launch['cwd']})."
    if code == errno.EACCES and os.path.isdir(path):
        return f"{name} is a folder; name a program in it."
    if code == errno.EACCES:
        return (
            f"{name} may not be executed; run `chmod +x {name}` or start it through its "
            f"interpreter (`bash {name}`, `python {name}`)."
        )
    if code == errno.ENOEXEC:
        return (
            f"{name} is not a program: begin it with a line like `#!/bin/bash`, or start it "
            "through its interpreter."
        )
    if code == errno.E2BIG:
        return "The command or its environment is too long for the kernel; put it into a file."
    return f"{name} cannot be started: {reason(error)}."
