"""Verb `berth shell`: a terminal on GPUs."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

from berth.cli.declare import Option
from berth.cli.durations import seconds
from berth.cli.failure import Failure
from berth.cli.flags import fields_as_flags
from berth.cli.job_options import JobOptions
from berth.cli.session import connect, note
from berth.cli.verbs.jobs.attach import attach_to, check_place
from berth.cli.verbs.jobs.submit import submitted

if TYPE_CHECKING:
    from berth.protocol.jobs import Job

PASSED_ON = ("TERM", "COLORTERM", "LANG", "LC_ALL")
"""Variables of the terminal that a session has too."""


def shell(
    options: JobOptions,
    *,
    idle: Annotated[
        str,
        Option(
            metavar="DURATION",
            help="End it when nothing was typed or written for this long; none: never.",
        ),
    ] = "2h",
) -> None:
    """
    Open a shell on GPUs, or run a command with a terminal, in a job of its own.

    Ctrl-] detaches, `berth attach` reattaches; it outlives this terminal and the daemons.

    berth shell --gpus 1 --time-limit 4h
    berth shell --gpus 1 -- python -m pdb train.py
    """
    check_place()
    idle_s = 0.0 if idle == "none" else seconds(idle)
    options.command = options.command or [os.environ.get("SHELL") or "/bin/bash", "-i"]
    options.name = options.name or "shell"
    attach_to(submit_on_terminal(options, idle_s), cancel_if_left=True)


def submit_on_terminal(options: JobOptions, idle_s: float = 0.0) -> Job:
    """Submit a command that gets a terminal of its own, and say so."""
    words = options.command or []
    if options.script or options.file or not words or not options.is_typed:
        raise Failure("A session runs one command; give it after --.")
    if len(words) == 1 and " " in words[0].strip():
        words = ["/bin/bash", "-c", words[0]]
    host = [sys.executable, "-P", "-m", "berth.sessions.host", "--idle", str(idle_s), "--"]
    options.command = [*host, *words]
    (spec,) = options.specs()
    here = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    spec["env"] = {**here, **spec.get("env", {})}
    with fields_as_flags(wanted=True), connect() as client:
        job = client.submit(spec)
    note(submitted(job, options))
    return job
