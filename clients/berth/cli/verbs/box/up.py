"""Verb `berth up`: start server and worker and keep them running."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from typing import Annotated

import typer

from berth import home as homes
from berth import installing
from berth.cli import failure
from berth.cli.durations import seconds
from berth.cli.failure import Failure
from berth.cli.session import AsJson, print_json
from berth.cli.startup import Up, boxwide_is_up, refusal, wait_until_up
from berth.daemons import identity
from berth.home import Home


def up(
    *,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return when jobs can be submitted.")
    ] = False,
    timeout: Annotated[
        str, typer.Option(metavar="DURATION", help="Maximum wait for that, like 30s or 2m.")
    ] = "60s",
    as_json: AsJson = False,
) -> None:
    """
    Start server and worker and keep them running.

    Stays in the foreground unless --detach is given. Does nothing when they already run. State is kept in BERTH_HOME.
    """
    timeout_s = seconds(timeout, least=1.0)
    home = homes.resolve()
    if boxwide_is_up(home):
        print(f"Berth is already up for this box at {homes.BOX_HOME.folder}; you can submit jobs.")
        return
    supervisor = identity.alive(home.supervisor_pid)
    if supervisor is not None:
        _print_up(_wait(home, timeout_s), as_json=as_json, already=supervisor.pid)
        return
    _check_installed()
    try:
        home.make()
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise Failure(
                f"The disk of {home.folder} is full, so Berth cannot start; free space there."
            ) from error
        raise Failure(
            f"Berth cannot keep its state in {home.folder}: {error.strerror}; set BERTH_HOME to a folder of yours."
        ) from error
    os.environ["BERTH_HOME"] = str(home.folder)
    command = [sys.executable, "-P", "-m", "berth.daemons"]
    if detach:
        _detach(home, command)
        try:
            started = _wait(home, timeout_s)
        except Failure:
            _stop_supervisor(home)
            raise
        _print_up(started, as_json=as_json)
        return
    announce = [sys.executable, "-P", "-m", "berth.cli.startup", str(timeout_s)]
    sys.stdout.flush()
    # Replaces this process: the supervisor needs none of the command line's modules.
    os.execv(command[0], [*command, "--announce", *announce])  # noqa: S606 - an argv list, no shell


def _check_installed() -> None:
    for daemon in ("server", "worker"):
        if not installing.has(daemon):
            raise Failure(
                f"The {daemon} is not installed here; "
                f"`{installing.command('server', 'worker')}` adds it."
            )


def _detach(home: Home, command: list[str]) -> None:
    with home.log("up").open("ab") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,
        )
    while identity.alive(home.supervisor_pid) is None:
        if process.poll() is not None:
            said = refusal(home)
            raise Failure(
                said or f"Berth did not start; see {home.log('up')}.", failure.UNREACHABLE
            )
        time.sleep(0.01)


def _wait(home: Home, timeout_s: float) -> Up:
    from berth.sdk.client import Client

    with Client(f"unix://{home.socket}", patience=0.0) as client:
        return wait_until_up(home, client, timeout_s)


def _stop_supervisor(home: Home) -> None:
    import signal

    supervisor = identity.alive(home.supervisor_pid)
    if supervisor is not None and supervisor.send(signal.SIGTERM):
        supervisor.wait(30.0)


def _print_up(up: Up, *, as_json: bool, already: int | None = None) -> None:
    if as_json:
        print_json({**up.facts(), "already_up": already is not None})
        return
    if already is not None:
        print(f"Berth was already up (pid {already}).")
    print(up.lines())
