"""Programs that the server runs as a user, because they read what is that user's; within limits."""

from __future__ import annotations

import contextlib
import os
import pwd
import resource
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, cast

from berth.protocol.message import Message, quoted
from berth_server.service.auth.callers import Caller
from berth_server.service.errors import Invalid

# What git may need of the server's environment: where its programs and the system's settings lie.
_PASSED = ("PATH", "LANG", "TZ", "LD_LIBRARY_PATH")
_SAID_BYTES = 64 << 10


def run(
    program: Path,
    arguments: list[str],
    caller: Caller,
    *,
    output: int,
    timeout_s: float,
    most_bytes: int,
    given: int = subprocess.DEVNULL,
) -> tuple[int, str] | None:
    """
    Run a program of the standard library as the caller; return its exit code and its sentence.

    It reads `given` and writes at most `most_bytes` to any one file, `output` among them. None
    when it has not ended in time: it and what it has started are killed. Blocks. Raises Invalid.
    """
    # As text: Berth's own files need not be readable by all users.
    text = program.read_text(encoding="utf-8")
    command = [str(Path(sys.executable).resolve()), "-I", "-S", "-c", text, *arguments]
    try:
        process = cast(
            "subprocess.Popen[bytes]",
            subprocess.Popen(
                command,
                stdin=given,
                stdout=output,
                stderr=subprocess.PIPE,
                cwd="/",
                start_new_session=True,
                **_as(caller),
            ),
        )
    except PermissionError:
        raise _wrong(
            f"{caller.user} may not run Berth's own Python {command[0]}, so code cannot be "
            "frozen; ask an admin to install Berth where all users may run it, or leave out "
        ) from None
    with contextlib.suppress(ProcessLookupError, PermissionError):
        # Before it has read its own text. Hard: its user cannot raise it again.
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
        resource.prlimit(process.pid, resource.RLIMIT_CORE, (0, 0))
    assert process.stderr is not None
    # Open until it is known to have ended or is killed: a closed pipe would end it in another way.
    with process.stderr as pipe:
        said = _said(process, pipe.fileno(), time.monotonic() + timeout_s)
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            # Not waited for: on a dead network disk not even a kill ends it at once.
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1)
            return None
    return process.returncode, said.decode("utf-8", "replace").strip()


def _said(process: subprocess.Popen[bytes], begun: int, deadline: float) -> bytes:
    """Return the beginning of what a program says, having waited for its end until a deadline."""
    said = b""
    while (left := deadline - time.monotonic()) > 0 and process.poll() is None:
        if select.select([begun], [], [], min(left, 0.05))[0]:
            piece = os.read(begun, 1 << 16)
            if not piece:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(left)
                break
            said = (said + piece)[:_SAID_BYTES]
    # What was written before its end; something else may hold the pipe open.
    if process.poll() is not None and select.select([begun], [], [], 0)[0]:
        said = (said + os.read(begun, 1 << 16))[:_SAID_BYTES]
    return said


def _as(caller: Caller) -> dict[str, Any]:
    """Return options that run a program as the job will run: as the caller, if the server may."""
    environment = {name: os.environ[name] for name in _PASSED if name in os.environ}
    uid = caller.uid if os.geteuid() == 0 else os.geteuid()
    try:
        account = pwd.getpwuid(uid)
    except KeyError:
        own = {"HOME": os.environ.get("HOME", "/")} if uid == os.geteuid() else {}
        if not own:
            message = "You have no account on this box, so your code cannot be read."
            raise Invalid(Message.of(message), "snapshot") from None
        return {"env": environment | own}
    environment |= {"HOME": account.pw_dir, "USER": account.pw_name, "LOGNAME": account.pw_name}
    if uid == os.geteuid():
        return {"env": environment}
    groups = os.getgrouplist(account.pw_name, account.pw_gid)
    return {
        "env": environment,
        "user": uid,
        "group": account.pw_gid,
        "extra_groups": groups,
        "umask": 0o077,
    }


def _wrong(sentence: str) -> Invalid:
    return Invalid(Message.of(sentence, quoted("snapshot"), "."), "snapshot")
