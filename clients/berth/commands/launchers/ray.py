"""Ray, `ray start --head` and `ray job submit`: a cluster of its own, not a launcher of ranks."""

from __future__ import annotations

from berth.commands import gpu_request
from berth.commands.call import Call, FlagReading, LeaseSlice
from berth.commands.launchers import flags
from berth.commands.launchers.known import (
    PORT_NOTE,
    KnownLauncher,
    Surroundings,
    program,
    ranks_note,
)
from berth.commands.words import Word, word
from berth.protocol.states import Launcher


def _starts(call: Call) -> bool:
    return call.program[-1].text == "start"


def _read(call: Call, _around: Surroundings) -> FlagReading:
    words = call.parsed.arguments
    if not _starts(call):
        sentence = (
            "`ray job submit` hands the job to a Ray cluster, whose GPUs Berth does not choose; "
            "run the script itself, and Ray takes the job's GPUs."
        )
        return FlagReading(warnings=(sentence,))
    found = flags.find(words, "--num-gpus")
    asked = gpu_request.GpuRequest()
    if found:
        none = found.value == "0"
        asked = (
            gpu_request.GpuRequest(0, (), found.said)
            if none
            else gpu_request.count(found.value, found.said)
        )
    warnings = (
        ()
        if flags.has(words, "--block")
        else (
            "`ray start` returns at once, and the job ends with it; add --block to keep the node up.",
        )
    )
    return FlagReading(request=asked, warnings=warnings)


def _rewrite(call: Call, leased: LeaseSlice, _around: Surroundings) -> list[Word]:
    words = list(call.parsed.arguments)
    if not _starts(call):
        return [*program(call, leased), *words]
    if flags.has(words, "--num-gpus"):
        words, taken = flags.without(words, ("--num-gpus",))
        became = f"--num-gpus={len(leased.visible)}"
        if taken != [became]:
            leased.note(" ".join(taken), became, ranks_note(len(leased.visible), leased))
        words.append(word(became))
    if flags.has(words, "--head") and leased.port is not None:
        words, taken = flags.without(words, ("--port",))
        leased.note(" ".join(taken), f"--port={leased.port}", PORT_NOTE)
        words.append(word(f"--port={leased.port}"))
    return [*program(call, leased), *words]


KNOWN = KnownLauncher(
    launcher=Launcher.RAY,
    name="ray",
    programs=frozenset({"ray"}),
    verbs=frozenset({"start", "job"}),
    settles="--num-gpus=N",
    starts="starts a node of a Ray cluster",
    count="`--num-gpus`, else every GPU it sees",
    port="`--port`, set to the leased one for a head; the rest it finds itself",
    ends="its daemons outlive `ray start`, and end with the job",
    read=_read,
    rewrite=_rewrite,
    alone=lambda call: not _starts(call),
)
