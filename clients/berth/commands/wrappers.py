"""Wrapper programs, which start another program: `nohup`, `nice -n 5`, `conda run -n twin`, `env A=B`."""

from __future__ import annotations

import os.path
import re
from collections.abc import Sequence
from dataclasses import dataclass

from berth.commands.errors import CommandError
from berth.commands.words import Word

_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
_NONE: frozenset[str] = frozenset()


@dataclass(frozen=True)
class _Wrapper:
    valued: frozenset[str] = _NONE
    """Options whose value is the next word."""
    positionals: int = 0
    """Words of its own before the program."""


_WRAPPERS = {
    "nice": _Wrapper(frozenset({"-n", "--adjustment"})),
    "ionice": _Wrapper(frozenset({"-c", "-n", "--class", "--classdata"})),
    "time": _Wrapper(frozenset({"-f", "-o", "--format", "--output"})),
    "stdbuf": _Wrapper(frozenset({"-i", "-o", "-e", "--input", "--output", "--error"})),
    "timeout": _Wrapper(frozenset({"-s", "-k", "--signal", "--kill-after"}), 1),
    "numactl": _Wrapper(
        frozenset(
            {"-N", "-m", "-C", "-i", "-p", "-l"}
            | {"--cpunodebind", "--membind", "--physcpubind", "--interleave", "--preferred"}
        )
        - {"-l"}
    ),
    "taskset": _Wrapper(positionals=1),
    "chrt": _Wrapper(positionals=1),
    "setsid": _Wrapper(),
    "exec": _Wrapper(frozenset({"-a"})),
    "command": _Wrapper(),
    "unbuffer": _Wrapper(),
}
_MANAGERS = {
    "conda": frozenset({"-n", "--name", "-p", "--prefix", "--cwd"}),
    "mamba": frozenset({"-n", "--name", "-p", "--prefix", "--cwd"}),
    "micromamba": frozenset({"-n", "--name", "-p", "--prefix", "--cwd", "-r", "--root-prefix"}),
    "uv": frozenset(
        {"--with", "--with-requirements", "-p", "--python", "--extra", "--group", "--env-file"}
        | {"--project", "--directory", "--no-group"}
    ),
    "poetry": _NONE,
    "pipenv": _NONE,
    "pdm": frozenset({"-p", "--project"}),
    "pixi": frozenset({"-e", "--environment", "--manifest-path"}),
    "rye": _NONE,
}


@dataclass
class Peeled:
    """A simple command without what stands before its program."""

    assignments: list[Word]
    wrapper: list[Word]
    rest: list[Word]
    nohup: Word | None = None
    managed: bool = False
    """True if an environment manager chooses the interpreter."""


def is_assignment(candidate: Word) -> bool:
    """True if the word sets a variable when it stands before a program."""
    return _ASSIGNMENT.match(candidate.raw) is not None


def name_and_value(candidate: Word) -> tuple[str, str]:
    """The two sides of an assignment."""
    name, _, value = candidate.text.partition("=")
    return name, value


def program_name(candidate: Word) -> str:
    """The program's name without its folder."""
    return os.path.basename(candidate.text)  # noqa: PTH119 - text, not a file of this machine


def peel(words: Sequence[Word]) -> Peeled:
    """
    Take assignments and wrappers off a simple command.

    `nohup` is taken off for good. Raises CommandError for `env -i`, which would clear the
    variables that keep the job to its GPUs.
    """
    peeled = Peeled([], [], list(words))
    while peeled.rest:
        first = peeled.rest[0]
        name = program_name(first)
        if is_assignment(first) and not peeled.wrapper:
            peeled.assignments.append(peeled.rest.pop(0))
        elif not first.literal:
            break
        elif name == "nohup" and len(peeled.rest) > 1:
            peeled.nohup = peeled.rest.pop(0)
        elif name == "env" and len(peeled.rest) > 1:
            _peel_env(peeled)
        elif name in _WRAPPERS and len(peeled.rest) > 1:
            _peel_wrapper(peeled, _WRAPPERS[name])
        elif name in _MANAGERS and len(peeled.rest) > 2 and peeled.rest[1].text == "run":
            peeled.managed = True
            peeled.wrapper.append(peeled.rest.pop(0))
            _peel_wrapper(peeled, _Wrapper(_MANAGERS[name]))
        else:
            break
    return peeled


def _peel_env(peeled: Peeled) -> None:
    env = peeled.rest.pop(0)
    options: list[Word] = []
    while peeled.rest and peeled.rest[0].startswith("-"):
        option = peeled.rest.pop(0)
        if option.text in {"-i", "-", "--ignore-environment"}:
            raise CommandError(
                f"`env {option.text}` clears the variables that keep a job to its GPUs; "
                "leave it out."
            )
        options.append(option)
        if option.text in {"-u", "--unset", "-C", "--chdir"} and peeled.rest:
            options.append(peeled.rest.pop(0))
    while peeled.rest and is_assignment(peeled.rest[0]):
        peeled.assignments.append(peeled.rest.pop(0))
    if options:
        peeled.wrapper.extend([env, *options])


def _peel_wrapper(peeled: Peeled, wrapper: _Wrapper) -> None:
    taken = [peeled.rest.pop(0)]
    while len(peeled.rest) > 1 and peeled.rest[0].startswith("-"):
        option = peeled.rest.pop(0)
        taken.append(option)
        if option.text == "--":
            break
        if option.text in wrapper.valued and len(peeled.rest) > 1:
            taken.append(peeled.rest.pop(0))
    own = min(wrapper.positionals, len(peeled.rest) - 1)
    taken.extend(peeled.rest[:own])
    del peeled.rest[:own]
    peeled.wrapper.extend(taken)
