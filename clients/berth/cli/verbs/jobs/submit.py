"""Verb `berth submit`: put jobs into the queue."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

from berth.cli import batch_script, following, jobtext, pasting, text
from berth.cli.declare import Exit, Option
from berth.cli.failure import Failure
from berth.cli.flags import fields_as_flags
from berth.cli.job_options import JobOptions
from berth.cli.session import AsJson, connect, note, print_json
from berth.cli.verbs.jobs.why import facts, helps

if TYPE_CHECKING:
    from berth.protocol.ablations import AblationMade
    from berth.protocol.jobs import Job
    from berth.protocol.submits import DryRun, SubmittedJobs
    from berth.sdk.client import Client


def submit(
    options: JobOptions,
    *,
    dry_run: Annotated[
        bool, Option("--dry-run", help="Show what would happen; submit nothing.")
    ] = False,
    follow: Annotated[
        bool, Option("--follow", "-f", help="Follow the log; exit with the job's exit code.")
    ] = False,
    wait: Annotated[
        bool, Option("--wait", "-w", help="Wait for the end; exit with the job's exit code.")
    ] = False,
    paste: Annotated[
        bool,
        Option(
            "--paste",
            help="Find the launches in a pasted text or guide (standard input, or one quoted "
            "word) and list them.",
        ),
    ] = False,
    pick: Annotated[
        str | None,
        Option(
            metavar="NUMBERS",
            help="With --paste: submit these launches of the list, each as a job; like 1,3 or all.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """
    Submit a job: a command, one quoted line, a script or a job file.

    berth submit --gpus 4 --time-limit 12h -- deepspeed train.py --config config.json

    berth submit "CUDA_VISIBLE_DEVICES=4,5,6,7 accelerate launch train.py"

    berth submit train.sbatch

    berth submit jobs.yaml
    """
    if pick is not None and not paste:
        raise Failure("--pick belongs to --paste; leave it out, or add --paste.")
    specs = _pasted(options, pick, as_json=as_json) if paste else options.specs()
    with fields_as_flags(wanted=options.is_typed and not as_json), connect() as client:
        if dry_run:
            _dry_run(client, specs, as_json=as_json)
        elif len(specs) == 1:
            job = client.submit(specs[0])
            if as_json:
                print_json(job)
            else:
                say = note if follow else print
                say(submitted(job, options))
            if follow:
                following.follow_to_the_end(job, as_json=as_json)
            elif wait:
                following.wait_to_the_end([job.id], quiet=as_json)
        else:
            if follow:
                raise Failure("Only one job can be followed; use --wait, or `berth logs -f`.")
            jobs = _submit_all(client, specs, options.at_once)
            if as_json:
                print_json(jobs)
            else:
                print(_several(jobs))
            if wait:
                following.wait_to_the_end(jobs.ids, quiet=as_json)


def _pasted(options: JobOptions, pick: str | None, *, as_json: bool) -> list[dict[str, Any]]:
    """List the launches of a pasted text; return the picked ones as specs."""
    given = pasting.pasted(options.command)
    with connect() as client:
        found = client.parse_text(given)
    if as_json and pick is None:
        print_json(found)
        raise Exit(0)
    if not as_json:
        print(pasting.listed(found))
    if pick is None:
        raise pasting.refusal(found)
    return options.specs_of(pasting.picked(found, pick))


def _submit_all(
    client: Client, specs: list[dict[str, Any]], most: int | None
) -> SubmittedJobs | AblationMade:
    """Submit several jobs in one transaction; an array with a cap as an ablation, which holds it."""
    if most is None:
        return client.submit(specs)
    return client.ablate(batch_script.capped(specs, most, datetime.now(UTC)))


def submitted(job: Job, options: JobOptions) -> str:
    """Describe a submitted job: its state, what will run, warnings, next commands."""
    lines = [text.style(text.clean(jobtext.submitted(job)), "bold")]
    facts = [("runs", jobtext.command_line(job)), ("in", job.workdir)]
    python = options.python_note()
    if python and job.python and python.startswith(job.python):
        facts.append(("python", python))
    facts += [("note", warning) for warning in text.messages(job.warnings_parts, job.warnings)]
    facts.append(("length", jobtext.length(job)))
    facts.append(("follow", f"berth logs -f {job.id}"))
    if not job.state.is_active and not job.state.is_final:
        facts.append(("why", f"berth why {job.id}"))
    lines += [f"  {name:<7} {text.clean(value)}" for name, value in facts if value]
    return "\n".join(lines)


def _several(jobs: SubmittedJobs | AblationMade) -> str:
    ids = text.indices(jobs.ids)
    lines = [text.style(f"{text.plural(len(jobs.ids), 'job')} submitted: {ids}.", "bold")]
    warnings = text.messages(jobs.warnings_parts, jobs.warnings)
    lines += [f"  note    {warning}" for warning in warnings]
    lines.append(f"  wait    berth wait {ids.replace(',', ' ')}")
    return "\n".join(lines)


def _dry_run(client: Client, specs: list[dict[str, Any]], *, as_json: bool) -> None:
    answers = [client.dry_run(spec) for spec in specs]
    if as_json:
        print_json(answers[0] if len(answers) == 1 else answers)
        return
    print("\n".join(_dry_run_text(answer) for answer in answers))


def _dry_run_text(answer: DryRun) -> str:
    lines = [text.style(text.message(answer.summary_parts, answer.summary), "bold")]
    lines += facts(answer)
    if answer.would_preempt:
        stopped = text.indices(answer.would_preempt)
        lines.append(f"  stops   {stopped}, to be queued again, to make room")
    if answer.expected_start is not None and not answer.starts_now:
        when = text.about(answer.expected_start - datetime.now(UTC))
        late = jobtext.by_p90(answer.expected_start, answer.expected_start_p90)
        lines.append(f"  start   {text.clock(answer.expected_start)} (in about {when}{late})")
    if answer.expected_length is not None:
        found = answer.expected_length
        lines.append(f"  length  {text.message(found.sentence_parts, found.sentence)}")
    lines.append(f"  given   {text.clean(answer.before)}")
    if answer.after is not None:
        lines.append(f"  runs    {text.clean(answer.after)}")
    for change in answer.changes:
        was, became = change.what or "(nothing)", change.became or "(taken out)"
        lines.append(f"  change  {text.clean(f'{was} -> {became}: {change.why}')}")
    warnings = text.messages(answer.warnings_parts, answer.warnings)
    lines += [f"  note    {warning}" for warning in warnings]
    lines += helps(answer)
    return "\n".join(lines)
