"""`berth why`: what a job waits for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from berth.cli import ids, text
from berth.cli.session import AsJson, connect, print_json

if TYPE_CHECKING:
    from berth.protocol.explain import Explanation, Reason

_TRUST = {
    "certain": "",
    "likely": " at the latest, going by time limits",
    "guess": ", a guess from earlier runs",
    "unknown": "",
}


def why(job: ids.JobId, *, as_json: AsJson = False) -> None:
    """Say what a job waits for, and when it should start."""
    with connect() as client:
        explanation = client.explain(ids.one(job)[0])
    if as_json:
        print_json(explanation)
    else:
        print(rendered(explanation))


def rendered(explanation: Explanation) -> str:
    """The explanation as lines: the summary, its facts, what would help."""
    lines = [text.style(text.clean(explanation.summary), "bold")]
    lines += facts(explanation.summary, explanation.reasons)
    if explanation.position is not None:
        lines.append(f"  place in the queue: {explanation.position}")
    if explanation.expected_start is not None:
        moment = explanation.expected_start
        when = text.about(moment - datetime.now(UTC))
        trust = _TRUST[explanation.confidence]
        lines.append(f"  expected start: {text.clock(moment)} (in about {when}{trust})")
    return "\n".join([*lines, *helps(explanation.would_help)])


def facts(summary: str, reasons: list[Reason]) -> list[str]:
    """A line per reason that the summary does not tell already."""
    return [_fact(reason) for reason in reasons if not summary.startswith(reason.sentence)]


def helps(sentences: list[str]) -> list[str]:
    """What would start a job sooner, with a heading if there is anything."""
    listed = [f"  - {text.clean(sentence)}" for sentence in sentences]
    return ["What would help:", *listed] if listed else []


def _fact(reason: Reason) -> str:
    mark = text.style("*", "yellow") if reason.blocking else text.style("-", "dim")
    told = reason.kind == "reservation" or "until" in reason.sentence
    until = f" (until {text.clock(reason.until)})" if reason.until and not told else ""
    return f"  {mark} {text.clean(reason.sentence)}{until}"
