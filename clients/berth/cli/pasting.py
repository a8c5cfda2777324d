"""Pasted texts: their launches listed, and those that were picked as specs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from berth.cli import text
from berth.cli.failure import Failure

if TYPE_CHECKING:
    from berth.protocol.submits import ParsedLaunch, ParsedText


def pasted(words: list[str] | None) -> str:
    """Return the text: the one quoted word, else standard input."""
    if words and words != ["-"]:
        if len(words) > 1:
            raise Failure("Quote the pasted text as one word, or give it on standard input.")
        return words[0]
    return sys.stdin.read()


def listed(found: ParsedText) -> str:
    """Describe each launch: its number, GPUs and what will be rewritten."""
    if not found.jobs:
        return "There is no launch in the text."
    return "\n".join(_lines(number, job) for number, job in enumerate(found.jobs, 1))


def _lines(number: int, job: ParsedLaunch) -> str:
    asked = "GPUs not said, gets 1" if job.gpus is None else text.plural(job.gpus, "GPU")
    tasks = f", {text.plural(len(job.tasks), 'task')}" if job.tasks else ""
    comment = f"  ({job.comment})" if job.comment else ""
    head = f"{number}. line {job.line}: {job.launcher.value}, {asked}{tasks}{comment}"
    lines = [text.style(text.clean(head), "bold"), f"  given   {text.clean(job.before)}"]
    if job.problem:
        lines.append(f"  problem {text.clean(job.problem)}")
    for change in job.changes:
        was, became = change.what or "(nothing)", change.became or "(taken out)"
        lines.append(f"  change  {text.clean(f'{was} -> {became}')}")
    return "\n".join(lines)


def picked(found: ParsedText, pick: str) -> list[dict[str, Any]]:
    """Return those launches as jobs: `all`, or numbers of the list like 1,3-4."""
    from berth.cli import ids

    numbers = (
        list(range(1, len(found.jobs) + 1))
        if pick == "all"
        else ids.several([part for part in pick.split(",") if part])
    )
    jobs: list[dict[str, Any]] = []
    for number in numbers:
        if not 1 <= number <= len(found.jobs):
            raise Failure(f"There is no launch {number}; the text has {len(found.jobs)}.")
        job = found.jobs[number - 1]
        if job.problem:
            raise Failure(f"Launch {number} cannot be submitted: {job.problem}")
        jobs.append({"command": job.command} if job.script is None else {"script": job.script})
    return jobs


def refusal(found: ParsedText) -> Failure:
    """The sentence that ends a listing: nothing was submitted, and how it would be."""
    if not found.jobs:
        return Failure("Nothing was submitted.")
    return Failure("Nothing was submitted; add --pick all, or --pick with numbers like 1,3.")
