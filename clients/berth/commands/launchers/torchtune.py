"""
torchtune, `tune run …`.

It takes torchrun's flags. With any of them it runs torchrun standalone, on a port of its own; with
none it trains in its own process.
"""

from __future__ import annotations

from berth.commands.call import Call, FlagReading, LeaseSlice
from berth.commands.launchers import torchrun
from berth.commands.launchers.known import KnownLauncher, Surroundings, program, ranks_note
from berth.commands.words import Word, word
from berth.protocol.states import Launcher


def _read(call: Call, _around: Surroundings) -> FlagReading:
    torchrun.refuse_machines(call)
    return FlagReading(request=torchrun.asked(call))


def _several(call: Call) -> bool:
    recipe = call.parsed.script
    return bool(call.flags) or (recipe is not None and "distributed" in recipe.text)


def _rewrite(call: Call, leased: LeaseSlice, _around: Surroundings) -> list[Word]:
    recipe = call.parsed.script
    rest = [*([recipe] if recipe else []), *call.parsed.arguments]
    if not _several(call) or call.parsed.has("help") or recipe is None:
        return [*program(call, leased), *(w for f in call.flags for w in f.words), *rest]
    said = torchrun.asked(call)
    number = len(leased.visible) or said.count or 1
    became = f"--nproc_per_node={number}"
    if said.count != number:
        leased.note(said.said, became, ranks_note(number, leased))
    meeting = [flag.shown for flag in call.flags if flag.name in torchrun.RENDEZVOUS_FLAGS]
    leased.note(" ".join(meeting), "", "tune run then takes a free port of its own.")
    kept = torchrun.without_rendezvous(call)
    return [*program(call, leased), word(became), *kept, *rest]


KNOWN = KnownLauncher(
    launcher=Launcher.TORCHTUNE,
    name="tune run",
    programs=frozenset({"tune"}),
    verbs=frozenset({"run"}),
    options=torchrun.OPTIONS,
    settles="--nproc_per_node=N",
    count="`--nproc_per_node`; without any flag of torchrun's one process",
    port="one that it finds free itself",
    ends="as torchrun",
    read=_read,
    rewrite=_rewrite,
    alone=lambda call: not _several(call),
)
