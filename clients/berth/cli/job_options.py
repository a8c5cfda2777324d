"""Options that describe a job, the same for `submit` and `run`, and the spec they make."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

from berth.cli import batch_script, jobfile
from berth.cli.declare import Argument, Option
from berth.cli.durations import moment
from berth.cli.failure import Failure


class JobOptions:
    """The job as its options describe it."""

    command: Annotated[
        list[str] | None,
        Argument(
            metavar="COMMAND",
            help="The command with its arguments, or one quoted line as you would type it, "
            "or a job file (.yaml, .json; - for standard input).",
        ),
    ] = None
    gpus: Annotated[
        int | None,
        Option(
            "--gpus",
            "-g",
            metavar="N",
            min=0,
            help="Number of GPUs; default: the number that the command asks for.",
        ),
    ] = None
    nodes: Annotated[
        int | None,
        Option(
            metavar="N",
            min=1,
            help="On a cluster: number of nodes that the GPUs are on, as many on each.",
        ),
    ] = None
    gpus_per_node: Annotated[
        int | None,
        Option(metavar="N", min=1, help="On a cluster: GPUs of each node, in place of --gpus."),
    ] = None
    name: Annotated[str | None, Option("--name", metavar="NAME", help="Short name for lists.")] = (
        None
    )
    time_limit: Annotated[
        str | None,
        Option(
            "--time-limit", "-t", metavar="DURATION", help="Maximum run time, like 12h or 1h30m."
        ),
    ] = None
    gpu_memory: Annotated[
        str | None,
        Option(
            metavar="SIZE",
            help="Minimum memory of each GPU, like 40GiB; with --share, the part of one GPU.",
        ),
    ] = None
    share: Annotated[
        bool,
        Option("--share", help="Use only --gpu-memory of one GPU, shared with other jobs."),
    ] = False
    priority: Annotated[
        int | None, Option("--priority", "-p", metavar="N", help="Higher priority starts first.")
    ] = None
    script: Annotated[
        str | None,
        Option(
            metavar="FILE",
            help="Run this script file instead of a command (- for standard input).",
        ),
    ] = None
    file: Annotated[
        str | None,
        Option(
            metavar="FILE",
            help="Submit the jobs of this file: .jsonl has one a line, .yaml or .json a list.",
        ),
    ] = None
    workdir: Annotated[
        str | None,
        Option(
            "--workdir", "-C", metavar="FOLDER", help="Folder to run in; default: the current one."
        ),
    ] = None
    python: Annotated[
        str | None,
        Option(
            metavar="PATH",
            help="Interpreter or environment folder; default: the active virtual or conda environment.",
        ),
    ] = None
    env: Annotated[
        list[str] | None,
        Option("--env", "-e", metavar="NAME=VALUE", help="Set a variable; may be repeated."),
    ] = None
    env_pass: Annotated[
        list[str] | None,
        Option(metavar="NAME", help="Pass on this variable of the shell; may be repeated."),
    ] = None
    depends_on: Annotated[
        list[str] | None,
        Option(
            metavar="JOB",
            help="Start after these jobs have succeeded, like 41 or 40,41; afterany:41 when it has "
            "ended, afternotok:41 if it fails.",
        ),
    ] = None
    after_time: Annotated[
        str | None,
        Option(
            metavar="WHEN", help="Start no earlier than 22:00, 2026-11-24T22:00, or 2h from now."
        ),
    ] = None
    label: Annotated[
        list[str] | None,
        Option("--label", "-l", metavar="KEY=VALUE", help="Set a label; may be repeated."),
    ] = None
    hold: Annotated[bool, Option("--hold", help="Submit as held; `berth release` queues it.")] = (
        False
    )
    retries: Annotated[
        int | None,
        Option(metavar="N", min=0, help="Number of further attempts after a failed one."),
    ] = None
    on_oom: Annotated[
        str | None,
        Option(
            metavar="STEPS",
            help="Steps to retry with after a GPU out-of-memory: halve_micro_batch,checkpointing,offload.",
        ),
    ] = None
    on_stall: Annotated[
        str | None,
        Option(
            metavar="ACTION",
            help="What to do when it makes no progress any more: warn (default), stop or retry.",
        ),
    ] = None
    grace: Annotated[
        str | None, Option(metavar="DURATION", help="Time between SIGTERM and SIGKILL, like 60s.")
    ] = None
    warn_before: Annotated[
        str | None,
        Option(metavar="DURATION", help="Send SIGUSR1 this long before the time limit, like 5m."),
    ] = None
    preemptible: Annotated[
        bool,
        Option(
            "--preemptible", help="Allow the job to be stopped and requeued in favour of others."
        ),
    ] = False
    snapshot: Annotated[
        bool,
        Option("--snapshot", help="Run the git work tree as it is now, unaffected by later edits."),
    ] = False
    notify: Annotated[
        list[str] | None,
        Option(
            metavar="URL",
            help="URL to notify about the job; may be repeated (default: $BERTH_NOTIFY; none).",
        ),
    ] = None

    notify_on: Annotated[
        str | None,
        Option(
            metavar="KINDS",
            help="Reasons for notices: start, end, failure, trouble, waiting:2h (default: "
            "end,trouble).",
        ),
    ] = None

    def __init__(self, **given: Any) -> None:
        """Take the options given; the others keep their defaults."""
        self.at_once: int | None = None  # tasks of the script's array that may run at once
        # No dataclass: its import takes as long as half a command.
        for name, value in given.items():
            if name not in OPTIONS:
                raise TypeError(f"a job has no option {name!r}")
            setattr(self, name, value)

    def specs(self) -> list[dict[str, Any]]:
        """Return the job specs; options take precedence over a job file."""
        return self.specs_of(self._bases())

    def specs_of(self, bases: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the specs of jobs that were found elsewhere, with these options."""
        options = self._options()
        return [
            spec
            for base in bases
            for spec in self._with_header(self._complete({**base, **options}, base), base)
        ]

    def completed(self, spec: dict[str, Any]) -> dict[str, Any]:
        """Return a spec completed with folder and environment, as `submit` does."""
        return self._complete(spec, spec)

    @property
    def is_typed(self) -> bool:
        """True if the whole job was typed, without a job file."""
        return self.file is None and not (
            self.command and len(self.command) == 1 and jobfile.is_one(self.command[0])
        )

    def python_note(self) -> str | None:
        """Return the interpreter chosen by default, with the reason."""
        found = None if self.python else active_python()
        return None if found is None else f"{found} (the active environment)"

    def _bases(self) -> list[dict[str, Any]]:
        words = self.command or []
        if sum(map(bool, (words, self.script is not None, self.file is not None))) > 1:
            raise Failure(f"Give a command or {'--file' if self.file else '--script'}, not both.")
        if self.script == "-":
            return [{"script": sys.stdin.read()}]
        if self.script is not None:
            return [batch_script.base(self.script, [])]
        if self.file is not None:
            return jobfile.read(self.file)
        if not words:
            raise Failure(
                "There is no command to run; write one, like: berth submit --gpus 4 -- deepspeed train.py"
            )
        if words and batch_script.is_one(words[0]):
            return [batch_script.base(words[0], words[1:])]
        if len(words) == 1:
            if words[0] == "-":
                return jobfile.read("-", sys.stdin.read())
            if jobfile.is_one(words[0]):
                return jobfile.read(words[0])
            return [{"command": words[0]}]
        return [{"command": words}]

    def _with_header(self, spec: dict[str, Any], base: dict[str, Any]) -> list[dict[str, Any]]:
        """The jobs of a spec whose script has a header: it wins over defaults alone."""
        script = spec.get("script")
        if "command" in spec and script is not None and self._named_by_file:
            del spec["script"]
        found = batch_script.header(script) if isinstance(script, str) else None
        if found is None:
            return [spec]
        given = dict(spec)
        if "workdir" in found.fields and not self.workdir and "workdir" not in base:
            del given["workdir"]
        if "name" in found.fields and not self.name and self._named_by_file:
            del given["name"]
        filled = batch_script.with_header(given, found)
        if "workdir" not in filled:
            filled["workdir"] = _here()
        if isinstance(filled.get("not_before"), str) and "not_before" not in spec:
            filled["not_before"] = moment(filled["not_before"]).isoformat()
        if found.array is not None:
            self.at_once = found.array.at_once
        return batch_script.tasks(filled, found)

    @property
    def _named_by_file(self) -> bool:
        """True when the job has a script's file name for want of another."""
        words = self.command or []
        return self.script is not None or bool(words and batch_script.is_one(words[0]))

    def _options(self) -> dict[str, Any]:
        spec: dict[str, Any] = {
            "name": self.name,
            "gpus": self.gpus,
            "nodes": self.nodes,
            "gpus_per_node": self.gpus_per_node,
            "gpu_memory": self.gpu_memory,
            "share": self.share or None,
            "time_limit": self.time_limit,
            "priority": self.priority,
            "retries": self.retries,
            "grace": self.grace,
            "warn_before": self.warn_before,
            "hold": self.hold or None,
            "preemptible": self.preemptible or None,
            "snapshot": self.snapshot or None,
            "notify": [url for url in self.notify or [] if url != "none"]
            if self.notify is not None
            else None,
            "notify_on": _list(self.notify_on) if self.notify_on else None,
            "depends_on": _dependencies(self.depends_on or []) or None,
            "not_before": moment(self.after_time).isoformat() if self.after_time else None,
            "on_oom": {"steps": self.on_oom.split(",")} if self.on_oom else None,
            "on_stall": self.on_stall,
            "workdir": str(Path(self.workdir).expanduser().absolute()) if self.workdir else None,
            "python": _python_path(self.python) if self.python else None,
        }
        return {key: value for key, value in spec.items() if value is not None}

    def _complete(self, spec: dict[str, Any], base: dict[str, Any]) -> dict[str, Any]:
        if "workdir" not in spec:
            spec["workdir"] = _here()
        if "python" not in spec and (active := active_python()):
            spec["python"] = active
        if isinstance(base.get("not_before"), str) and "not_before" not in self._options():
            spec["not_before"] = moment(base["not_before"]).isoformat()
        if "notify" not in spec and (urls := _list(os.environ.get("BERTH_NOTIFY", ""))):
            spec["notify"] = urls
            kinds = _list(os.environ.get("BERTH_NOTIFY_ON", ""))
            if kinds and "notify_on" not in spec:
                spec["notify_on"] = kinds
        env = {
            **_mapping(base, "env"),
            **_passed(self.env_pass or []),
            **_pairs(self.env or [], "NAME=VALUE"),
        }
        labels = {**_mapping(base, "labels"), **_pairs(self.label or [], "KEY=VALUE")}
        return {**spec, **({"env": env} if env else {}), **({"labels": labels} if labels else {})}


