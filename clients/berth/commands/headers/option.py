"""One option of a header line, as it was written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from berth.commands.errors import CommandError

SHORT = {
    "#SBATCH": {
        "A": "account", "a": "array", "b": "begin", "C": "constraint", "c": "cpus-per-task",
        "d": "dependency", "D": "chdir", "e": "error", "G": "gpus", "H": "hold", "i": "input",
        "J": "job-name", "k": "no-kill", "L": "licenses", "M": "clusters", "m": "distribution",
        "N": "nodes", "n": "ntasks", "O": "overcommit", "o": "output", "p": "partition",
        "q": "qos", "Q": "quiet", "s": "oversubscribe", "S": "core-spec", "t": "time",
        "v": "verbose", "W": "wait", "w": "nodelist", "x": "exclude",
    },
    "#BERTH": {
        "g": "gpus", "t": "time-limit", "p": "priority", "C": "workdir", "e": "env", "l": "label",
    },
}  # fmt: skip
"""One-letter options and the names that they stand for."""
_SWITCHES = {
    "#SBATCH": frozenset(
        {"hold", "no-kill", "overcommit", "quiet", "verbose", "wait", "requeue", "no-requeue"}
        | {"parsable", "spread-job", "contiguous", "reboot", "use-min-nodes", "test-only"}
        | {"ignore-pbs", "oversubscribe"}
    ),
    "#BERTH": frozenset({"share", "hold", "preemptible", "snapshot"}),
}
_OPTIONAL = frozenset({"exclusive", "nice", "get-user-env", "propagate", "kill-on-invalid-dep"})


@dataclass(frozen=True)
class Option:
    """An option with its value; None for a switch."""

    name: str
    value: str | None
    said: str
    """The line's part, `#SBATCH --gres=gpu:4`."""


def split_options(words: Sequence[str], mark: str) -> list[Option]:
    """Split the words of a header line. Raises CommandError for a word that is no option."""
    found: list[Option] = []
    at = 0
    while at < len(words):
        word = words[at]
        at += 1
        attached: str | None = None
        if word.startswith("--"):
            name, equals, attached_text = word[2:].partition("=")
            attached = attached_text if equals else None
        elif word.startswith("-") and len(word) > 1:
            name = SHORT[mark].get(word[1], word[1])
            attached = word[2:].removeprefix("=") or None
        else:
            raise CommandError(f"`{mark} {word}` is no option; write options like {mark} --gpus=4.")
        name = name.replace("_", "-")
        said = f"{mark} {word}"
        takes = name not in _SWITCHES[mark] and name not in _OPTIONAL
        if attached is None and takes and at < len(words) and not words[at].startswith("--"):
            attached = words[at]
            said = f"{said} {attached}"
            at += 1
        found.append(Option(name, attached, said))
    return found
