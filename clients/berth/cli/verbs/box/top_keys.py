"""Keys of `berth top`: what is chosen, filtered and sorted, and which job is to be cancelled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from berth.protocol.jobs import Job

HELP = "q quit  ↑↓ choose  s sort  u mine  / filter  k cancel"
_SORTS: dict[str, Callable[[Job], object] | None] = {
    "order": None,
    "user": lambda job: job.user,
    "GPUs": lambda job: -job.gpus,
    "name": lambda job: job.name,
}
_UP, _DOWN, _ENTER, _ESCAPE, _BACK = {"\x1b[A"}, {"\x1b[B", "j"}, {"\r", "\n"}, "\x1b", "\x7f"


@dataclass
class Quit:
    """Leave."""


@dataclass
class Cancel:
    """Cancel a job, which the person has confirmed."""

    job: int


@dataclass
class TopScreen:
    """State of the screen between two updates."""

    me: str = ""
    sort: str = "order"
    mine: bool = False
    text: str = ""
    chosen: int | None = None
    """Id of the chosen job."""
    mode: Literal["list", "filter", "confirm"] = "list"
    said: str = ""
    _shown: list[int] = field(default_factory=list[int])

    def show(self, jobs: Sequence[Job]) -> list[Job]:
        """Return the jobs to show, in order; the chosen one stays chosen while it is there."""
        text = self.text.lower()
        found = [
            job
            for job in jobs
            if (not self.mine or job.user == self.me)
            and (not text or text in f"{job.id} {job.name} {job.user} {job.state.value}".lower())
        ]
        by = _SORTS[self.sort]
        if by is not None:
            found.sort(key=by)  # pyright: ignore[reportArgumentType] - of one kind for each
        self._shown = [job.id for job in found]
        if self.chosen not in self._shown:
            self.chosen = None
            if self.mode == "confirm":
                self.mode = "list"
        return found

    def press(self, key: str) -> Quit | Cancel | None:
        """Take one key; return what is to be done beside another look."""
        self.said = ""
        if key == "\x03":
            return Quit()
        if self.mode == "filter":
            self._filter(key)
            return None
        if self.mode == "confirm":
            self.mode = "list"
            return Cancel(self.chosen) if key in {"y", "Y"} and self.chosen is not None else None
        return self._in_list(key)

    def _in_list(self, key: str) -> Quit | None:
        if key in {"q", "Q"}:
            return Quit()
        if key in _UP or key in _DOWN:
            self._move(-1 if key in _UP else 1)
        elif key == "s":
            names = list(_SORTS)
            self.sort = names[(names.index(self.sort) + 1) % len(names)]
        elif key == "u":
            self.mine = not self.mine
        elif key == "/":
            self.mode, self.text = "filter", ""
        elif key == _ESCAPE:
            self.text, self.chosen = "", None
        elif key == "k" and self.chosen is None:
            self.said = "Choose a job with the arrow keys first."
        elif key == "k":
            self.mode = "confirm"
        return None

    def _filter(self, key: str) -> None:
        if key in _ENTER:
            self.mode = "list"
        elif key == _ESCAPE:
            self.mode, self.text = "list", ""
        elif key in {_BACK, "\b"}:
            self.text = self.text[:-1]
        elif len(key) == 1 and key.isprintable():
            self.text += key

    def _move(self, by: int) -> None:
        if not self._shown:
            return
        if self.chosen is None:
            self.chosen = self._shown[0 if by > 0 else -1]
            return
        at = self._shown.index(self.chosen) + by
        self.chosen = self._shown[max(0, min(at, len(self._shown) - 1))]

    @property
    def foot(self) -> str:
        """The last line: the question that is open, what was said, or the keys."""
        if self.mode == "confirm":
            return f"Cancel job {self.chosen}? y/n"
        if self.mode == "filter":
            return f"/{self.text}"
        if self.said:
            return self.said
        facts = [f"sorted by {self.sort}"] if self.sort != "order" else []
        facts += ["mine alone"] * self.mine
        facts += [f"with {self.text!r}"] if self.text else []
        return "  ".join([HELP, *([f"({', '.join(facts)})"] if facts else [])])


def keys(data: bytes) -> list[str]:
    """Split what a terminal sent into keys; an arrow is one."""
    text = data.decode("utf-8", "replace").replace("\x1bO", "\x1b[")
    found: list[str] = []
    at = 0
    while at < len(text):
        size = 3 if text.startswith("\x1b[", at) and at + 2 < len(text) else 1
        found.append(text[at : at + size])
        at += size
    return found
