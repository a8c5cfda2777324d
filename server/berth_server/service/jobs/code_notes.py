"""Notes at submit on ranks that only the code of a command's script starts."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from berth import launcher_files
from berth.commands import CommandView
from berth.commands.hints import in_code, in_script
from berth.protocol.message import Message
from berth.protocol.states import Launcher
from berth_server.service.jobs.permissions import Access


def notes(view: CommandView, workdir: str, access: Access) -> list[Message]:
    """The note for a script, of Python or a shell, that may start several ranks by itself."""
    if view.gpus_wanted is not None:
        return []
    if started := in_script.started(view):
        key = (started.path, *started.arguments, *started.call.variables.items())
        found = _cached(
            repr(key), started.path, lambda text: in_script.note(started, text), workdir, access
        )
    elif view.launcher is Launcher.PYTHON and view.script_path and not view.is_shell:
        name = view.script_path
        found = _cached(name, name, lambda text: in_code.note(name, text), workdir, access)
    else:
        return []
    return [Message.marked(found)] if found else []


def _cached(
    key: str, path: str, look: Callable[[str], str | None], workdir: str, access: Access
) -> str | None:
    key = f"{workdir}\0{key}"
    if key not in access.code_notes:
        whole = str(Path(workdir, path))
        text = launcher_files.script(whole, lambda opened: access.may(opened, os.R_OK))
        access.code_notes[key] = look(text) if text else None
    return access.code_notes[key]
