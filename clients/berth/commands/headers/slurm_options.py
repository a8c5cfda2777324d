"""`#SBATCH` options, read into the fields of a job."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from berth.commands.errors import CommandError
from berth.commands.headers import array, slurm_gpus, slurm_time
from berth.commands.headers.array import TaskArray
from berth.commands.headers.option import Option

_DEPENDENCY = re.compile(r"(afterok|afterany|afternotok|after|aftercorr):([\d:+_]+)")
_RECIPIENT = re.compile(r"https?://\S+")


@dataclass
class Asked:
    """The options' wishes so far."""

    fields: dict[str, object] = field(default_factory=dict[str, object])
    array: TaskArray | None = None
    notes: list[str] = field(default_factory=list[str])

    def note(self, option: Option, why: str) -> None:
        """Say that an option has no meaning here, and why."""
        self.notes.append(f"`{option.said}` has no meaning here: {why}.")


def read(options: list[Option]) -> Asked:
    """Read the options; the last of several counts. Raises CommandError."""
    asked = Asked()
    last = {option.name: option for option in options}
    for option in last.values():
        if option.name in slurm_gpus.NAMES or option.name == "nodes":
            continue
        reader = _READERS.get(option.name)
        if reader is not None:
            reader(asked, option)
        elif option.name in _WITHOUT_MEANING:
            asked.note(option, _WITHOUT_MEANING[option.name])
        else:
            asked.note(option, "Berth does not know it")
    _nodes(last.get("nodes"))
    count, notes = slurm_gpus.count(last)
    if count is not None:
        asked.fields["gpus"] = count
    asked.notes += notes
    return asked


def _nodes(option: Option | None) -> None:
    numbers = re.findall(r"\d+", option.value or "") if option else []
    if option and any(int(each[:9]) > 1 for each in numbers):
        raise CommandError(
            f"`{option.said}` asks for several machines, but Berth runs a script on one; leave "
            "the line out, or, where Berth runs on a cluster, submit the launcher's own command "
            "with `--nodes N`."
        )


def _value(option: Option) -> str:
    if not option.value:
        raise CommandError(f"`{option.said}` needs a value; give it, or leave the line out.")
    return option.value


def _name(asked: Asked, option: Option) -> None:
    asked.fields["name"] = _value(option)[:200]


def _time(asked: Asked, option: Option) -> None:
    seconds = slurm_time.seconds(_value(option), option.said)
    if seconds is not None:
        asked.fields["time_limit"] = f"{seconds}s"


def _array(asked: Asked, option: Option) -> None:
    asked.array = array.parse(_value(option), option.said)


def _chdir(asked: Asked, option: Option) -> None:
    asked.fields["workdir"] = _value(option)


def _dependency(asked: Asked, option: Option) -> None:
    found: list[str] = []
    for part in _value(option).split(","):
        match = _DEPENDENCY.fullmatch(part)
        if match is None or match[1] in {"after", "aftercorr"}:
            raise CommandError(
                f"`{option.said}` cannot be kept here; write afterok:ID, afterany:ID or "
                "afternotok:ID with commas between them, or leave it out."
            )
        found += [f"{match[1]}:{each}" for each in match[2].split(":") if each.isdecimal()]
    asked.fields["depends_on"] = found


def _begin(asked: Asked, option: Option) -> None:
    text = _value(option)
    later = re.fullmatch(r"now\+(\d+)(second|minute|hour|day|week)?s?", text)
    if later:
        unit = {"second": "s", "minute": "m", "hour": "h", "day": "d"}.get(later[2] or "second")
        text = f"{int(later[1]) * 7}d" if unit is None else f"{later[1]}{unit}"
    elif text == "now":
        return
    elif not re.fullmatch(r"\d{1,2}:\d\d|\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d)?)?", text):
        asked.note(option, "a start time is written like 22:00, 2026-11-24T22:00 or now+2hours")
        return
    asked.fields["not_before"] = text


def _hold(asked: Asked, _option: Option) -> None:
    asked.fields["hold"] = True


def _export(asked: Asked, option: Option) -> None:
    pairs = dict(part.split("=", 1) for part in (option.value or "").split(",") if "=" in part)
    if pairs:
        asked.fields["env"] = pairs
    names = [part for part in (option.value or "").split(",") if part and "=" not in part]
    if [name for name in names if name not in {"NONE", "NIL"}]:
        why = "the submitting shell's variables do not go along; name them with --env-pass NAME"
        asked.note(option, why)


