"""
Execution of the job's first process: spawned where that is enough, forked where it has to put
up a fence or become another user first.
"""
# pathlib is left out: see files.py.
# ruff: noqa: PTH110, PTH112, PTH113

from __future__ import annotations

import errno
import os
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    Enter = Callable[..., None]

# Python ignores some signals, and the job would inherit that.
_DEFAULTS = [
    number
    for number in range(1, signal.SIGSYS + 1)
    if number not in (signal.SIGKILL, signal.SIGSTOP)
]


class CannotStartError(Exception):
    """The job cannot be started; the message is a sentence for its user."""


def is_plain(launch: dict[str, Any]) -> bool:
    """Return whether the job can be spawned: no fence, no other user."""
    fence = launch["fence"]
    unfenced = not fence["mask"] and not fence["drop_capabilities"]
    return unfenced and launch.get("uid") in (None, os.geteuid())


def spawn(launch: dict[str, Any], log: int) -> int:
    """
    Start the job without a fork of this process in between (2 ms less); return its pid.

    Raises CannotStartError.
    """
    _enter_folder(launch["cwd"])
    os.umask(launch.get("umask", 0o022))
    argv, env = launch["argv"], launch["env"]
    try:
        return os.posix_spawn(
            _program(argv[0], env),
            argv,
            env,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, log, 1),
                (os.POSIX_SPAWN_DUP2, log, 2),
            ],
            setsid=True,  # `kill 0` in a job's script must not reach the shim
            setsigmask=(),
            setsigdef=_DEFAULTS,
        )
    except (OSError, ValueError) as error:
        raise CannotStartError(_why_not(error, launch)) from None
    finally:
        os.umask(0o022)
        os.chdir("/")


def _program(name: str, env: dict[str, str]) -> str:
    """Return the path of a program that is named by a path or lies on the job's own PATH."""
    if "/" in name:
        return name
    refused: str | None = None
    for folder in env.get("PATH", os.defpath).split(":"):
        path = f"{folder or '.'}/{name}"
        if os.access(path, os.X_OK) and not os.path.isdir(path):
            return path
        if os.path.exists(path):
            refused = refused or path
    if refused:
        return refused
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)


def fork(launch: dict[str, Any], log: int, enter: Enter | None) -> tuple[int, int]:
    """
    Start the job through a fork of this process; return its pid and a pipe for an error.

    The pipe closes empty when the job's program starts, else it carries one sentence.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        return child, reading
    try:
        _become(launch, log, enter)
    except CannotStartError as error:
        os.write(writing, str(error).encode(errors="replace"))
    except BaseException as error:  # noqa: BLE001 - a fork must never return into the shim
        os.write(writing, f"The attempt cannot be set up: {error!r}.".encode(errors="replace"))
    finally:
        os._exit(127)


def _become(launch: dict[str, Any], log: int, enter: Enter | None) -> NoReturn:
    try:
        os.setsid()
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.umask(launch.get("umask", 0o022))
    except OSError as error:
        raise CannotStartError(f"The attempt cannot be set up: {reason(error)}.") from None
    confine(launch, enter)
    execute(launch)


def confine(launch: dict[str, Any], enter: Enter | None) -> None:
    """Enter the job's fence and become its user. Raises CannotStartError."""
    step = "The attempt cannot be set up"
    uid = launch.get("uid")
    try:
        fence = launch["fence"]
        (enter or load_fence(fence["apply"]))(
            fence["mask"],
            user_namespace=fence["user_namespace"],
            drop_capabilities=fence["drop_capabilities"],
        )
        if uid not in (None, os.geteuid()):
            step = f"The job cannot run as user id {uid}"
            os.setgroups(launch["groups"])
            os.setgid(launch["gid"])
            os.setuid(uid)
    except OSError as error:
        raise CannotStartError(f"{step}: {reason(error)}.") from None


def execute(launch: dict[str, Any]) -> NoReturn:
    """Become the program of `launch`, in its folder. Raises CannotStartError."""
    _enter_folder(launch["cwd"])
    for number in _DEFAULTS:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    argv, env = launch["argv"], launch["env"]
    try:
        os.execve(_program(argv[0], env), argv, env)  # noqa: S606 - the job
    except (OSError, ValueError) as error:
        raise CannotStartError(_why_not(error, launch)) from None


def _enter_folder(cwd: str) -> None:
    try:
        os.chdir(cwd)
    except OSError as error:
        raise CannotStartError(
            f"The job's folder {cwd} cannot be entered: {reason(error)}."
        ) from None


def load_fence(path: str) -> Enter:
    """Load the fence's entry function from its file."""
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
    """Return the text of an error, without a full stop."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text.rstrip(".") or type(error).__name__


def _why_not(error: Exception, launch: dict[str, Any]) -> str:
    """Return why a program could not be started, with the fix."""
    name = launch["argv"][0]
    code = error.errno if isinstance(error, OSError) else None
    path = name if name.startswith("/") else f"{launch['cwd']}/{name}"
    if code == errno.ENOENT and "/" not in name and os.path.isfile(path):
        return (
            f"{name} lies in {launch['cwd']}, and programs are looked up on PATH; write ./{name}, or "
            f"start it through its interpreter (`bash {name}`, `python {name}`)."
        )
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
