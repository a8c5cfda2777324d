"""Whether a checkpoint will be whole before the queue's patience ends."""

import json
from pathlib import Path


def left_for_saving(run_dir: str | None, *, waited_s: float, warned: bool) -> float | None:
    """
    Seconds until the queue kills, or stops a warned job; None where nobody says.

    Read from the run directory: `stop.json` is of this very stop, `launch.json` of the job.
    `waited_s` have passed since the signal.
    """
    if not run_dir:
        return None
    told = _numbers(Path(run_dir) / "launch.json")
    if warned:
        given = told.get("warn_before_s")
    else:
        given = _numbers(Path(run_dir) / "stop.json").get("grace_s", told.get("grace_s"))
    return None if given is None else given - waited_s


def outlook(last_saving_s: float | None, left_s: float | None) -> str:
    """A sentence about the saving that is to come; empty where nothing is known."""
    if left_s is None:
        return ""
    if last_saving_s is None:
        return f"{left_s:.0f} s are left, and none was saved yet that would tell how long it takes."
    if last_saving_s > left_s:
        return (
            f"the last one took {last_saving_s:.0f} s and only {left_s:.0f} s are left: it may be "
            "cut short, then the one before counts; give the job a longer grace or warn_before."
        )
    return f"the last one took {last_saving_s:.0f} s and {left_s:.0f} s are left."


def _numbers(file: Path) -> dict[str, float]:
    try:
        told: dict[str, object] = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return {name: float(value) for name, value in told.items() if isinstance(value, int | float)}
