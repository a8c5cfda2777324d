"""Verb `berth attach`: back to the terminal of a job."""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from berth.cli import failure, ids, jobtext
from berth.cli.declare import Exit
from berth.cli.failure import Failure
from berth.cli.following import PATIENCE_S
from berth.cli.session import connect, note
from berth.cli.wait_notices import WaitNotices
from berth.sessions import attached

if TYPE_CHECKING:
    import socket

    from berth.protocol.jobs import Job
    from berth.sdk.client import Client

_APPEARS_S = 30.0


def attach(job: ids.JobId) -> None:
    """Attach this terminal to a job of `berth shell` or `berth run --pty`; Ctrl-] detaches."""
    check_place()
    number, _ = ids.one(job)
    with connect() as client:
        found = client.job(number)
    attach_to(found, cancel_if_left=False)


def check_place() -> None:
    """Raise Failure where no terminal could be attached."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise Failure("A session needs a terminal; `berth run` runs a command without one.")
    check_here("A session")


def check_here(what: str) -> None:
    """Raise Failure on another machine than the server's."""
    from berth.sdk import address

    if address.resolve().socket is None:
        raise Failure(
            f"{what} is reached on its own machine: log in to the box, for example with ssh -t, "
            "and type it there, without BERTH_URL."
        )


def attach_to(job: Job, *, cancel_if_left: bool) -> NoReturn:
    """Attach to a job when it runs; leave with its exit code, or with 0 when detached."""
    with connect(patience=PATIENCE_S) as client:
        try:
            running = _started(client, job)
            connection = _connection(client, running)
        except KeyboardInterrupt:
            if cancel_if_left:
                client.cancel(job.id)
                note(f"\nJob {job.id} had not started, and was cancelled.")
            raise Exit(failure.INTERRUPTED) from None
        note(f"Attached to job {job.id}; Ctrl-] detaches, the end of the program ends the job.")
        with contextlib.suppress(attached.Gone):
            if attached.attach(connection) is None:
                note(
                    f"\nDetached. `berth attach {job.id}` reattaches, `berth cancel {job.id}` ends it."
                )
                raise Exit(0)
        (ended,) = client.wait(job.id)
    note(jobtext.end_sentence(ended))
    raise Exit(jobtext.exit_code(ended))


def _started(client: Client, job: Job) -> Job:
    """Wait until the job runs, saying meanwhile what it waits for."""
    notices = WaitNotices(client, job)
    last = client.events(limit=1, newest=True).last_id
    found = client.job(job.id)
    events = client.follow_events(after=last, job=job.id)
    while not found.state.is_final and found.state.value != "running":
        next(events)
        found = client.job(job.id)
        if not found.state.is_final:
            notices(found)
    if found.state.is_final:
        note(jobtext.end_sentence(found))
        raise Exit(jobtext.exit_code(found))
    return found


def _connection(client: Client, job: Job) -> socket.socket:
    """Connect to the session of a running job."""
    folder = Path(job.attempts[-1].run_dir) / "files"
    deadline = time.monotonic() + _APPEARS_S
    while True:
        try:
            return attached.connect(folder)
        except PermissionError:
            raise Failure(
                f"Job {job.id} is {job.user}'s; only its user can attach to it.", failure.REFUSED
            ) from None
        except OSError:
            if client.job(job.id).state.is_final or time.monotonic() > deadline:
                raise Failure(
                    f"Job {job.id} has no terminal; `berth exec {job.id} -- bash` opens one beside it, "
                    f"`berth logs -f {job.id}` shows what it writes."
                ) from None
        time.sleep(0.05)
