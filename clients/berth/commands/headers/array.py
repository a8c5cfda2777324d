"""Task arrays as Slurm writes them: `0-9`, `1,3,5`, `0-8:2`, `0-99%4`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from berth.commands.errors import CommandError

_PART = re.compile(r"(\d{1,9})(?:-(\d{1,9})(?::(\d{1,9}))?)?")
MOST_TASKS = 10_000


@dataclass(frozen=True)
class TaskArray:
    """The numbers of an array's tasks, and how many may run at once."""

    tasks: tuple[int, ...]
    at_once: int | None = None

    def variables(self, task: int) -> dict[str, str]:
        """Variables of one task, in Slurm's names and in Berth's."""
        values = {
            "ARRAY_TASK_ID": str(task),
            "ARRAY_TASK_COUNT": str(len(self.tasks)),
            "ARRAY_TASK_MIN": str(min(self.tasks)),
            "ARRAY_TASK_MAX": str(max(self.tasks)),
        }
        return {
            f"{prefix}{name}": value
            for prefix in ("BERTH_", "SLURM_")
            for name, value in values.items()
        }


def parse(text: str, said: str) -> TaskArray:
    """Read an array's numbers. Raises CommandError."""
    listed, percent, at_once = text.replace(" ", "").partition("%")
    tasks: dict[int, None] = {}
    for part in listed.split(","):
        match = _PART.fullmatch(part)
        if match is None or (percent and not at_once.isdecimal()):
            raise CommandError(f"`{said}` is no list of tasks; write it like 0-9, 1,3,5 or 0-99%4.")
        first, last, step = (None if each is None else int(each) for each in match.groups())
        assert first is not None
        numbers = range(first, (first if last is None else last) + 1, step or 1)
        if len(numbers) > MOST_TASKS or len(tasks) > MOST_TASKS:
            raise CommandError(f"`{said}` has more than {MOST_TASKS:,} tasks; split it.")
        tasks.update(dict.fromkeys(numbers))
    if not tasks:
        raise CommandError(f"`{said}` has no task; write it like 0-9.")
    return TaskArray(tuple(tasks), max(1, int(at_once[:9])) if at_once else None)
