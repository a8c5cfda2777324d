"""
Recorded logs of real programs, and how well the time left was told while they ran.

`recordings.jsonl.gz` has one program a line: its reads as (seconds since the start, text), as
they came through a pipe on a loaded two-core machine. Steps mostly slept, the first six up to
five times as long. `python -m tests.server.core.progress.recordings` prints the table of
docs/scheduling.md.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

from berth_server.core.progress.pace import Pace
from berth_server.core.progress.reading import COUNTDOWN, LogReading

FILE = Path(__file__).with_name("recordings.jsonl.gz")
PERIOD_S = 2.0

COMMANDS = {
    "composer": "composer train.py --max_duration=4ep",
    "lightning": "python train.py --max_epochs 3",
    "transformers_disable_tqdm": "python train.py --num_train_epochs=2",
    "printed_epochs_without_total": "python main.py --epochs 4",
    "torchvision_references": "torchrun train.py --epochs 4",
}
"""Commands that say what the log does not."""


@dataclass(frozen=True)
class Recording:
    """One run of a program."""

    name: str
    program: str
    unbuffered: bool
    reads: tuple[tuple[float, bytes], ...]

    @property
    def end_s(self) -> float:
        """When it last wrote."""
        return self.reads[-1][0]


@dataclass(frozen=True)
class Sample:
    """What was told at one moment, and the truth."""

    at_s: float
    true_s: float
    fraction: float | None
    p50_s: float | None
    p90_s: float | None

    @property
    def error(self) -> float:
        """Part of the true time left by which the median was wrong."""
        assert self.p50_s is not None
        return abs(self.p50_s - self.true_s) / self.true_s


@cache
def recordings() -> dict[str, Recording]:
    """All recordings by name."""
    with gzip.open(FILE, "rt", encoding="utf-8") as file:
        made = [_recording(json.loads(line)) for line in file]
    return {one.name: one for one in made}


def _recording(found: dict[str, Any]) -> Recording:
    reads = tuple(
        (float(at), text.encode("utf-8", "surrogateescape")) for at, text in found["reads"]
    )
    return Recording(found["name"], found["program"], found["unbuffered"], reads)


@cache
def replayed(
    recording: Recording, command: str = "", *, loops_over_epochs: bool = False, script: str = ""
) -> list[Sample]:
    """Look at a recorded log every two seconds, as the server does; all that was told."""
    reading, paces = LogReading(), {}
    reading.totals.read_command(command)
    reading.totals.read_script(script)
    reading.loops_over_epochs = loops_over_epochs
    samples: list[Sample] = []
    waiting = list(recording.reads)[::-1]
    now = PERIOD_S
    while now < recording.end_s:
        data, written_at = b"", now
        while waiting and waiting[-1][0] <= now:
            written_at, text = waiting.pop()
            data += text
        for found in reading.feed(data, written_at) if data else ():
            paces.setdefault(found.key, Pace()).add(found.at, found.fraction)
        position = reading.position()
        left = None
        if position is not None and position.key == (COUNTDOWN,):
            left = reading.countdown.left(now)
        elif position is not None and position.sure and position.key in paces:
            left = paces[position.key].left(now)
        samples.append(
            Sample(
                now,
                recording.end_s - now,
                None if position is None else position.fraction,
                None if left is None else left.p50_s,
                None if left is None else left.p90_s,
            )
        )
        now += PERIOD_S
    return samples


def counted(recording: Recording, samples: list[Sample]) -> list[Sample]:
    """Those from 10 % of the run to 95 %: at the very end nothing is left to be compared with."""
    return [s for s in samples if 0.1 * recording.end_s <= s.at_s <= 0.95 * recording.end_s]


def main() -> None:
    """Print the table."""
    print("| program | seconds | told from | median error | 90 % | within p90 |")
    print("|---|---:|---:|---:|---:|---:|")
    for name in sorted(recordings()):
        recording = recordings()[name]
        samples = replayed(recording, COMMANDS.get(name, ""))
        told = [s for s in counted(recording, samples) if s.p50_s is not None]
        words = f"{name.replace('_', ' ')} ({recording.program})"
        if not told:
            print(f"| {words} | {recording.end_s:.0f} | not told | | | |")
            continue
        errors = sorted(s.error for s in told)
        kept = sum(s.true_s <= (s.p90_s or 0.0) for s in told) / len(told)
        first = next(s for s in samples if s.p50_s is not None)
        print(
            f"| {words} | {recording.end_s:.0f} | {first.fraction or 0:.0%} done | "
            f"{median(errors):.0%} | {errors[int(0.9 * (len(errors) - 1))]:.0%} | {kept:.0%} |"
        )


if __name__ == "__main__":
    main()
