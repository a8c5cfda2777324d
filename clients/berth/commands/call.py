"""Launcher call: a simple command, split into its launcher, its options and its script."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from berth.commands.gpu_request import GpuRequest
from berth.commands.options import Flag, ParsedArgs
from berth.commands.words import Word
from berth.gpunames import named, ranges
from berth.protocol.attempts import Change
from berth.protocol.states import Launcher

SCRIPT_FILE = "\0script"
"""Word for a script's file, which no command can hold otherwise."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """A simple command that starts ranks, or any other program."""

    launcher: Launcher
    assignments: tuple[Word, ...] = ()
    """NAME=VALUE words before the program."""
    wrapper: tuple[Word, ...] = ()
    """Programs that start the program and stay: `nice -n 5`, `numactl -N 0`."""
    program: tuple[Word, ...] = ()
    """Words that name the launcher: `deepspeed`, or `python -m torch.distributed.run`."""
    interpreter: str | None = None
    """The interpreter to use; None: the one of the job's environment."""
    interpreter_options: tuple[Word, ...] = ()
    """`-u`, `-W ignore` and the like."""
    module: str | None = None
    """The launcher's module when it was named by `python -m`."""
    nohup: str = ""
    """Words before it that keep it running after a logout: `nohup`, `screen -dmS x`."""
    parsed: ParsedArgs = field(default_factory=lambda: ParsedArgs((), None, ()))
    start: int = 0
    end: int = 0
    """Its place in a shell text."""
    redirects: str = ""
    """Redirections that stand between its words."""
    background: bool = False
    """True if `&` follows it."""
    indices: tuple[int, ...] | None = None
    """The GPUs it names, settled between its parts."""
    variables: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    """Variables that are set where it stands, to plain values."""
    loop: tuple[str, tuple[int, ...]] | None = None
    """The loop variable that its CUDA_VISIBLE_DEVICES is, and the GPUs it goes through."""

    @property
    def flags(self) -> tuple[Flag, ...]:
        """The launcher's own options."""
        return self.parsed.flags

    @property
    def hides_options(self) -> bool:
        """True if a variable that cannot be read stands among its options."""
        return any(not flag.known and not flag.words[0].literal for flag in self.flags)

    @property
    def runs_module(self) -> bool:
        """True if what stands in the script's place is a module or a program."""
        return self.parsed.has("module", "no_python", "module_mode", "command_mode")


@dataclass(frozen=True, kw_only=True)
class FlagReading:
    """GPU request of a call by its launcher's own flags."""

    request: GpuRequest = field(default_factory=GpuRequest)
    """The launcher's own flags, all nodes together."""
    nodes: int | None = None
    """The number of nodes that they ask for; None where they ask for none."""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class CallParts:
    """The parts of a command, as reading found them and rewriting needs them."""

    calls: tuple[Call, ...] = ()
    source: str | None = None
    """Shell text; None for a plain command."""
    shell: tuple[Word, ...] = ()
    """Words that run the text: `/bin/bash -c`."""
    shell_arguments: tuple[Word, ...] = ()
    """Words after the text: $0, $1, …"""
    assignments: tuple[Word, ...] = ()
    """Leading NAME=VALUE words, before the shell too."""
    changes: tuple[Change, ...] = ()
    """Changes that reading has made already."""
    named: tuple[int, ...] = ()
    """Every GPU that one of the calls names, ascending."""
    configs: Mapping[str, Mapping[str, object]] = field(
        default_factory=dict[str, Mapping[str, object]], repr=False
    )
    """Configuration files of launchers, by their name as written."""
    file_text: str | None = field(default=None, repr=False)
    """Text of the file whose name stands in the command as `SCRIPT_FILE`."""


@dataclass(frozen=True, kw_only=True)
class Gang:
    """The place of one node among those of a run over several."""

    nodes: int
    """Number of nodes; each has as many GPUs."""
    rank: int
    """0 is the node whose address all others know."""
    address: str


ALONE = Gang(nodes=1, rank=0, address="127.0.0.1")


@dataclass(frozen=True, kw_only=True)
class LeaseSlice:
    """The GPUs and the port that one call gets: nearly always the whole lease."""

    visible: tuple[int, ...]
    """Values for CUDA_VISIBLE_DEVICES."""
    indices: tuple[int, ...]
    """The box's indices of the same GPUs."""
    port: int | None
    uuids: tuple[str, ...]
    """Their UUIDs, where they are known."""
    python: str
    """The interpreter of the job's environment."""
    accelerate_config: str
    simulated: bool = False
    gang: Gang = ALONE
    changes: list[Change] = field(default_factory=list[Change])
    """Filled while rewriting."""
    variables: dict[str, str] = field(default_factory=dict[str, str])
    """Variables that the call needs beside those of every job; filled while rewriting it."""

    @property
    def gpu_names(self) -> str:
        """The GPUs for people, in both numberings where they differ."""
        names = named(self.indices)
        if self.visible != self.indices:
            names += f", which the job counts as {ranges(self.visible)}"
        return names

    def set(
        self,
        name: str,
        value: str,
        known: Mapping[str, str],
        *,
        ranks: bool = False,
        why: str = "",
    ) -> None:
        """Set a variable for the call, and add a change where it was another before."""
        self.variables[name] = value
        before = known.get(name)
        if before == value:
            return
        reason = f"One rank for each GPU that the job was given ({self.gpu_names})."
        self.note(
            "" if before is None else f"{name}={before}",
            f"{name}={value}",
            reason if ranks else why,
        )

    def note(self, what: str, became: str, why: str) -> None:
        """Add one change, unless nothing changed or it is listed already."""
        change = Change(what=what, became=became, why=why)
        if what != became and change not in self.changes:
            self.changes.append(change)