def _mail(asked: Asked, option: Option) -> None:
    value = option.value or ""
    if _RECIPIENT.fullmatch(value):
        asked.fields["notify"] = [value]
    else:
        asked.note(option, "Berth sends no mail; it posts to a web address, --notify URL")


def _signal(asked: Asked, option: Option) -> None:
    match = re.fullmatch(r"(?:[BR]+:)?(?:SIG)?(USR1|10)(?:@(\d{1,9}))?", option.value or "")
    if match:
        asked.fields["warn_before"] = f"{match[2] or 60}s"
    else:
        asked.note(
            option, "the signal before a time limit is SIGUSR1; --warn-before sets how early"
        )


def _comment(asked: Asked, option: Option) -> None:
    asked.fields["labels"] = {"comment": _value(option)}


_READERS: dict[str, Callable[[Asked, Option], None]] = {
    "job-name": _name,
    "time": _time,
    "array": _array,
    "chdir": _chdir,
    "workdir": _chdir,
    "dependency": _dependency,
    "begin": _begin,
    "hold": _hold,
    "export": _export,
    "mail-user": _mail,
    "signal": _signal,
    "comment": _comment,
}
_KEEPS = "Berth keeps the output itself, and `berth logs JOB` shows it"
_NO_SHARE = "Berth gives out GPUs and leaves CPUs and memory to the box"
_ONE_BOX = "all GPUs are on this box"
_ONE_QUEUE = "Berth has one queue"
_ONE_PROCESS = "the script runs once, and its launcher starts the ranks"
_WITHOUT_MEANING = {
    "output": _KEEPS,
    "error": f"{_KEEPS}, errors in the same place",
    "open-mode": _KEEPS,
    "input": "a job's standard input is empty",
    "mail-type": "Berth sends no mail; it posts to a web address, --notify URL",
    "partition": _ONE_QUEUE,
    "account": _ONE_QUEUE,
    "qos": f"{_ONE_QUEUE}; --priority orders it",
    "reservation": "`berth gpus reserve` reserves GPUs",
    "clusters": _ONE_BOX,
    "cluster": _ONE_BOX,
    "constraint": _ONE_BOX,
    "nodelist": _ONE_BOX,
    "exclude": _ONE_BOX,
    "nodefile": _ONE_BOX,
    "switches": _ONE_BOX,
    "mincpus": _NO_SHARE,
    "cpus-per-task": _NO_SHARE,
    "cpus-per-gpu": _NO_SHARE,
    "mem": _NO_SHARE,
    "mem-per-cpu": _NO_SHARE,
    "mem-per-gpu": _NO_SHARE,
    "mem-bind": _NO_SHARE,
    "tmp": _NO_SHARE,
    "gpu-bind": "a job sees its own GPUs alone",
    "gpu-freq": "Berth leaves clocks as they are",
    "gres-flags": "Berth places GPUs by their links",
    "exclusive": "GPUs of a job are its own anyway; for the whole box ask for all of them",
    "oversubscribe": "a part of a GPU is asked for with --share --gpu-memory",
    "share": "a part of a GPU is asked for with --share --gpu-memory",
    "ntasks": _ONE_PROCESS,
    "ntasks-per-node": _ONE_PROCESS,
    "ntasks-per-socket": _ONE_PROCESS,
    "tasks-per-node": _ONE_PROCESS,
    "distribution": _ONE_PROCESS,
    "threads-per-core": _NO_SHARE,
    "hint": _NO_SHARE,
    "core-spec": _NO_SHARE,
    "licenses": "Berth counts no licences",
    "requeue": "a preempted job is queued again by itself, and --retries repeats a failed one",
    "no-requeue": "only --preemptible jobs are stopped and queued again",
    "nice": "--priority orders the queue",
    "priority": "`--priority` of `berth submit` orders the queue",
    "deadline": "a job has no latest end",
    "time-min": "--time is the only limit",
    "wait": "`berth submit --wait` waits",
    "parsable": "`berth submit --json` is for programs",
    "quiet": "it is for sbatch itself",
    "verbose": "it is for sbatch itself",
    "no-kill": _ONE_BOX,
    "kill-on-invalid-dep": "a job whose dependency cannot be met any more always ends",
    "get-user-env": "give --python or source the environment in the script",
    "profile": "`berth logs` and the dashboard show a job's curves",
    "wrap": "the script itself runs",
    "uid": "a job runs as who submits it",
    "gid": "a job runs as who submits it",
    "container": "the script starts its own container",
}
