"""
Checks of a job at submit: its command, files and size, before it waits in the queue.

`look` looks at files and may block on a slow disk: it runs on a thread, outside transactions.
`size` compares with the box and is called right before the submit.
"""

from __future__ import annotations

import functools
import os
import stat
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from berth import installing, launcher_files
from berth.commands import CommandError, CommandView, Surroundings, read
from berth.commands.recognise import BUNDLED_SCRIPT
from berth.protocol.attempts import CodeSnapshot
from berth.protocol.message import Message, quoted
from berth.protocol.specs import JobSpec
from berth_server.core.explain.phrases import Piece, count
from berth_server.core.progress.work import Work, work_of
from berth_server.service.auth.callers import Caller, home_of
from berth_server.service.errors import Conflict, Invalid
from berth_server.service.jobs import code_notes, programs
from berth_server.service.jobs.fit import misfit
from berth_server.service.jobs.freeze_code import outside
from berth_server.service.jobs.permissions import Access, is_folder
from berth_server.service.jobs.script_header import with_header
from berth_server.service.web_address import host_of
from berth_server.store import jobs
from berth_server.store.gpus import KnownGpu
from berth_server.store.records import JobRecord

# Variables that give launchers the number of ranks to start.
_CONFIG_ENDINGS = (".json", ".yaml", ".yml")
_COUNTING = frozenset({"NPROC_PER_NODE", "NNODES", "LOCAL_WORLD_SIZE"})


@dataclass(slots=True, frozen=True)
class Prepared:
    """A spec with everything filled in that the user left open."""

    spec: JobSpec
    name: str
    gpus: int
    workdir: str
    warnings: tuple[Message, ...]
    view: CommandView
    resolved: JobSpec
    """The spec with its name, GPUs and folder filled in, as the queue stores it."""
    columns: tuple[object, ...]
    """The columns that `resolved` fills, made here so that the submit itself is short."""
    snapshot: CodeSnapshot | None = None
    work: Work | None = None
    """Amount of work that its command or its configuration asks for, where they say so."""


def check_spec(spec: JobSpec, caller: Caller, access: Access | None = None) -> Prepared:
    """
    Fill in a spec and check that its folder, script and interpreter exist.

    `access` caches what was checked: one for all specs of a list. Raises Invalid with the field
    and one sentence.
    """
    spec, header_notes = with_header(spec)
    try:
        view = _read(spec)
    except CommandError as error:
        field = "command" if spec.script is None else "script"
        raise _wrong(field, Message.marked(str(error))) from None
    access = access or Access(caller.uid)
    workdir = _workdir(spec, caller, access)
    _python(spec, access)
    _script(view, workdir, access)
    missing = programs.check(spec, view, workdir, access)
    view = _with_surroundings(spec, view, workdir, access)
    nodes = spec.nodes or view.nodes_wanted or 1
    if spec.gpus_per_node is not None:
        spec = spec.model_copy(update={"gpus": nodes * spec.gpus_per_node})
    gpus, warnings = _gpus(spec, view)
    if spec.gpus is None and not spec.share:
        warnings += code_notes.notes(view, workdir, access)
    if missing is not None:
        warnings = [*warnings, missing]
    kept = view.warnings
    if spec.gpus is not None:
        kept = tuple(each for each in kept if each not in view.count_notes)
    name = spec.name or default_name(view)
    filled = {"name": name, "gpus": gpus, "workdir": workdir, "gpus_per_node": None}
    resolved = spec.model_copy(update=filled | {"nodes": nodes if nodes > 1 else None})
    return Prepared(
        spec=spec,
        name=name,
        gpus=gpus,
        workdir=workdir,
        warnings=tuple(dict.fromkeys((*header_notes, *map(Message.marked, kept), *warnings))),
        view=view,
        resolved=resolved,
        columns=jobs.spec_values(resolved),
        work=_work(view, workdir, access),
    )


def with_code(prepared: Prepared, code: CodeSnapshot) -> Prepared:
    """The same with its code frozen, and a warning of what is not."""
    warnings = outside(prepared.view.argv or (), code)
    return replace(prepared, snapshot=code, warnings=(*prepared.warnings, *warnings))


