"""Verb `berth why`: explanation of a job's wait."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from berth.cli import ids, jobtext, table, text
from berth.cli.failure import Failure
from berth.cli.session import AsJson, connect, print_json

if TYPE_CHECKING:
    from berth.protocol.explain import Explanation, Reason

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
    typer.Option(
        "--against",
        metavar="JOB",
        help="Compare its points with those of another queued job.",
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
    """The points of two jobs in line, part by part, and what decides between them."""
    own, compared = explanation.standing, explanation.compared
    if own is None or compared is None:
        return f"Job {explanation.job_id} and job {other} are not both queued, so neither is ahead."
    theirs = {part.kind: part for part in compared.standing.parts}
    rows: list[list[table.Cell]] = [
        [
            _PARTS[part.kind],
            f"{part.points:+.2f}",
            f"{theirs[part.kind].points:+.2f}",
            part.sentence,
        ]
        for part in own.parts
    ]
    rows.append(["points", f"{own.points:+.2f}", f"{compared.standing.points:+.2f}", ""])
    columns = [
        table.Column("part"),
        table.Column(f"job {own.job_id}", right=True),
        table.Column(f"job {compared.standing.job_id}", right=True),
        table.Column(f"of job {own.job_id}", least=20),
    ]
    return table.render(columns, rows)


def rendered(explanation: Explanation) -> str:
    """The explanation as lines: the summary, its facts, its points, what would help."""
    summary = explanation.summary
    if explanation.expected_start is not None:
        summary = jobtext.without_forecast(summary)
    lines = [text.style(text.sentence(summary), "bold")]
    lines += facts(explanation.summary, explanation.reasons)
    if explanation.position is not None:
        lines.append(f"  place in the queue: {explanation.position}")
    if explanation.expected_start is not None:
        moment = explanation.expected_start
        when = text.about(moment - datetime.now(UTC))
        trust = _TRUST[explanation.confidence]
        lines.append(f"  expected start: {text.clock(moment)} (in about {when}{trust})")
    lines += _place(explanation)
    return "\n".join([*lines, *helps(explanation.would_help)])


def _place(explanation: Explanation) -> list[str]:
    """What it has points for, and what decides between it and the other job."""
    lines: list[str] = []
    standing, compared = explanation.standing, explanation.compared
    if standing is not None:
        parts = [f"{_PARTS[p.kind]} {p.points:+.2f}" for p in standing.parts if p.points]
        lines.append(f"  points: {standing.points:+.2f} ({', '.join(parts)})")
    if compared is not None:
        lines.append(f"  {text.sentence(compared.sentence)}")
    return lines


def facts(summary: str, reasons: list[Reason]) -> list[str]:
    """A line per reason that the summary does not tell already."""
    return [_fact(reason) for reason in reasons if reason.sentence.rstrip(".") not in summary]


def helps(sentences: list[str]) -> list[str]:
    """What would start a job sooner, with a heading if there is anything."""
    listed = [f"  - {text.sentence(sentence)}" for sentence in sentences]
    return ["What would help:", *listed] if listed else []


def _fact(reason: Reason) -> str:
    mark = text.style("*", "yellow") if reason.blocking else text.style("-", "dim")
    told = reason.kind in {"reservation", "not_before"} or "until" in reason.sentence
    until = f" (until {text.clock(reason.until)})" if reason.until and not told else ""
    return f"  {mark} {text.sentence(reason.sentence)}{until}"
