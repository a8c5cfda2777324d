"""`python train.py`, and the flags by which a script itself takes cards."""

from __future__ import annotations

from berth.commands import cards
from berth.commands.call import Call, Share
from berth.commands.words import Word, word

BARE = frozenset({"python", "python3"})
"""Names that mean "the environment's interpreter"."""

_IDS, _MOST = "--gpu_ids", "--max_gpus"


def rewrite(call: Call, share: Share) -> list[Word]:
    """Run the script in the job's environment."""
    python = call.interpreter or share.python
    out = [word(python), *call.interpreter_options]
    share.note(
        call.program[0].text,
        python,
        "The interpreter of the job's environment.",
    )
    script = call.given.script
    return [*out, *([script] if script else []), *call.given.arguments]


def script_wish(arguments: tuple[Word, ...]) -> cards.Wish:
    """How many cards a script's own --gpu_ids and --max_gpus ask for: the smaller counts."""
    wish = cards.Wish()
    for name, value, said in _own_flags(arguments):
        if name == _IDS:
            asked = cards.index_list(value, said)
            if asked.count is not None:
                wish = asked
    for name, value, said in _own_flags(arguments):
        if name == _MOST:
            most = cards.count(value, said)
            if most.count is not None and (wish.count is None or most.count < wish.count):
                wish = cards.Wish(most.count, None, said)
    return wish


def rewrite_arguments(arguments: tuple[Word, ...], share: Share) -> tuple[Word, ...]:
    """Point a script's own --gpu_ids and --max_gpus at the leased cards."""
    if not share.visible:
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
            values = [str(len(share.visible))]
        elif width > 2:
            values = [str(card) for card in share.visible]
        else:
            values = [cards.joined(share.visible)]
        new = [word(f"{name}={values[0]}")] if equals else [word(name), *map(word, values)]
        share.note(
            " ".join(part.raw for part in taken),
            " ".join(part.raw for part in new),
            f"The script chooses cards itself; the job was given {share.cards}.",
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
    """How many words the flag at this place takes, its name, and whether written with =."""
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
