"""Becoming the job: what happens between fork and exec, most of it beforehand."""
# pathlib is left out: see files.py.
# ruff: noqa: PTH110, PTH112, PTH120

from __future__ import annotations

import errno
import json
import os
import signal

from berth_worker.shim import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    Enter = Callable[..., None]

# Python ignores some signals from its start, and so would the job.
_IGNORED = [
    number for number in range(1, signal.SIGSYS + 1) if signal.getsignal(number) is signal.SIG_IGN
]


def body(orders: int, complaint: int, enter: Enter | None) -> NoReturn:
    """
    Wait for the path of a launch.json, get ready, wait for the word, and become the job.

    Orders are the path with a line's end, then `!` once the attempt is claimed; when they end
    early there is no job. What prevents it is written to `complaint` as one sentence;
    otherwise that closes without a word when the job's program starts.
    """
    try:
        path, _, word = os.read(orders, 8192).partition(b"\n")
        if path:
            _become(os.fsdecode(path), word, orders, complaint, enter)
    except BaseException as error:  # noqa: BLE001 - a fork must never return into the shim
        os.write(complaint, f"The attempt cannot be set up: {error!r}.".encode(errors="replace"))
    finally:
        os._exit(127)


def _become(path: str, word: bytes, orders: int, complaint: int, enter: Enter | None) -> None:
    problem = ""
    launch: dict[str, Any] = {}
    try:
        launch = json.loads(files.read(path))
        _prepare(os.path.dirname(path), launch, enter)
    except _CannotError as error:
        problem = str(error)
    except ValueError:
        problem = "The attempt's launch.json cannot be read."
    if (word or os.read(orders, 1)) != b"!":
        return  # somebody else runs it
    if problem:
        os.write(complaint, problem.encode(errors="replace"))
        return
    for number in _IGNORED:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    try:
        os.execvpe(launch["argv"][0], launch["argv"], launch["env"])  # noqa: S606 - the job
    except (OSError, ValueError) as error:
        os.write(complaint, _why_not(error, launch).encode(errors="replace"))


class _CannotError(Exception):
    """The message is the sentence."""


def _prepare(folder: str, launch: dict[str, Any], enter: Enter | None) -> None:
    step = "The attempt cannot be set up"
    uid = launch.get("uid")
    try:
        os.setsid()  # `kill 0` in a job's script must not reach the shim
        os.dup2(_open_log(folder, uid, launch.get("gid", -1)), 1)
        os.dup2(1, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.umask(launch.get("umask", 0o022))
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
        if uid:
            step = f"The job cannot run as user id {uid}"
            os.setgroups(launch["groups"])
            os.setgid(launch["gid"])
            os.setuid(uid)
        step = f"The job's folder {launch['cwd']} cannot be entered"
        os.chdir(launch["cwd"])
    except OSError as error:
        raise _CannotError(f"{step}: {reason(error)}.") from None


def _open_log(folder: str, uid: int | None, gid: int) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    log = os.open(f"{folder}/output.log", flags, 0o644)
    if uid:
        os.fchown(log, uid, gid)
        os.chown(folder, uid, gid)
    return log


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
