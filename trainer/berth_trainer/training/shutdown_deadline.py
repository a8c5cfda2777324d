"""Shutdown deadline: the time left to save before the queue kills the job."""

import json
from collections.abc import Mapping
from pathlib import Path


def left_for_saving(
    environment: Mapping[str, str], *, waited_s: float, warned: bool
) -> float | None:
    """
    Return seconds until the queue kills, or stops a warned job; None where unknown.

    The queue's variables hold what the job was given; `stop.json` in the run directory, where
    it may be read, what this very stop was. `waited_s` have passed since the signal.
    """
    if warned:
        given = _number(environment.get("BERTH_WARN_BEFORE_S"))
    else:
        given = _number(environment.get("BERTH_GRACE_S"))
        if run_dir := environment.get("BERTH_RUN_DIR"):
            given = _numbers(Path(run_dir) / "stop.json").get("grace_s", given)
    return None if given is None else given - waited_s


def saving_forecast(last_saving_s: float | None, left_s: float | None) -> str:
    """Return a sentence on whether the checkpoint will be saved in time; empty where unknown."""
    if left_s is None:
        return ""
    if last_saving_s is None:
        return f"{left_s:.0f} s are left; no checkpoint has been saved yet, so the time it takes is unknown."
    if last_saving_s > left_s:
        return (
            f"the last one took {last_saving_s:.0f} s and only {left_s:.0f} s are left: it may be "
            "cut short, and then the previous one counts; give the job a longer grace or warn_before."
        )
    return f"the last one took {last_saving_s:.0f} s and {left_s:.0f} s are left."


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def _numbers(file: Path) -> dict[str, float]:
    try:
        record: dict[str, object] = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return {name: float(value) for name, value in record.items() if isinstance(value, int | float)}