OPTIONS = tuple(JobOptions.__annotations__)


def stands_alone(word: str) -> str | None:
    """Describe the first word if it is a whole job by itself; None for a program's name."""
    if jobfile.is_one(word):
        return "A job file"
    if batch_script.is_one(word):
        return None
    if len(word.split()) > 1 and not Path(word).exists():
        return "A command quoted as one line"
    return None


def _list(text: str) -> list[str]:
    """Return the words of a list with commas or blanks."""
    return text.replace(",", " ").split()


def _here() -> str:
    try:
        return str(Path.cwd())
    except FileNotFoundError:
        raise Failure(
            "The folder you are in does not exist any more; name another with --workdir."
        ) from None


def active_python() -> str | None:
    for variable in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        folder = os.environ.get(variable)
        if folder and (Path(folder) / "bin" / "python").exists():
            return str(Path(folder).absolute() / "bin" / "python")
    return None


def _python_path(word: str) -> str:
    # A bare name like python3.11 is looked up on this shell's PATH, not on the worker's.
    if "/" not in word and not Path(word).exists():
        import shutil

        found = shutil.which(word)
        if found is None:
            raise Failure(
                f"No interpreter {word!r} is on PATH; give its path or its environment's folder."
            )
        return found
    # Not resolved: a virtual environment's python is a link, and its location is what counts.
    return str(Path(word).expanduser().absolute())


