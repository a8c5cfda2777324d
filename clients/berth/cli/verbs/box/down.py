"""Verb `berth down`: stop server and worker."""

from __future__ import annotations

import signal
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from berth import home as homes
from berth.cli import text
from berth.cli.failure import REFUSED, Failure
from berth.cli.session import AsJson, note, print_json
from berth.cli.startup import DRAINED_BY_DOWN, boxwide_is_up
from berth.daemons import identity
from berth.home import DAEMONS, Home

if TYPE_CHECKING:
    from berth.sdk.client import Client

_ACTIVE = ("starting", "running", "stopping")
_GRACE_S = 15.0


class RunningJobs(StrEnum):
    """Treatment of running jobs."""

    LEAVE = "leave"
    CANCEL = "cancel"
    WAIT = "wait"


def down(
    *,
    jobs: Annotated[
        RunningJobs,
        typer.Option(
            help="Running jobs: leave them running, cancel them, or wait for them to end."
        ),
    ] = RunningJobs.LEAVE,
    as_json: AsJson = False,
) -> None:
    """
    Stop server and worker. By default running jobs continue; queued jobs stay queued.

    Does nothing when they do not run.
    """
    home = homes.resolve()
    if not _alive(home, "keeper") and boxwide_is_up(home):
        raise Failure("This box's Berth is run by root; only root can stop it.", REFUSED)
    were_up = [name for name in ("keeper", *DAEMONS) if _alive(home, name)]
    going_on = _settle_jobs(home, jobs, quiet=as_json) if were_up else _running_attempts(home)
    # The supervisor first, or it would restart the daemons stopped below.
    for name in ("keeper", "worker", "server"):
        who = _alive(home, name)
        if who is not None and who.send(signal.SIGTERM) and not who.wait(2 * _GRACE_S):
            who.send(signal.SIGKILL)
            who.wait(_GRACE_S)
    if as_json:
        print_json({"were_up": were_up, "jobs_that_go_on": going_on})
        return
    print("Berth is down." if were_up else "Berth was not up.")
    if going_on:
        continue_, them = ("continues", "it") if len(going_on) == 1 else ("continue", "them")
        print(
            f"{text.plural(len(going_on), 'job')} {continue_} to run: {text.indices(going_on)}; "
            f"`berth up` takes {them} over again."
        )


def _alive(home: Home, name: str) -> identity.Identity | None:
    return identity.alive(home.supervisor_pid if name == "keeper" else home.pid(name))


def _settle_jobs(home: Home, jobs: RunningJobs, *, quiet: bool) -> list[int]:
    """Treat the running jobs as asked; return the ids of those that continue."""
    from berth.sdk.client import Client
    from berth.sdk.errors import BerthError

    try:
        with Client(f"unix://{home.socket}", patience=0.0) as client:
            if jobs is not RunningJobs.LEAVE:
                _end_jobs(client, jobs, quiet=quiet)
            return sorted(job.id for job in client.jobs(state=_ACTIVE))
    except BerthError as error:
        if jobs is not RunningJobs.LEAVE:
            raise
        note(f"berth: {text.refusal(error)}")
        return _running_attempts(home)


def _end_jobs(client: Client, jobs: RunningJobs, *, quiet: bool) -> None:
    """
    Cancel, or wait for, the running jobs, while no queued job takes the freed GPUs.

    The GPUs stay drained, or queued jobs would start on them just before the daemons stop;
    `berth up` undrains them.
    """
    running = sorted(job.id for job in client.jobs(state=_ACTIVE))
    if not running:
        return
    drained = [gpu.uuid for gpu in client.gpus().gpus if not gpu.draining]
    for uuid in drained:
        client.drain(uuid, DRAINED_BY_DOWN)
    try:
        if not quiet:
            doing = "Cancelling" if jobs is RunningJobs.CANCEL else "Waiting for"
            note(f"{doing} {text.plural(len(running), 'job')}: {text.indices(running)}.")
        for job_id in running if jobs is RunningJobs.CANCEL else ():
            client.cancel(job_id)
        client.wait(running)
    except BaseException:
        for uuid in drained:
            client.undrain(uuid)
        raise


def _running_attempts(home: Home) -> list[int]:
    """Return the ids of jobs whose shim is alive, from the run directories alone."""
    return sorted(
        {
            int(record.parent.parent.name)
            for record in home.folder.glob("runs/*/*/shim.json")
            if identity.alive(record, "shim") is not None
        }
    )
