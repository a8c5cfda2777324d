"""
Write `progress_errors.json`: how well recorded runs of real programs told their time left.

    python benchmarks/replay/record_errors.py

Replays the recordings of `tests/server/core/progress` as the server reads logs. Of every program
that tells its time left: when it first did, in seconds and as a part of the run, and at some parts
of the run the natural logarithms of (told / true) and of (p90 / p50).
"""

from __future__ import annotations

import json
import sys
from math import log
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.server.core.progress.recordings import COMMANDS, Recording, recordings, replayed

FILE = Path(__file__).with_name("progress_errors.json")
_PARTS = tuple(i / 20 for i in range(1, 20))


def main() -> None:
    """Write one line per program."""
    found = [
        told
        for name, recording in sorted(recordings().items())
        if (told := _told(recording, COMMANDS.get(name, ""))) is not None
    ]
    FILE.write_text("[\n" + ",\n".join(map(json.dumps, found)) + "\n]\n")
    print(f"{len(found)} programs")


def _told(recording: Recording, command: str) -> dict[str, object] | None:
    # The server has the script, whose loop over epochs keeps this bar from being believed.
    looped = recording.name == "tqdm_untold"
    told = replayed(recording, command, loops_over_epochs=looped)
    samples = [s for s in told if s.p50_s and s.p90_s]
    if not samples:
        return None
    at: list[tuple[float, float, float]] = []
    for part in _PARTS:
        near = min(samples, key=lambda s: abs(s.at_s / recording.end_s - part))
        if abs(near.at_s / recording.end_s - part) <= 0.05 and near.p50_s and near.p90_s:
            spread = log(near.p90_s / near.p50_s)
            at.append((part, round(log(near.p50_s / near.true_s), 3), round(spread, 3)))
    first = samples[0].at_s
    return {
        "program": recording.program,
        "from_s": first,
        "from_part": round(first / recording.end_s, 3),
        "errors": at,
    }


if __name__ == "__main__":
    main()
