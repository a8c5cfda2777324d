"""First line of a script, `#!`: its interpreter and options, read as the kernel and `env` do."""

from __future__ import annotations

import os.path
import re
import shlex
from dataclasses import dataclass

from berth.commands.errors import CommandError
from berth.commands.words import Word, word

_SHELLS = frozenset({"bash", "sh", "dash", "ash", "zsh", "ksh", "mksh"})
_KNOWS_PIPEFAIL = frozenset({"bash", "zsh", "ksh", "mksh"})
_SOURCE = re.compile(r"\$BASH_SOURCE\b(?!\[)|\$\{BASH_SOURCE(?:\[0\])?(?=[}:#%/+-])")


@dataclass(frozen=True)
class Interpreter:
    """The program that a script names to run it, with its options."""

    words: tuple[Word, ...] = (word("/bin/bash"),)

    @property
    def name(self) -> str:
        """The program's name without its folder."""
        found = next((each.text for each in self.words[1:] if each.text[:1] != "-"), "")
        own = os.path.basename(self.words[0].text)  # noqa: PTH119 - text, not a file of this machine
        return os.path.basename(found) if own == "env" else own  # noqa: PTH119

    @property
    def is_shell(self) -> bool:
        """True if it takes a text like `sh -c TEXT NAME`."""
        return self.name in _SHELLS

    @property
    def knows_pipefail(self) -> bool:
        """True if it has the option `-o pipefail`."""
        return self.name in _KNOWS_PIPEFAIL


def interpreter(script: str) -> Interpreter:
    """
    Return the interpreter of a script; /bin/bash without a `#!` line.

    Raises CommandError for a line with which the script could not be started from a shell either.
    """
    if not script.startswith("#!"):
        return Interpreter()
    line = script[2:].partition("\n")[0].strip(" \t\r")
    program, _, rest = line.replace("\t", " ").partition(" ")
    rest = rest.strip()
    if not program:
        raise CommandError("The first line `#!` names no interpreter; write it like #!/bin/bash.")
    if os.path.basename(program) == "env":  # noqa: PTH119 - text, not a file of this machine
        return Interpreter((word(program), *map(word, _env(line, rest))))
    found = Interpreter((word(program), *([word(rest)] if rest else [])))
    if found.is_shell and " " in rest:
        raise CommandError(
            f"The first line `#!{line}` gives its shell all options as one word, which no shell "
            f"takes; write #!/usr/bin/env -S {found.name} {rest}."
        )
    return found


def _env(line: str, rest: str) -> list[str]:
    """The words that `env` starts: with -S it splits them, without it takes them as one name."""
    split = re.match(r"(?:-S|--split-string=|-vS)\s*(.*)", rest)
    if split is None:
        if not rest or " " in rest:
            raise CommandError(
                f"The first line `#!{line}` makes env look for one program called '{rest}'; write "
                f"#!/usr/bin/env -S {rest or 'bash'}."
            )
        return [rest]
    try:
        return shlex.split(split[1])
    except ValueError:
        raise CommandError(
            f"A quote of the first line `#!{line}` is never closed; close it."
        ) from None


def with_own_name(script: str) -> str:
    """
    Return a script of bash with $0 for BASH_SOURCE, which is empty where bash runs a text.

    In a script in a file both are the same outside of files that it sources.
    """
    return _SOURCE.sub(lambda match: "${0" if "{" in match[0] else "$0", script)
