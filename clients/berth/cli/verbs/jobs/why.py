"""Verb `berth why`: explanation of a job's wait."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

from berth.cli import ids, jobtext, table, text
from berth.cli.declare import Option
from berth.cli.failure import Failure
from berth.cli.session import AsJson, connect, print_json

if TYPE_CHECKING:
    from berth.protocol.explain import Explanation, Reason
    from berth.protocol.submits import DryRun

_TRUST = {
    "certain": "",
    "likely": ", going by time limits and earlier runs",
    "guess": ", a guess",
    "unknown": "",
}


_PARTS = {
    "length": "length",
    "size": "size",
    "fit": "fit",
    "age": "wait",
    "fair_share": "fair share",
}
Against = Annotated[
    str | None,
    Option(
        "--against",
        metavar="JOB",
        help="Compare its score with that of another queued job.",
        autocompletion=ids.complete,
    ),
]


def why(job: ids.JobId, *, against: Against = None, as_json: AsJson = False) -> None:
    """Explain what a job waits for, when it should start, and its place in the queue."""
    other = None if against is None else ids.one(against)[0]
    if other is not None and other == ids.one(job)[0]:
        raise Failure("--against takes a job other than the one asked about.")
    with connect() as client:
        explanation = client.explain(ids.one(job)[0], against=other)
    if as_json:
        print_json(explanation)
        return
    print(rendered(explanation))
    if other is not None:
        print("\n" + side_by_side(explanation, other))


def side_by_side(explanation: Explanation, other: int) -> str:
    """The scores of two queued jobs, factor by factor, and what decides between them."""
    own, compared = explanation.standing, explanation.compared
    if own is None or compared is None:
        return f"Job {explanation.job_id} and job {other} are not both queued, so neither is ahead."
    theirs = {part.kind: part for part in compared.standing.parts}
    rows: list[list[table.Cell]] = [
        [
            _PARTS[part.kind],
            f"{part.points:+.2f}",
            f"{theirs[part.kind].points:+.2f}",
            text.message(part.sentence_parts, part.sentence),
        ]
        for part in own.parts
    ]
    rows.append(["score", f"{own.points:+.2f}", f"{compared.standing.points:+.2f}", ""])
    columns = [
        table.Column("factor"),
        table.Column(f"job {own.job_id}", right=True),
        table.Column(f"job {compared.standing.job_id}", right=True),
        table.Column(f"of job {own.job_id}", least=20),
    ]
    return table.render(columns, rows)


def rendered(explanation: Explanation) -> str:
    """The explanation as lines: the summary, its facts, its score, what would help."""
    summary = text.message(explanation.summary_parts, explanation.summary)
    lines = [text.style(summary, "bold"), *facts(explanation)]
    if explanation.position is not None:
        lines.append(f"  place in the queue: {explanation.position}")
    if explanation.expected_start is not None:
        moment = explanation.expected_start
        when = text.about(moment - datetime.now(UTC))
        trust = _TRUST[explanation.confidence]
        late = jobtext.by_p90(moment, explanation.expected_start_p90)
        lines.append(f"  expected start: {text.clock(moment)} (in about {when}{late}{trust})")
    lines += _place(explanation)
    lines += [f"  note: {text.message(note, '')}" for note in explanation.notes_parts]
    return "\n".join([*lines, *helps(explanation)])


def _place(explanation: Explanation) -> list[str]:
    """The job's score by factor, and what decides between it and the other job."""
    lines: list[str] = []
    standing, compared = explanation.standing, explanation.compared
    if standing is not None:
        parts = [f"{_PARTS[p.kind]} {p.points:+.2f}" for p in standing.parts if p.points]
        lines.append(f"  score: {standing.points:+.2f} ({', '.join(parts)})")
    if compared is not None:
        lines.append(f"  {text.message(compared.sentence_parts, compared.sentence)}")
    return lines


def facts(answer: Explanation | DryRun) -> list[str]:
    """A line per reason that the summary does not repeat."""
    return [_fact(one) for at, one in enumerate(answer.reasons) if at != answer.summary_reason]


def helps(answer: Explanation | DryRun) -> list[str]:
    """Hints that would start a job sooner, with a heading if there is anything."""
    hints = text.messages(answer.would_help_parts, answer.would_help)
    listed = [f"  - {hint}" for hint in hints]
    return ["What would help:", *listed] if listed else []


def _fact(reason: Reason) -> str:
    mark = text.style("*", "yellow") if reason.blocking else text.style("-", "dim")
    named = any(
        part.kind == "time" and part.at == reason.until for part in reason.sentence_parts.root
    )
    until = f" (until {text.clock(reason.until)})" if reason.until and not named else ""
    return f"  {mark} {text.message(reason.sentence_parts, reason.sentence)}{until}"
