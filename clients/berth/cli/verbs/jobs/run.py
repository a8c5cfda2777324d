"""Verb `berth run`: submit, follow, and exit with the job's exit code."""

from __future__ import annotations

from berth.cli import following
from berth.cli.failure import Failure
from berth.cli.flags import fields_as_flags
from berth.cli.job_options import JobOptions
from berth.cli.session import AsJson, connect, note, print_json_line
from berth.cli.verbs.jobs.submit import submitted


def run(options: JobOptions, *, as_json: AsJson = False) -> None:
    """
    Submit a job, follow its log and exit with its exit code.

    The job outlives this command: after Ctrl-C it keeps running.

    berth run --gpus 1 -- python train.py
    """
    specs = options.specs()
    if len(specs) != 1:
        raise Failure("`berth run` runs one job; submit the list with `berth submit` instead.")
    with fields_as_flags(wanted=options.is_typed and not as_json), connect() as client:
        job = client.submit(specs[0])
    if as_json:
        print_json_line(job)
    else:
        note(submitted(job, options))
    following.follow_to_the_end(job, as_json=as_json)
