"""Description of a command as it was read, for the dry run and for `berth submit`."""

from __future__ import annotations

from berth.commands.launchers import registry
from berth.commands.model import CommandView
from berth.gpunames import named
from berth.protocol.states import Launcher

_STARTS = {
    **{one.launcher: f"{one.name} {one.starts}" for one in registry.ALL},
    Launcher.PYTHON: "Python runs the script as one process",
    Launcher.SHELL: "A shell runs it",
    Launcher.OTHER: "The program runs as it is",
}


def describe(view: CommandView) -> list[str]:
    """Describe how the command was read, in sentences, warnings last."""
    out = [f"{_STARTS[view.launcher]}{_script(view)}."]
    if view.gpus_wanted is None:
        out.append("It does not say how many GPUs it needs.")
    elif view.gpu_indices_wanted:
        out.append(
            f"It asks for {_gpus(view.gpus_wanted)} and names {named(view.gpu_indices_wanted)}; "
            "it gets as many, chosen by Berth."
        )
    else:
        out.append(f"It asks for {_gpus(view.gpus_wanted)}.")
    return [*out, *view.warnings]


def _script(view: CommandView) -> str:
    return f": {view.script_path}" if view.script_path else ""


def _gpus(count: int) -> str:
    return "1 GPU" if count == 1 else f"{count or 'no'} GPUs"
