"""Model of a launcher that Berth knows, and of what surrounds a call of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from berth.commands.call import Call, FlagReading, LeaseSlice
from berth.commands.gpu_request import GpuRequest
from berth.commands.options import Options
from berth.commands.words import Word, path_word, word
from berth.protocol.states import Launcher

Config = Mapping[str, object]
"""A configuration file's content, its top level."""

_NOTHING: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Surroundings:
    """The facts beside its own words that a call's GPUs depend on."""

    variables: Mapping[str, str] = field(default_factory=dict[str, str])
    """Variables that the command or the text around it sets to plain values."""
    configs: Mapping[str, Config] = field(default_factory=dict[str, Config])
    """Configuration files that could be read, by their name as written."""

    given: Mapping[str, str] = field(default_factory=dict[str, str])
    """Variables with which a script's text begins: its arguments $1, $2 and the caller's own."""
    several_nodes: bool = False
    """Calls may ask for several nodes: the job runs on a cluster."""

    def config(self, name: str | None) -> Config:
        """The content of a file; empty where it was not read."""
        return self.configs.get(name or "", {})


def _no_files(_call: Call) -> tuple[str, ...]:
    return ()


@dataclass(frozen=True, kw_only=True)
class KnownLauncher:
    """One launcher of the table."""

    launcher: Launcher
    name: str
    """Its command, as people write it."""
    programs: frozenset[str] = _NOTHING
    """Names of its program."""
    verbs: frozenset[str] = _NOTHING
    """The words behind the program with which it starts ranks; empty: it always does."""
    modules: frozenset[str] = _NOTHING
    """Modules that `python -m` starts it by."""
    options: Options | None = None
    """Its own options where they come before the script; None: they may stand anywhere."""
    settles: str
    """The part of its own words that says the number of ranks, with N for the number."""
    starts: str = "starts one rank per GPU"
    """The phrase that describes it."""
    count: str
    """For the documentation: where it says how many ranks start."""
    port: str
    """For the documentation: the port of its rendezvous."""
    ends: str
    """For the documentation: how it ends, by signal and by a failed rank."""
    read: Callable[[Call, Surroundings], FlagReading]
    """Reads how many GPUs a call asks for; raises CommandError for one that cannot run here."""
    rewrite: Callable[[Call, LeaseSlice, Surroundings], list[Word]]
    """Confines a call to its lease."""
    files: Callable[[Call], tuple[str, ...]] = _no_files
    """Configuration files, as written, that say more about the number of ranks."""
    alone: Callable[[Call], bool] = lambda _call: False
    """True if a call without a number starts one process, so that one GPU is right."""
    accepts: Callable[[tuple[Word, ...]], bool] = lambda _rest: True
    """True if the words behind program and verb are its own: two tools may share a name."""


def program(call: Call, leased: LeaseSlice) -> list[Word]:
    """The program with its verb; a module is run by the job's interpreter."""
    if call.module is None:
        return list(call.program)
    at = next(n for n, each in enumerate(call.program) if each.text == call.module)
    python = call.interpreter or leased.python
    start = [path_word(python), *call.interpreter_options, word("-m"), word(call.module)]
    return [*start, *call.program[at + 1 :]]


def unchanged(call: Call, leased: LeaseSlice, _around: Surroundings) -> list[Word]:
    """The call as it was written, for launchers that keep to their environment."""
    flags = [each for flag in call.flags for each in flag.words]
    script = call.parsed.script
    return [
        *program(call, leased),
        *flags,
        *([script] if script else []),
        *call.parsed.arguments,
    ]


def product(*requests: GpuRequest) -> GpuRequest:
    """Sizes of a model's parallel parts multiplied; those that were not given count as 1."""
    given = [request for request in requests if request.count is not None]
    if not given:
        return GpuRequest()
    total = 1
    for request in given:
        total *= request.count or 1
    return GpuRequest(total, None, " ".join(request.said for request in given))


def over_nodes(reading: FlagReading, nodes: int) -> FlagReading:
    """The reading of flags that count the ranks of one node, for several nodes."""
    request = reading.request
    if request.count is not None:
        request = GpuRequest(request.count * nodes, None, request.said)
    return replace(reading, request=request, nodes=nodes)


def ranks_note(number: int, leased: LeaseSlice) -> str:
    """The reason for a number of ranks."""
    if number == len(leased.visible):
        return f"One rank for each GPU that the job was given ({leased.gpu_names})."
    return "The job was given no GPU."


PORT_NOTE = "Rendezvous on this box, on a port that no other job has."
