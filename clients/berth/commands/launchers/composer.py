"""
MosaicML Composer, `composer -n 4 train.py`.

It starts the ranks itself, and ends them one after the other. PHP's package manager has the same
name.
"""

from __future__ import annotations

from berth.commands import gpu_request
from berth.commands.call import Call, FlagReading, LeaseSlice
from berth.commands.errors import CommandError
from berth.commands.gpu_request import GpuRequest
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

OPTIONS = Options(
    frozenset({"verbose", "module_mode", "command_mode", "version", "help"}),
    frozenset(
        {"nproc", "stdout", "stderr", "world_size", "base_rank", "node_rank", "master_addr"}
        | {"master_port"}
    ),
    {"n": "nproc", "v": "verbose", "m": "module_mode", "c": "command_mode", "h": "help"},
)
_RANKS = frozenset({"nproc", "world_size", "base_rank", "node_rank"})
_MEETING = frozenset({"master_addr", "master_port"})


def _accepts(rest: tuple[Word, ...]) -> bool:
    parsed = OPTIONS.parse(rest)
    script = parsed.script
    return parsed.has("nproc", "module_mode", "command_mode") or (
        script is not None and script.text.endswith(".py")
    )


def _read(call: Call, around: Surroundings) -> FlagReading:
    ranks, world = call.parsed.last("nproc"), call.parsed.last("world_size")
    request = GpuRequest()
    if ranks and ranks.value:
        request = gpu_request.count(ranks.value.text, ranks.shown)
    elif "LOCAL_WORLD_SIZE" in around.variables:
        value = around.variables["LOCAL_WORLD_SIZE"]
        request = gpu_request.count(value, f"LOCAL_WORLD_SIZE={value}")
    whole = gpu_request.count(world.value.text, "").count if world and world.value else None
    if world and whole and request.count and whole > request.count:
        raise CommandError(
            f"{world.shown} asks for several machines, but Berth runs on this box only; leave it out."
        )
    return FlagReading(request=request)


def _rewrite(call: Call, leased: LeaseSlice, around: Surroundings) -> list[Word]:
    script = call.parsed.script
    kept = [w for f in call.flags if f.name not in _RANKS | _MEETING for w in f.words]
    rest = [*([script] if script else []), *call.parsed.arguments]
    if call.parsed.has("help", "version"):
        return [*program(call, leased), *(w for f in call.flags for w in f.words), *rest]
    number = len(leased.visible) or _read(call, around).request.count or 1
    said = [flag.shown for flag in call.flags if flag.name in _RANKS]
    became = [word("-n"), word(str(number)), word(f"--world_size={number}")]
    if said != [f"-n {number}"]:
        leased.note(" ".join(said), f"-n {number}", ranks_note(number, leased))
    meeting = [flag.shown for flag in call.flags if flag.name in _MEETING]
    if leased.port is not None:
        port = f"--master_port={leased.port}"
        leased.note(" ".join(meeting), port, PORT_NOTE)
        became += [word("--master_addr=127.0.0.1"), word(port)]
    return [*program(call, leased), *became, *kept, *rest]


KNOWN = KnownLauncher(
    launcher=Launcher.COMPOSER,
    name="composer",
    programs=frozenset({"composer"}),
    modules=frozenset({"composer.cli.launcher"}),
    options=OPTIONS,
    settles="-n N",
    count="`-n`, else LOCAL_WORLD_SIZE, else one rank for each GPU it sees",
    port="`--master_port`, set to the leased one; else MASTER_PORT, else one it finds free",
    ends="ranks get TERM one after the other; exit code is the lowest rank's, not the failed one's",
    read=_read,
    rewrite=_rewrite,
    accepts=_accepts,
)