def is_known(spec: JobSpec, access: Access) -> bool:
    """Return True if `access` has checked every file that `check_spec` would check."""
    try:
        view = _read(spec)
    except CommandError:
        return False
    return (
        spec.workdir in access.fine_folders
        and not view.config_files
        and not _config_names(view)
        and (spec.python is None or spec.python in access.fine_pythons)
        and (not _has_script(view) or _key(spec.workdir, view) in access.fine_scripts)
        and programs.is_known(spec, view, access)
    )


def read_command(command: list[str] | str | None, script: str | None) -> CommandView:
    """
    Parse a command. Parsing is pure, and queues hold the same command many times.

    Raises CommandError.
    """
    return _read_cached(tuple(command) if isinstance(command, list) else command, script)


def _read(spec: JobSpec) -> CommandView:
    return read_command(spec.command, spec.script)


@functools.lru_cache(maxsize=512)
def _read_cached(command: tuple[str, ...] | str | None, script: str | None) -> CommandView:
    # Whether there are several nodes is known when the size is checked.
    several = Surroundings(several_nodes=True)
    return read(list(command) if isinstance(command, tuple) else command, script, several)


def _with_surroundings(
    spec: JobSpec, view: CommandView, workdir: str, access: Access
) -> CommandView:
    """Read the command once more with its launchers' files and the job's own variables."""
    variables = {name: spec.env[name] for name in _COUNTING & spec.env.keys()}
    if not view.config_files and not variables:
        return view
    found = launcher_files.configs(
        view.config_files, workdir, lambda path: access.may(path, os.R_OK)
    )
    try:
        around = Surroundings(variables, found, several_nodes=True)
        return read(spec.command, spec.script, around)
    except CommandError as error:
        field = "command" if spec.script is None else "script"
        raise _wrong(field, Message.marked(str(error))) from None


def _work(view: CommandView, workdir: str, access: Access) -> Work | None:
    """Amount of work of the command, by itself and by the configuration files that it names."""
    if view.is_shell:
        return None
    names = _config_names(view)
    found = launcher_files.configs(names, workdir, lambda path: access.may(path, os.R_OK))
    return work_of(view.script_args, [found[name] for name in names if name in found])


def _config_names(view: CommandView) -> tuple[str, ...]:
    """Arguments of the script that look like configuration files, the first ones."""
    words = (word.rpartition("=")[2] for word in view.script_args)
    return tuple(dict.fromkeys(word for word in words if word.endswith(_CONFIG_ENDINGS)))[:4]


def size(prepared: Prepared, box: Sequence[KnownGpu]) -> None:
    """Raise Invalid when the box could never run the job. An unknown box passes every job."""
    spec = prepared.spec
    nodes = prepared.resolved.nodes or 1
    wrong = misfit(prepared.gpus, nodes, spec.gpu_memory, box, share=spec.share)
    if wrong:
        raise _wrong(*wrong)
    if prepared.gpus % nodes:
        raise _wrong(
            "gpus",
            f"{count(prepared.gpus, 'GPU')} cannot be spread evenly over {nodes} nodes; give a "
            "multiple.",
        )


def notices(addresses: Sequence[str], schemas: Collection[str]) -> None:
    """Raise Invalid for an address of a kind that this box sends no notices to."""
    for address in addresses:
        kind = address.partition("://")[0]
        if kind in {"http", "https"}:
            if host_of(address) is None:
                raise _wrong(
                    "notify", f"{address!r} names no host; write an address like https://host/path."
                )
            continue
        if kind not in schemas:
            allowed = ", ".join(("https", *sorted(schemas)))
            raise _wrong(
                "notify",
                f"Notices go to addresses of these kinds here: {allowed}; {kind}:// is none of them "
                "(the admin adds it to notify_schemas in berth.toml).",
            )
        if find_spec("apprise") is None:
            raise _wrong(
                "notify",
                f"Notices to {kind}:// need the package apprise where the server runs; ask its "
                f"admin for `{installing.command('notify')}`, or use an https address.",
            )


def still_fits(record: JobRecord, box: Sequence[KnownGpu]) -> None:
    """Raise Conflict when the box as it is now could never run an earlier job."""
    spec = record.spec
    nodes = spec.nodes or 1
    wrong = misfit(record.gpus, nodes, spec.gpu_memory, box, share=spec.share)
    if wrong:
        raise Conflict(wrong[1])


