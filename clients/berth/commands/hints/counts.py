"""Signs that a command wants several GPUs which Berth cannot be sure of: reported, never obeyed."""

from __future__ import annotations

import re
from collections.abc import Sequence

from berth.commands.call import Call
from berth.commands.words import Word
from berth.commands.wrappers import program_name
from berth.protocol.states import Launcher

_BEFORE = r"(?:--?|\++)?(?:[\w.-]+[._-])?"
_SIZE = (
    r"(?:tensor|pipeline|data|model|sequence|context|expert)[_-](?:model[_-])?parallel(?:[_-]size)?"
    r"|tp[_-]size|pp[_-]size|dp[_-]size|tp|num[_-]shards?"
)
_COUNT = re.compile(
    rf"{_BEFORE}(?:n(?:um(?:ber)?)?[_-]?(?:of[_-])?gpus?(?:[_-]per[_-](?:node|trial|worker|task))?"
    r"|gpus|gpus?[_-](?:per[_-]node|num|count|number)"
    r"|devices|n(?:um)?[_-]?devices|nproc(?:[_-]per[_-]node)?|num[_-]proc(?:esse)?s|world[_-]size|np"
    rf"|{_SIZE})|(?:--?|\+*)?(?:[\w.]+\.)?gpu",
    re.IGNORECASE,
)
_LIST = re.compile(
    rf"{_BEFORE}(?:devices?|gpus?|cards?|cuda|(?:gpu|device|cuda)[_-]?(?:ids?|devices?|list|idx))",
    re.IGNORECASE,
)
_PART = re.compile(
    rf"(?:^|[,{{\s])[\"']?(?P<said>(?:[\w.]+[._])?(?:{_SIZE})[\"']?\s*[=:]\s*(?P<value>\d+))"
)
_NUMBERS = re.compile(r"\[?(?:cuda:)?\d+(?:(?:,\s*|\s+)(?:cuda:)?\d+)+\]?")
_PER_NODE = re.compile(r"\d+x(\d+)")
_PLAIN = frozenset({Launcher.PYTHON, Launcher.SHELL, Launcher.OTHER})
_RUNS = re.compile(r"\bpython|\.py\b|torchrun|accelerate|deepspeed|CUDA_VISIBLE_DEVICES")
_XARGS = re.compile(r"-P(\d*)|--max-procs=?(\d*)")
_PARALLEL = re.compile(r"-[jP](\d*%?)|--(?:jobs|max-procs)=?(\d*%?)")


def unread(call: Call) -> list[str]:
    """The notes for a program that may want several GPUs, by the words that it is given."""
    if call.launcher not in _PLAIN:
        return []
    notes = []
    if any("CUDA_VISIBLE_DEVICES=" in each.text for each in call.program[1:]):
        notes.append(HIDDEN_VISIBLE)
    elif said := at_once(call):
        notes.append(
            f"`{said}` runs several commands at once, and all of them see all GPUs of the job; it "
            "gets one unless it sets `gpus` (--gpus N)."
        )
    said = flag_like((*call.assignments, *call.program[1:], *call.parsed.arguments))
    return [*notes, note_flag(said)] if said else notes


def flag_like(arguments: Sequence[Word]) -> str | None:
    """The first argument that reads like a number of GPUs above one, as it was written."""
    for at, each in enumerate(arguments):
        written, equals, value = each.text.partition("=")
        if not equals and not each.startswith("-"):
            continue
        width = 1
        if not equals:
            following = _values(arguments[at + 1 :])
            width, value = 1 + len(following), " ".join(word.text for word in following)
        if _says_several(written, value.strip("'\"")):
            return " ".join(word.raw for word in arguments[at : at + width])
        parts = _PART.finditer(value)
        if part := next((p for p in parts if 1 < int(p["value"][:9]) <= 1024), None):
            return part["said"]
    return None


def _values(following: Sequence[Word]) -> Sequence[Word]:
    """The value of an option, or the numbers of one that takes several."""
    several = 0
    while several < len(following) and following[several].text.isdecimal():
        several += 1
    return following[: max(several, 1)]


def _says_several(written: str, value: str) -> bool:
    if _NUMBERS.fullmatch(value):
        return bool(_LIST.fullmatch(written) or _COUNT.fullmatch(written))
    if written == "-j" and (nodes := _PER_NODE.fullmatch(value)):
        return int(nodes[1][:9]) > 1
    return bool(_COUNT.fullmatch(written)) and value.isdecimal() and 1 < int(value[:9]) <= 1024


def at_once(call: Call) -> str | None:
    """The words by which xargs or parallel runs several trainings at the same time."""
    words = call.program or ()
    name = program_name(words[0]) if words else ""
    if name not in {"xargs", "parallel"} or not any(_RUNS.search(each.text) for each in words[1:]):
        return None
    pattern = _XARGS if name == "xargs" else _PARALLEL
    for at, each in enumerate(words[1:], 1):
        if found := pattern.fullmatch(each.text):
            number = found[1] or found[2]
            said = f"{name} {each.raw}"
            if not number and at + 1 < len(words):
                number, said = words[at + 1].text, f"{said} {words[at + 1].raw}"
            return None if number == "1" else said
    return None if name == "xargs" else name


def note_flag(said: str) -> str:
    """The note for an argument that may be a number of GPUs."""
    return (
        f"`{said}` may be a number of GPUs, which Berth cannot know; the job gets one unless it "
        "sets `gpus` (--gpus N)."
    )


def note_visible(said: str) -> str:
    """The note for a CUDA_VISIBLE_DEVICES whose number of GPUs cannot be read."""
    return (
        f"{said} does not say how many GPUs there are; the job gets one unless it sets `gpus` "
        "(--gpus N) or lists them with commas, like CUDA_VISIBLE_DEVICES=0,1,2,3."
    )


HIDDEN_VISIBLE = (
    "CUDA_VISIBLE_DEVICES is set where only the shell can know how many GPUs are meant; the job "
    "gets one unless it sets `gpus` (--gpus N)."
)
AT_ONCE = (
    "It starts several runs at once in the background, and all of them see all GPUs of the job; it "
    "gets one unless it sets `gpus` (--gpus N) or each run names its own, like "
    "CUDA_VISIBLE_DEVICES=0 and CUDA_VISIBLE_DEVICES=1."
)
