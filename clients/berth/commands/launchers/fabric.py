"""
Lightning Fabric, `fabric run --devices=4 train.py`.

It starts torchrun in its own process with `--main-port`, which MASTER_PORT does not change; its
options may stand behind the script too.
"""

from __future__ import annotations

from berth.commands import gpu_request
from berth.commands.call import Call, FlagReading, LeaseSlice
from berth.commands.errors import CommandError
from berth.commands.gpu_request import GpuRequest
from berth.commands.launchers import flags
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

_VALUED = frozenset(
    {"accelerator", "strategy", "devices", "num_nodes", "node_rank", "main_address", "main_port"}
    | {"precision"}
)
OPTIONS = Options(frozenset({"help"}), _VALUED, abbreviations=False)
_MEETING = ("--main-port", "--main-address", "--num-nodes", "--node-rank")


def _words(call: Call) -> tuple[Word, ...]:
    return (*(each for flag in call.flags for each in flag.words), *call.parsed.arguments)


def _devices(call: Call) -> GpuRequest:
    found = flags.find(_words(call), "--devices")
    if found is None:
        return GpuRequest()
    if "," in found.value:
        return gpu_request.index_list(found.value, found.said)
    if found.value == "auto":
        return GpuRequest(1, None, found.said)
    return gpu_request.count(found.value, found.said)


def _read(call: Call, _around: Surroundings) -> FlagReading:
    nodes = flags.count(_words(call), "--num-nodes")
    if (nodes.count or 1) > 1:
        raise CommandError(
            f"{nodes.said} asks for several machines, but Berth runs on this box only; leave it out."
        )
    return FlagReading(request=_devices(call))


def _rewrite(call: Call, leased: LeaseSlice, _around: Surroundings) -> list[Word]:
    script = call.parsed.script
    own = [each for flag in call.flags for each in flag.words]
    if script is None or call.parsed.has("help"):
        return [*program(call, leased), *own, *([script] if script else [])]
    said = _devices(call)
    number = len(leased.visible) or said.count or 1
    became = f"--devices={number}"
    own, ranks = flags.without(own, ("--devices",))
    own, meeting = flags.without(own, _MEETING)
    rest, ranks_behind = flags.without(call.parsed.arguments, ("--devices",))
    rest, meeting_behind = flags.without(rest, _MEETING)
    if [*ranks, *ranks_behind] != [became]:
        leased.note(" ".join([*ranks, *ranks_behind]), became, ranks_note(number, leased))
    out = [*program(call, leased), word(became)]
    if leased.port is not None:
        port = f"--main-port={leased.port}"
        leased.note(" ".join([*meeting, *meeting_behind]), port, PORT_NOTE)
        out.append(word(port))
    return [*out, *own, script, *rest]


KNOWN = KnownLauncher(
    launcher=Launcher.FABRIC,
    name="fabric run",
    programs=frozenset({"fabric"}),
    verbs=frozenset({"run"}),
    options=OPTIONS,
    settles="--devices=N",
    count="`--devices`, a number or a list; without it, and with `auto`, one process",
    port="`--main-port`, set to the leased one; MASTER_PORT is ignored",
    ends="as torchrun",
    read=_read,
    rewrite=_rewrite,
    alone=lambda call: not flags.has(_words(call), "--devices"),
)
