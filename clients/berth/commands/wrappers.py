"""Wrapper programs, which start another program: `nohup`, `nice -n 5`, `conda run -n twin`, `env A=B`."""

from __future__ import annotations

import os.path
import re
from collections.abc import Sequence
from dataclasses import dataclass

from berth.commands.errors import CommandError
from berth.commands.words import Word, word

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
    "xvfb-run": _Wrapper(frozenset({"-n", "-s", "-e", "-f", "-p", "--server-args"})),
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
    nohup: str = ""
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

    `nohup`, and a detached `screen` or `tmux`, are taken off for good. Raises CommandError for `env -i`, which would clear the
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
            peeled.nohup = peeled.rest.pop(0).raw
        elif at := _terminal_host(peeled.rest):
            peeled.wrapper.extend(peeled.rest[:at])
            del peeled.rest[:at]
        elif name in _SESSIONS and (inner := _in_session(name, peeled.rest)):
            at, command = inner
            peeled.nohup = " ".join(each.raw for each in peeled.rest[:at])
            peeled.rest = command
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


def _terminal_host(words: list[Word]) -> int:
    """Return how many words start the program that gives a command a terminal; 0 for none."""
    texts = [each.text for each in words[:7]]
    host = texts[1:4] == ["-P", "-m", "berth.sessions.host"] and "--" in texts
    at = texts.index("--") + 1 if host else 0
    return at if at < len(words) else 0


_SESSIONS = {
    "screen": frozenset({"-S", "-L", "-Logfile", "-c", "-e", "-h", "-s", "-t", "-T"}) - {"-L"},
    "tmux": frozenset({"-s", "-n", "-c", "-t", "-x", "-y", "-F", "-e"}),
}


def _in_session(name: str, words: list[Word]) -> tuple[int, list[Word]] | None:
    """
    Return where the command of a detached session begins, and the command.

    None for a session that opens a terminal, or that runs no command.
    """
    at = 1
    if name == "tmux":
        if len(words) < 2 or words[1].text not in {"new", "new-session"}:
            return None
        at = 2
    options: list[str] = []
    while at < len(words) and words[at].startswith("-"):
        option = words[at].text
        options.append(option)
        # The letters of `-dmS` stand for options of their own; the last one takes the value.
        valued = option in _SESSIONS[name] or (
            option[1:2] != "-" and len(option) > 2 and f"-{option[-1]}" in _SESSIONS[name]
        )
        at += 2 if valued else 1
    detached = any("d" in option for option in options if not option.startswith("--"))
    command = words[at:]
    if not detached or not command:
        return None
    if name == "tmux" and len(command) == 1:
        # tmux gives one word to a shell.
        return at, [word("bash"), word("-c"), command[0]]
    return at, command


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
