"""One action on several jobs: the common part of `cancel`, `hold`, `release` and `retry`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from berth.cli import failure, ids, jobtext, text
from berth.cli.declare import Exit
from berth.cli.session import connect, note, print_json

if TYPE_CHECKING:
    from berth.protocol.jobs import Job

Act = Literal["cancel", "hold", "release", "retry"]


def act(words: list[str], verb: Act, *, as_json: bool) -> None:
    """
    Apply the action to every job, print each result, and exit with 4 if any was refused.

    A refusal does not stop the others.
    """
    from berth.sdk.errors import NotFound, Refused

    done: list[Job] = []
    refused: list[Refused] = []
    missing: list[int] = []
    numbers = ids.several(words)
    if verb == "retry":
        numbers.sort()  # what a job depends on has a smaller id and must be queued first
    with connect() as client:
        for job_id in numbers:
            try:
                done.append(getattr(client, verb)(job_id))
            except Refused as error:
                if len(numbers) == 1:
                    raise
                refused.append(error)
                if isinstance(error, NotFound):
                    missing.append(job_id)
                    continue
                note(f"berth: #{job_id}: {text.refusal(error)}")
    if missing:
        which = (
            f"is no job {missing[0]}"
            if len(missing) == 1
            else f"are no jobs {text.indices(missing)}"
        )
        note(f"berth: There {which}; `berth ls` lists the jobs.")
    if as_json:
        print_json(done[0] if len(numbers) == 1 else done)
    else:
        for job in done:
            print(_result(job, verb))
    if refused:
        raise Exit(failure.REFUSED)


def _result(job: Job, verb: Act) -> str:
    if verb == "cancel":
        if job.state.is_final:
            return f"Job {job.id} is {job.state.value}."
        return f"Job {job.id} is being stopped; it has {text.span(job.grace)} to exit by itself."
    if verb == "hold":
        return f"Job {job.id} is held; `berth release {job.id}` queues it again."
    return text.clean(jobtext.submitted(job))