def _gpus(spec: JobSpec, view: CommandView) -> tuple[int, list[Message]]:
    wanted = view.gpus_wanted
    if spec.share and spec.gpus is None and wanted not in {None, 1}:
        raise _wrong(
            "share",
            f"The command asks for {wanted} GPUs and a share is part of one GPU; change the "
            "command, or leave out ",
            quoted("share"),
            " for whole GPUs.",
        )
    if spec.gpus is None:
        return (1 if wanted is None else wanted), []
    # A command for one box says how many ranks each node gets.
    each = spec.gpus // spec.nodes if spec.nodes and view.nodes_wanted is None else spec.gpus
    if wanted is not None and wanted not in {spec.gpus, each}:
        asked = (f"The command asks for {wanted} GPUs, the field ", quoted("gpus"))
        return spec.gpus, [Message.of(*asked, f" for {spec.gpus}: it gets {spec.gpus}.")]
    return spec.gpus, []


def _workdir(spec: JobSpec, caller: Caller, access: Access) -> str:
    if spec.workdir is None:
        home = home_of(caller.uid)
        if home is None or not is_folder(Path(home)):
            raise _wrong(
                "workdir", "You have no home folder on this box; give ", quoted("workdir"), "."
            )
        return home
    workdir = spec.workdir
    if not workdir.startswith("/"):
        raise _wrong("workdir", f"{workdir!r} is not an absolute path; write the whole path.")
    if workdir in access.fine_folders:
        return workdir
    state = access.find(workdir)
    if state == "missing":
        raise _wrong(
            "workdir", f"The folder {workdir} does not exist on this box; create it first."
        )
    if state == "there" and not is_folder(Path(workdir)):
        raise _wrong("workdir", f"{workdir} is not a folder; give the folder to run in.")
    if state == "forbidden" or not access.may(workdir, os.R_OK | os.X_OK):
        raise _wrong(
            "workdir",
            f"{caller.user} may not enter {workdir}; change its permissions or choose another folder.",
        )
    access.fine_folders.add(workdir)
    return workdir


def _python(spec: JobSpec, access: Access) -> None:
    if spec.python is None or spec.python in access.fine_pythons:
        return
    path = Path(spec.python)
    if not path.is_absolute():
        raise _wrong("python", f"{spec.python!r} is not an absolute path; write the whole path.")
    if access.find(spec.python) == "missing":
        raise _wrong(
            "python",
            f"{spec.python} does not exist on this box; give an interpreter or the folder of an environment.",
        )
    binary = path / "bin" / "python" if is_folder(path) else path
    if not access.may(str(binary), os.X_OK):
        raise _wrong(
            "python",
            f"{binary} is missing or cannot be executed; give an interpreter or the folder of an environment.",
        )
    access.fine_pythons.add(spec.python)


def _script(view: CommandView, workdir: str, access: Access) -> None:
    if not _has_script(view) or _key(workdir, view) in access.fine_scripts:
        return
    script = Path(workdir, view.script_path or "")
    state = access.find(str(script))
    # A pasted command finds the bundled script although the job's folder has no such file.
    if state == "missing" and script.name != BUNDLED_SCRIPT:
        raise _wrong(
            "command",
            f"The script {view.script_path} does not exist in {workdir}; check the name, or set ",
            quoted("workdir"),
            ".",
        )
    regular = state == "there" and _is_regular(script)
    if regular and not access.may(str(script), os.R_OK):
        raise _wrong("command", f"You may not read the script {script}; change its permissions.")
    access.fine_scripts.add(_key(workdir, view))


def _is_regular(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):
        return False  # it was there a moment ago


def _has_script(view: CommandView) -> bool:
    return view.script_path is not None and not view.is_shell


def _key(workdir: str | None, view: CommandView) -> str:
    return f"{workdir}\0{view.script_path}"


def default_name(view: CommandView) -> str:
    """Return the name of a job that was given none."""
    if view.is_shell:
        first = next(
            (s for line in view.text.splitlines() if (s := line.strip()) and s[0] != "#"), ""
        )
        word = first.split()[0] if first.split() else "script"
    else:
        word = view.script_path or (view.argv[0] if view.argv else "job")
    stem = Path(word).stem or word
    return stem[:200]


def _wrong(field: str, *pieces: Piece) -> Invalid:
    return Invalid(Message.of(*pieces), field)
