"""
ms-swift, `swift sft …`.

It starts torchrun where NPROC_PER_NODE is set, in the environment or under `ENV:` of the
configuration file that is its first argument; the environment wins. Otherwise one process uses
all GPUs that it sees.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

from berth.commands.call import Call, FlagReading, LeaseSlice
from berth.commands.launchers.known import KnownLauncher, Surroundings, unchanged
from berth.commands.launchers.llamafactory import ranks_variable
from berth.commands.words import Word
from berth.protocol.states import Launcher


def _files(call: Call) -> tuple[str, ...]:
    first = call.parsed.arguments[:1]
    named = first and first[0].literal and first[0].text.endswith((".yaml", ".yml", ".json"))
    return (first[0].text,) if named else ()


def _with_file(call: Call, around: Surroundings) -> Surroundings:
    variables: dict[str, str] = {}
    for name in _files(call):
        found = around.config(name).get("ENV")
        if isinstance(found, Mapping):
            settings = cast("Mapping[object, object]", found)
            variables = {str(key): str(value) for key, value in settings.items()}
    return replace(around, variables={**variables, **around.variables})


def _read(call: Call, around: Surroundings) -> FlagReading:
    return FlagReading(request=ranks_variable(_with_file(call, around)))


def _rewrite(call: Call, leased: LeaseSlice, around: Surroundings) -> list[Word]:
    known = _with_file(call, around).variables
    if "NPROC_PER_NODE" in known or "NNODES" in known:
        asked = ranks_variable(replace(around, variables=known)).count
        number = len(leased.visible) or asked or 1
        leased.set("NPROC_PER_NODE", str(number), known, ranks=True)
        leased.set("NNODES", "1", known, why="Berth runs on this box only.")
        leased.set("NODE_RANK", "0", known, why="Berth runs on this box only.")
    return unchanged(call, leased, around)


KNOWN = KnownLauncher(
    launcher=Launcher.SWIFT,
    name="swift",
    programs=frozenset({"swift", "megatron"}),
    verbs=frozenset({"sft", "pt", "rlhf", "infer"}),
    settles="NPROC_PER_NODE=N before it",
    starts="starts NPROC_PER_NODE ranks, or one process for all its GPUs",
    count="NPROC_PER_NODE, also under `ENV:` of its configuration file; without it one process",
    port="MASTER_PORT",
    ends="torchrun's ranks, below a parent that does not forward TERM; Berth ends all of them; "
    "exit code is torchrun's",
    read=_read,
    rewrite=_rewrite,
    files=_files,
)
