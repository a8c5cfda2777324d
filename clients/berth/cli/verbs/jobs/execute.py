"""Verb `berth exec`: a command beside a running job."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from berth.cli import failure, ids
from berth.cli.declare import Argument, Exit
from berth.cli.failure import Failure
from berth.cli.session import connect
from berth.cli.verbs.jobs.attach import check_here
from berth.cli.verbs.jobs.shell import PASSED_ON
from berth.sessions import attached

if TYPE_CHECKING:
    import socket

    from berth.sdk.client import Client

_APPEARS_S = 30.0


def exec_(
    job: ids.JobId,
    command: Annotated[
        list[str], Argument(metavar="COMMAND", help="Program and arguments, after --.")
    ],
) -> None:
    """
    Run a command beside your running job, on its GPUs, and exit with its exit code.

    It runs in the job's folder, environment and fence, counts to the job and ends with it.

    berth exec 42 -- nvidia-smi
    berth exec 42 -- py-spy dump --pid 4711
    berth exec 42 -- bash
    """
    check_here("A command beside a job")
    number, attempt = ids.one(job)
    if attempt is not None:
        raise Failure(f"Only the attempt that runs has processes; write {number}.")
    words = command[1:] if command[0] == "--" else command
    if not words:
        raise Failure("There is no command to run; write one, like: berth exec 42 -- nvidia-smi")
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    env = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    with connect() as client:
        started = client.execute(number, words, terminal=terminal, env=env if terminal else {})
        connection = _connection(client, number, Path(started.socket))
    try:
        code = attached.attach(connection) if terminal else attached.pipe(connection)
    except KeyboardInterrupt:
        raise Exit(failure.INTERRUPTED) from None
    except (attached.Gone, OSError):
        raise Failure(
            f"Job {number} has ended, and the command with it.", failure.JOB_FAILED
        ) from None
    raise Exit(0 if code is None else code)


def _connection(client: Client, job: int, path: Path) -> socket.socket:
    """Connect to the command as soon as it is there."""
    deadline = time.monotonic() + _APPEARS_S
    while True:
        try:
            return attached.connect(path.parent, path.name)
        except PermissionError:
            raise Failure(
                f"You may not enter {path.parent}; run it as the user of job {job}.",
                failure.REFUSED,
            ) from None
        except OSError:
            if client.job(job).state.is_final:
                raise Failure(
                    f"Job {job} ended before the command started.", failure.JOB_FAILED
                ) from None
            if time.monotonic() > deadline:
                raise Failure(
                    f"The worker did not start it within {_APPEARS_S:.0f} s; `berth doctor` shows "
                    "whether it runs.",
                    failure.UNREACHABLE,
                ) from None
        time.sleep(0.02)