def _dependencies(words: list[str]) -> list[int | str]:
    """Read `40,41`, `40-44`, `afterany:40:41`."""
    from berth.cli import ids

    found: list[int | str] = []
    for part in (part for word in words for part in word.split(",") if part):
        kind, colon, listed = part.partition(":")
        if not colon:
            found += ids.several([part])
        elif kind in {"afterok", "afterany", "afternotok"}:
            numbers = ids.several([each for each in listed.split(":") if each] or [""])
            found += numbers if kind == "afterok" else [f"{kind}:{each}" for each in numbers]
        else:
            raise Failure(
                f"{part!r} is no dependency; write 41, afterok:41, afterany:41 or afternotok:41."
            )
    return list(dict.fromkeys(found))


def _pairs(words: list[str], shape: str) -> dict[str, str]:
    for word in words:
        if not word.partition("=")[1]:
            raise Failure(f"{word!r} is not of the form {shape}.")
    return {name: value for name, _, value in (word.partition("=") for word in words)}


def _passed(names: list[str]) -> dict[str, str]:
    for name in names:
        if name not in os.environ:
            raise Failure(f"{name} is not set in this shell; export it, or use --env {name}=….")
    return {name: os.environ[name] for name in names}


def _mapping(base: dict[str, Any], key: str) -> dict[str, Any]:
    value = base.get(key)
    return value if isinstance(value, dict) else {}
