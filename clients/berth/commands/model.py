"""Commands as read and as rewritten, and the lease and runtime they are rewritten for."""

from __future__ import annotations

from dataclasses import dataclass, field

from berth.commands.call import ALONE, CallParts, Gang
from berth.protocol.attempts import Change
from berth.protocol.states import Launcher

_SPANS_NODES = frozenset({Launcher.DEEPSPEED, Launcher.ACCELERATE, Launcher.TORCHRUN})


@dataclass(frozen=True, kw_only=True)
class CommandView:
    """A command as Berth reads it. Nothing in it has been changed yet."""

    launcher: Launcher
    """Launcher of the ranks; `shell` whenever a shell has to run the text."""
    argv: tuple[str, ...] = field(repr=False)
    """Words after leading NAME=VALUE assignments; for shell text `/bin/bash -c TEXT`."""
    assignments: dict[str, str] = field(default_factory=dict[str, str], repr=False)
    """Leading NAME=VALUE assignments of a plain command, `CUDA_VISIBLE_DEVICES` among them."""
    gpus_wanted: int | None = None
    """Number of GPUs that the command asks for, all nodes together; None when it does not say."""
    nodes_wanted: int | None = None
    """Number of nodes that it asks for; None when it does not say."""
    gpu_indices_wanted: tuple[int, ...] | None = None
    """The GPUs it names, where it names any (only their number counts)."""
    script_path: str | None = None
    """The training script as written, relative to the job's folder; None where there is none
    or several, or where it cannot be known (a module, a `cd` before it)."""
    script_args: tuple[str, ...] = field(default=(), repr=False)
    """Words after the script."""
    is_shell: bool = False
    """Pipes, &&, redirections, expansions: `/bin/bash` runs the text."""
    warnings: tuple[str, ...] = ()
    """One sentence each, for the user."""
    count_notes: tuple[str, ...] = ()
    """Those of them that only matter where the job does not set `gpus`: the number of GPUs
    could not be read."""
    config_files: tuple[str, ...] = ()
    """Files, as written, in which its launchers say more about the number of ranks; `read`
    takes their content."""
    text: str = ""
    """The command as one line, secrets masked."""
    parts: CallParts | None = field(default=None, repr=False, compare=False)
    """Parts that `rewrite` needs; private to this package."""

    @property
    def spans_nodes(self) -> bool:
        """True if Berth can start it on several nodes as one run."""
        calls = self.parts.calls if self.parts else ()
        return any(call.launcher in _SPANS_NODES for call in calls)


@dataclass(frozen=True, kw_only=True)
class LeaseFacts:
    """The GPUs and the port that an attempt was given."""

    indices: tuple[int, ...]
    """The box's indices, ascending; empty for a job without GPUs."""
    visible: tuple[int, ...]
    """Numbers in CUDA_VISIBLE_DEVICES: 0.. inside a fence, else the box's indices."""
    port: int | None
    """The leased rendezvous port."""
    uuids: tuple[str, ...] = ()
    """The GPUs' UUIDs, in the same order; empty where they are not known."""
    simulated: bool = False
    """No real GPUs: the ranks use gloo."""
    gang: Gang = ALONE
    """The node's place in a run over several nodes."""


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """The interpreter and the files that the worker starts the command with."""

    python: str
    """Path of the interpreter of the job's environment."""
    accelerate_config: str
    """Path of a file that holds `NEUTRAL_ACCELERATE_CONFIG`."""
    bundled_trainer: str | None = None
    """Path of the bundled `train_deepspeed.py`, for commands whose own does not exist."""
    script_file: str = "script"
    """Path of the file that holds a script for another program than a shell."""
    script_exists: bool = True
    """True if the command's script exists in the job's folder."""


@dataclass(frozen=True, kw_only=True)
class Rewritten:
    """A command confined to its lease."""

    argv: tuple[str, ...] = field(repr=False)
    """The words to execute, complete; shell text stands in it as `/bin/bash -c TEXT`."""
    env: dict[str, str] = field(repr=False)
    """Variables to set over the job's environment: the command's own assignments and what
    keeps the launcher to its lease."""
    changes: tuple[Change, ...]
    """Everything that differs, and why."""
    before: str
    """The command as submitted, one shell-quoted line, secrets masked."""
    after: str
    """The command as started, one shell-quoted line, secrets masked."""
    launcher: Launcher
    script: str | None = field(default=None, repr=False)
    """For shell text: the text. Over 100 kB it does not fit into an argument: write it to a
    file, and let the shell read that."""
    file_text: str | None = field(default=None, repr=False)
    """For a script of another program: the content of `Runtime.script_file`."""
