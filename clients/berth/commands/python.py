"""Plain Python, `python train.py`, and the flags by which a script itself chooses GPUs."""

from __future__ import annotations

from berth.commands import gpu_request
from berth.commands.call import Call, LeaseSlice
from berth.commands.words import Word, path_word, word

BARE = frozenset({"python", "python3"})
"""Names that mean "the environment's interpreter"."""

_IDS, _MOST = "--gpu_ids", "--max_gpus"


def rewrite(call: Call, leased: LeaseSlice) -> list[Word]:
    """Run the script in the job's environment."""
    python = call.interpreter or leased.python
    out = [path_word(python), *call.interpreter_options]
    leased.note(
        call.program[0].text,
        python,
        "The interpreter of the job's environment.",
    )
    script = call.parsed.script
    return [*out, *([script] if script else []), *call.parsed.arguments]


def script_request(arguments: tuple[Word, ...]) -> gpu_request.GpuRequest:
    """Return what a script's own --gpu_ids and --max_gpus ask for: the smaller of the two."""
    request = gpu_request.GpuRequest()
    for name, value, said in _own_flags(arguments):
        if name == _IDS:
            asked = gpu_request.index_list(value, said)
            if asked.count is not None:
                request = asked
    for name, value, said in _own_flags(arguments):
        if name == _MOST:
            most = gpu_request.count(value, said)
            if most.count is not None and (request.count is None or most.count < request.count):
                request = gpu_request.GpuRequest(most.count, None, said)
    return request


def rewrite_arguments(arguments: tuple[Word, ...], leased: LeaseSlice) -> tuple[Word, ...]:
    """Point a script's own --gpu_ids and --max_gpus at the leased GPUs."""
    if not leased.visible:
        return arguments
    out: list[Word] = []
    at = 0
    while at < len(arguments):
        width, name, equals = _flag_at(arguments, at)
        if not name:
            out.append(arguments[at])
            at += 1
            continue
        taken = arguments[at : at + width]
        if name == _MOST:
            values = [str(len(leased.visible))]
        elif width > 2:
            values = [str(index) for index in leased.visible]
        else:
            values = [gpu_request.joined(leased.visible)]
        new = [word(f"{name}={values[0]}")] if equals else [word(name), *map(word, values)]
        leased.note(
            " ".join(part.raw for part in taken),
            " ".join(part.raw for part in new),
            f"The script chooses GPUs itself; the job was given {leased.gpu_names}.",
        )
        out.extend(new)
        at += width
    return tuple(out)


def _own_flags(arguments: tuple[Word, ...]) -> list[tuple[str, str, str]]:
    found: list[tuple[str, str, str]] = []
    at = 0
    while at < len(arguments):
        width, name, equals = _flag_at(arguments, at)
        if name:
            taken = arguments[at : at + width]
            said = " ".join(part.raw for part in taken)
            value = (
                taken[0].text.partition("=")[2]
                if equals
                else ",".join(part.text for part in taken[1:])
            )
            found.append((name, value, said))
        at += width
    return found


def _flag_at(arguments: tuple[Word, ...], at: int) -> tuple[int, str, bool]:
    """Return the flag's width in words, its name, and whether it is written with =."""
    text = arguments[at].text
    for name in (_IDS, _MOST):
        if text.startswith(f"{name}="):
            return 1, name, True
        if text == name and at + 1 < len(arguments) and not arguments[at + 1].startswith("-"):
            width = 2
            # nargs="+": --gpu_ids 4 5 6 7
            while (
                name == _IDS
                and arguments[at + 1].text.isdecimal()
                and at + width < len(arguments)
                and arguments[at + width].text.isdecimal()
            ):
                width += 1
            return width, name, False
    return 1, "", False
