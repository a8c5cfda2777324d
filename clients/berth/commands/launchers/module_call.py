"""Launcher calls as `python -m MODULE`, run by the interpreter of the job's environment."""

from __future__ import annotations

from collections.abc import Callable

from berth.commands.call import Call, LeaseSlice
from berth.commands.words import Word, path_word, word

OwnFlags = Callable[[Call, LeaseSlice], list[Word]]


def rewritten(call: Call, leased: LeaseSlice, module: str, own_flags: OwnFlags) -> list[Word]:
    """Return the call as `python -m module` with `own_flags`; a call for help keeps its flags."""
    python = call.interpreter or leased.python
    out = [path_word(python), *call.interpreter_options, word("-m"), word(module)]
    if call.module != module:
        leased.note(
            " ".join(part.raw for part in call.program),
            f"{python} -m {module}",
            "The same launcher, run by the interpreter of the job's environment.",
        )
    if call.parsed.has("help"):
        out.extend(each for flag in call.flags for each in flag.words)
    else:
        out.extend(own_flags(call, leased))
    script = call.parsed.script
    return [*out, *([script] if script else []), *call.parsed.arguments]
