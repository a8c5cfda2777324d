"""Verb `berth ls`: list of jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from berth.cli import jobtext
from berth.cli.declare import Option
from berth.cli.failure import Failure
from berth.cli.session import AsJson, connect, print_json
from berth.cli.table import Column, render
from berth.cli.whole import completion

if TYPE_CHECKING:
    from berth.protocol.jobs import Job
    from berth.sdk.client import Client

_PENDING = ("held", "waiting", "queued")
_ACTIVE = ("starting", "running", "stopping")
_FINAL = ("succeeded", "failed", "cancelled")
_STATES = (*_PENDING, *_ACTIVE, *_FINAL)
_RECENT = 10

_COLUMNS = (
    Column("ID", right=True),
    Column("STATE"),
    Column("USER", least=6),
    Column("NAME", least=8),
    Column("GPUS"),
    Column("SINCE", right=True),
    Column("", least=0),
)


def ls(
    *,
    state: Annotated[
        list[str] | None,
        Option("--state", "-s", metavar="STATE", help="Only jobs in this state; may be repeated."),
    ] = None,
    everything: Annotated[bool, Option("--all", "-a", help="Include all ended jobs.")] = False,
    mine: Annotated[bool, Option("--mine", "-m", help="Only my own jobs.")] = False,
    user: Annotated[
        str | None,
        Option(
            "--user",
            "-u",
            metavar="NAME",
            help="Only this user's jobs.",
            autocompletion=completion.users,
        ),
    ] = None,
    label: Annotated[
        list[str] | None,
        Option(
            "--label",
            "-l",
            metavar="KEY=VALUE",
            help="Only jobs with key=value; may be repeated.",
            autocompletion=completion.labels,
        ),
    ] = None,
    limit: Annotated[
        int | None,
        Option("-n", "--limit", metavar="N", min=1, help="Maximum number of jobs."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """
    List jobs: all that have not ended, and the last ten that have.

    Running jobs come first, then the queue in its order of starting.
    """
    states = _checked(state or [])
    labels = _pairs(label or [])
    with connect() as client:
        who = client.me().user if mine else user
        jobs = _fetch(client, states, who, labels, limit, everything=everything)
    if as_json:
        print_json(jobs)
    elif jobs:
        print(rendered(jobs))
    else:
        print("No jobs." if everything and not states else "No matching jobs.")


def rendered(jobs: list[Job]) -> str:
    """Render the jobs as a table."""
    return render(_COLUMNS, [_row(job) for job in jobs])


def living(client: Client, limit: int) -> list[Job]:
    """Return jobs that have not ended: running ones first, then the queue in order."""
    return sorted(client.jobs(state=(*_ACTIVE, *_PENDING), limit=limit), key=_place)


def _fetch(
    client: Client,
    states: list[str],
    user: str | None,
    labels: dict[str, str],
    limit: int | None,
    *,
    everything: bool,
) -> list[Job]:
    if states or everything:
        return list(client.jobs(state=states or None, user=user, label=labels, limit=limit))
    living = list(client.jobs(state=(*_ACTIVE, *_PENDING), user=user, label=labels))
    ended = list(client.jobs(state=_FINAL, user=user, label=labels, limit=_RECENT))
    jobs = [*sorted(living, key=_place), *ended]
    return jobs if limit is None else jobs[:limit]


def _place(job: Job) -> tuple[int, int, int]:
    rank = 0 if job.state.value in _ACTIVE else 1
    return rank, job.position if job.position is not None else 1 << 30, job.id


def _row(job: Job) -> list[str | tuple[str, str]]:
    return [
        str(job.id),
        jobtext.state_cell(job),
        job.user,
        job.name,
        jobtext.gpus_cell(job),
        jobtext.when_cell(job),
        (jobtext.info(job), "dim" if job.state.is_final else ""),
    ]


def _checked(states: list[str]) -> list[str]:
    words = [word for state in states for word in state.split(",") if word]
    for word in words:
        if word not in _STATES:
            raise Failure(f"{word!r} is not a state; choose from {', '.join(_STATES)}.")
    return words


def _pairs(labels: list[str]) -> dict[str, str]:
    for label in labels:
        if "=" not in label:
            raise Failure(f"{label!r} is not a label; write key=value.")
    return {key: value for key, _, value in (label.partition("=") for label in labels)}
