"""Totals that stand elsewhere than beside the count: settings that are printed, or of a command."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from berth_server.core.progress import vocabulary
from berth_server.core.progress.work import Work

_SETTING = re.compile(
    r"(?<![a-zA-Z_-])(?P<name>[a-zA-Z][a-zA-Z_ .-]{2,60}?)['\"]?\s{0,8}[:=]\s{0,8}['\"]?(?P<n>\d{1,12})(?![\w./:%-])"
)
_OPTION = re.compile(
    r"(?:^|\s)-{1,2}(?P<name>[a-zA-Z][\w.-]{1,60})[=\s]\s*['\"]?(?P<n>\d{1,12})(?![\w./:])"
)
_ASSIGNED = re.compile(
    r"(?:^|\s)\+{0,2}(?P<name>[a-zA-Z][\w.]{1,60})=['\"]?(?P<n>\d{1,12})(?![\w./:])"
)
_WORTH_A_LOOK = re.compile(r"(?:step|epoch|iter|update|round)\w*['\"]?\s*[:=]", re.IGNORECASE)


@dataclass
class Totals:
    """Total numbers of steps, epochs and rounds, where they are known."""

    said: dict[str, set[int]] = field(default_factory=dict[str, set[int]])
    """By kind, everything that the log said."""
    asked: dict[str, int] = field(default_factory=dict[str, int])
    """By kind, what the command says."""

    def read_command(self, command: str) -> None:
        """Take the options of a command line."""
        for pattern in (_OPTION, _ASSIGNED):
            for match in pattern.finditer(command[:20_000]):
                kind = vocabulary.total_of(match["name"].rpartition(".")[2])
                if kind is not None and int(match["n"]) > 0:
                    self.asked[kind] = int(match["n"])

    def read_work(self, work: Work | None) -> None:
        """Take what the job's configuration asks for, where the command does not say."""
        if work is not None and work.amount == int(work.amount):
            self.asked.setdefault(work.unit, int(work.amount))

    def read(self, text: str) -> None:
        """Take what a piece of the log says, if it says any."""
        if not _WORTH_A_LOOK.search(text):
            return
        for match in _SETTING.finditer(text):
            name = match["name"]
            # "steps: 120" may be the present one; what is named in full is a setting.
            if name.lower() != "epochs" and not re.search(r"[ _.-]", name.strip()):
                continue
            kind = vocabulary.total_of(name)
            if kind is not None and int(match["n"]) > 0:
                self.said.setdefault(kind, set()).add(int(match["n"]))

    def of(self, label: str) -> int | None:
        """The total of what a label counts; None where none or several are said."""
        words = re.split(r"[ _]+", label)
        kind = next(
            (found for word in reversed(words) if (found := vocabulary.noun_class(word))), None
        )
        if kind is None:
            return None
        if kind in self.asked:
            return self.asked[kind]
        said = self.said.get(kind, set())
        return next(iter(said)) if len(said) == 1 else None
