"""Launches in a shell script that a command starts: reported with their number, never obeyed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from berth.commands.call import Call
from berth.commands.errors import CommandError
from berth.commands.expansion import positional
from berth.commands.launchers.known import Surroundings
from berth.commands.model import CommandView
from berth.commands.reading import read
from berth.commands.wrappers import program_name
from berth.protocol.states import Launcher

_SHELL_LINE = re.compile(r"#!\s*(?:\S*/env\s+(?:-S\s+)?)?(?:\S*/)?(?:ba|da|z|k)?sh\b")


@dataclass(frozen=True)
class StartedScript:
    """A shell script that a command starts, with its arguments."""

    path: str
    arguments: tuple[str, ...]
    call: Call
    named_by_shell: bool
    """True if `bash FILE` starts it; else the file's first line has to say so."""


def started(view: CommandView) -> StartedScript | None:
    """The one shell script of a command, where its path is plain and counts from the job's folder."""
    calls = view.parts.calls if view.parts else ()
    if any(program_name(call.program[0]) in {"cd", "pushd"} for call in calls if call.program):
        return None
    found = [script for call in calls if (script := _of_call(call))]
    return found[0] if len(found) == 1 else None


def _of_call(call: Call) -> StartedScript | None:
    if call.launcher is Launcher.SHELL:
        words = list(call.parsed.arguments)
        while words and words[0].startswith("-") and not words[0].text.endswith("c"):
            words.pop(0)
        if not words or words[0].startswith("-") or not words[0].literal:
            return None
        path, arguments, by_shell = words[0].text, words[1:], True
    elif call.launcher is Launcher.OTHER and call.program and call.program[0].literal:
        path, arguments, by_shell = call.program[0].text, call.program[1:], False
        if "/" not in path:
            return None
    else:
        return None
    known = tuple(each.text if each.literal else "" for each in arguments)
    return StartedScript(path, known, call, by_shell)


def note(script: StartedScript, text: str) -> str | None:
    """The note for a script with this text that wants several GPUs, or may want them."""
    if not script.named_by_shell and not _SHELL_LINE.match(text):
        return None
    given = {**script.call.variables, **_assigned(script.call), **positional(script.arguments)}
    try:
        view = read(None, text, Surroundings(given=given))
    except CommandError:
        return None
    if view.gpus_wanted is not None and view.gpus_wanted > 1:
        return (
            f"{script.path} starts its run on {view.gpus_wanted} GPUs; the job gets one unless it "
            f"sets `gpus` (--gpus {view.gpus_wanted}), or the script itself is submitted (--script "
            f"{script.path})."
        )
    if view.gpus_wanted is None and view.count_notes:
        return f"In {script.path}: {view.count_notes[0]}"
    return None


def _assigned(call: Call) -> dict[str, str]:
    pairs: Sequence[tuple[str, str]] = [
        (name, value)
        for name, _, value in (
            each.text.partition("=") for each in call.assignments if each.literal
        )
    ]
    return dict(pairs)
