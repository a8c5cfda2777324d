"""Check of a command's program at submit: words and files that are none."""

from __future__ import annotations

import difflib
import os
import shutil
import sys
from pathlib import Path

from berth.commands import CommandView
from berth.inherited import handed_on
from berth.protocol.message import Message
from berth.protocol.specs import JobSpec
from berth.protocol.states import Launcher
from berth_server.core.explain.phrases import Piece, code
from berth_server.service.errors import Invalid
from berth_server.service.jobs.permissions import Access, is_folder

_VERBS = {
    name: name
    for name in (
        *("submit", "run", "ls", "show", "logs", "why", "cancel", "hold", "release", "retry"),
        *("wait", "gpus", "top", "status", "up", "down", "ablate", "compare", "plan", "doctor"),
        *("token", "web", "set", "backup", "restore"),
        *("shell", "exec", "attach", "jupyter", "report", "mcp"),
    )
} | {"list": "ls", "queue": "ls", "jobs": "ls", "log": "logs", "stop": "cancel", "help": "--help"}
"""Words that people type behind `berth submit`, and the verb that they mean."""
_INTERPRETERS = {".py": "python", ".pl": "perl", ".R": "Rscript", ".jl": "julia", ".js": "node"}
_SCRIPTS = (".sh", ".bash", ".sbatch", ".slurm")


def check(spec: JobSpec, view: CommandView, workdir: str, access: Access) -> Message | None:
    """
    Return a note on a program that was not found; None where nothing is wrong.

    Raises Invalid for a word of Berth's own, and for a file or folder that cannot be started so.
    """
    name = _program(view)
    if name is None:
        return None
    key = _key(spec, name, workdir)
    if key not in access.programs:
        access.programs[key] = _look(spec, name, workdir, access)
    return access.programs[key]


def is_known(spec: JobSpec, view: CommandView, access: Access) -> bool:
    """Return True if `check` looks at no file for this spec."""
    name = _program(view)
    return name is None or _key(spec, name, spec.workdir or "") in access.programs


def _key(spec: JobSpec, name: str, workdir: str) -> str:
    later = bool(spec.depends_on) or spec.snapshot
    return "\0".join([workdir, spec.python or "", spec.env.get("PATH", ""), str(later), name])


def _program(view: CommandView) -> str | None:
    """The program that a plain command starts by itself, wrappers and launchers aside."""
    if view.is_shell or view.parts is None or view.parts.file_text is not None:
        return None
    (call,) = view.parts.calls
    if call.launcher is not Launcher.OTHER or call.wrapper or not call.program[0].literal:
        return None
    return call.program[0].text


def _look(spec: JobSpec, name: str, workdir: str, access: Access) -> Message | None:
    there = Path(workdir, name)
    if "/" in name:
        # What an earlier job is to make, or what is frozen with the code, is not there yet.
        if spec.depends_on or spec.snapshot:
            return None
        return _startable(name, there, access)
    if shutil.which(name, path=_path(spec)) is not None:
        return None
    if name in _VERBS:
        raise Invalid(
            Message.of(
                f"{name} is no program on this box; did you mean ",
                code(f"berth {_VERBS[name]}"),
                "?",
            ),
            "command",
        )
    if access.find(str(there)) == "there":
        _startable(f"./{name}", there, access)
        raise Invalid(
            Message.of(
                f"{name} is a file in {workdir}, and programs are looked up on PATH; write ",
                code(f"./{name}"),
                ".",
            ),
            "command",
        )
    near = difflib.get_close_matches(name, [*_VERBS], n=1, cutoff=0.8)
    meant = (" Did you mean ", code(f"berth {_VERBS[near[0]]}"), "?") if near else ()
    return Message.of(
        f"{name} was not found on the job's PATH; install it in the job's environment, or give its "
        "full path.",
        *meant,
    )


def _startable(name: str, there: Path, access: Access) -> Message | None:
    """Raise Invalid for what lies at a path and is no program: one sentence that names the fix."""
    found = access.find(str(there))
    if found == "missing":
        raise Invalid(
            Message.of(f"{name} does not exist in {there.parent}; check the name, or the folder."),
            "command",
        )
    if found != "there":
        return None
    if is_folder(there):
        raise Invalid(Message.of(f"{name} is a folder; name a program in it."), "command")
    if not access.may(str(there), os.X_OK):
        raise Invalid(
            Message.of(f"{name} may not be executed; write ", *_instead(name), "."), "command"
        )
    return None


def _instead(name: str) -> tuple[Piece, ...]:
    """The way to start a file that may not be executed."""
    bare = name.removeprefix("./")
    suffix = Path(name).suffix
    if suffix in _INTERPRETERS:
        return (code(f"{_INTERPRETERS[suffix]} {bare}"),)
    if suffix in _SCRIPTS or not suffix:
        return (code(f"berth submit --script {bare}"), ", or make it executable with chmod +x")
    return (code(f"chmod +x {bare}"), " first, or name the program that opens it")


def _path(spec: JobSpec) -> str:
    """The PATH that the job will have, as far as the server knows it."""
    inherited = handed_on(os.environ).get("PATH") or os.defpath
    own = spec.env.get("PATH") or inherited
    if spec.python is None:
        return f"{Path(sys.executable).parent}:{own}"
    python = Path(spec.python)
    return f"{python / 'bin' if is_folder(python) else python.parent}:{own}"
