"""`berth run`: submit, follow, and leave with the job's exit code."""

from __future__ import annotations

from berth.cli import following
from berth.cli.failure import Failure
from berth.cli.flags import told_in_flags
from berth.cli.job_options import Asked, takes_asked
from berth.cli.session import AsJson, connect, note, print_json_line
from berth.cli.verbs.submit import submitted


@takes_asked
def run(asked: Asked, *, as_json: AsJson = False) -> None:
    """
    Submit a job, follow its log and leave with its exit code.

    The job does not end with this command: after Ctrl-C it goes on.

    berth run --gpus 1 -- python train.py
    """
    specs = asked.specs()
    if len(specs) != 1:
        raise Failure("`berth run` runs one job; submit the list with `berth submit` instead.")
    with told_in_flags(wanted=asked.is_typed and not as_json), connect() as client:
        job = client.submit(specs[0])
    if as_json:
        print_json_line(job)
    else:
        note(submitted(job, asked))
    following.follow_to_the_end(job, as_json=as_json)
