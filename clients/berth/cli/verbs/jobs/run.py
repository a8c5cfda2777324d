"""Verb `berth run`: submit, follow, and exit with the job's exit code."""

from __future__ import annotations

from typing import Annotated

from berth.cli import following
from berth.cli.declare import Option
from berth.cli.failure import Failure
from berth.cli.flags import fields_as_flags
from berth.cli.job_options import JobOptions
from berth.cli.session import AsJson, connect, note, print_json_line
from berth.cli.verbs.jobs.attach import attach_to, check_place
from berth.cli.verbs.jobs.shell import submit_on_terminal
from berth.cli.verbs.jobs.submit import submitted


def run(
    options: JobOptions,
    *,
    pty: Annotated[
        bool,
        Option(
            "--pty",
            help="Give it a terminal and attach this one to it; Ctrl-] detaches, "
            "`berth attach` reattaches.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """
    Submit a job, follow its log and exit with its exit code.

    The job outlives this command: after Ctrl-C it keeps running.

    berth run --gpus 1 -- python train.py
    berth run --gpus 1 --pty -- python -m pdb train.py
    """
    if pty:
        if as_json:
            raise Failure("A terminal cannot print JSON; leave out --json, or --pty.")
        check_place()
        attach_to(submit_on_terminal(options), cancel_if_left=True)
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
