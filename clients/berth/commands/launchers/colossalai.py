"""
Colossal-AI, `colossalai run --nproc_per_node 4 train.py`: torchrun in a shell, on port 29500.

It joins the script's arguments to one line, which that shell takes apart again.
"""

from __future__ import annotations

import shlex

from berth.commands import gpu_request
from berth.commands.call import Call, FlagReading, LeaseSlice
from berth.commands.errors import CommandError
from berth.commands.launchers.known import (
    PORT_NOTE,
    KnownLauncher,
    Surroundings,
    program,
    ranks_note,
)
from berth.commands.options import Options
from berth.commands.words import Word, word
from berth.protocol.states import Launcher

_MACHINES = ("host", "hostfile", "include", "exclude", "num_nodes", "ssh_port")
OPTIONS = Options(
    frozenset({"help"}),
    frozenset(
        {*_MACHINES, "nproc_per_node", "master_port", "master_addr", "extra_launch_args", "m"}
    ),
    {"H": "host", "m": "m"},
    abbreviations=False,
)


def _read(call: Call, _around: Surroundings) -> FlagReading:
    for name in _MACHINES:
        flag = call.parsed.last(name)
        local = flag and flag.value and flag.value.text in {"localhost", "127.0.0.1", "1"}
        if flag and not local:
            raise CommandError(
                f"{flag.shown} is for runs over several machines, but Berth runs on this box only; "
                "leave it out."
            )
    ranks = call.parsed.last("nproc_per_node")
    if ranks and ranks.value:
        return FlagReading(request=gpu_request.count(ranks.value.text, ranks.shown))
    return FlagReading()


def _rewrite(call: Call, leased: LeaseSlice, around: Surroundings) -> list[Word]:
    dropped = {"nproc_per_node", "master_port", "master_addr"}
    kept = [w for f in call.flags if f.name not in dropped for w in f.words]
    script = call.parsed.script
    rest = [
        _quoted(each, leased) for each in ([script] if script else []) + [*call.parsed.arguments]
    ]
    said = call.parsed.last("nproc_per_node")
    asked = _read(call, around).request.count
    number = len(leased.visible) or asked or 1
    became = f"--nproc_per_node={number}"
    if asked != number:
        leased.note(said.shown if said else "", became, ranks_note(number, leased))
    out = [*program(call, leased), word(became)]
    if leased.port is not None:
        written = [f.shown for f in call.flags if f.name in {"master_port", "master_addr"}]
        port = f"--master_port={leased.port}"
        leased.note(" ".join(written), port, PORT_NOTE)
        out += [word("--master_addr=127.0.0.1"), word(port)]
    return [*out, *kept, *rest]


def _quoted(each: Word, leased: LeaseSlice) -> Word:
    """A word that arrives whole: colossalai joins its words to a line, which a shell reads again."""
    again = shlex.quote(each.text)
    if not each.literal or again == each.text:
        return each
    became = word(again)
    leased.note(each.raw, became.raw, "colossalai run hands its words to a second shell.")
    return became


KNOWN = KnownLauncher(
    launcher=Launcher.COLOSSALAI,
    name="colossalai run",
    programs=frozenset({"colossalai"}),
    verbs=frozenset({"run"}),
    options=OPTIONS,
    settles="--nproc_per_node=N",
    count="`--nproc_per_node`",
    port="`--master_port`, set to the leased one",
    ends="torchrun's ranks, in a separate shell; exit code 1 for any failed rank",
    read=_read,
    rewrite=_rewrite,
)
