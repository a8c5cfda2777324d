"""Signs in a Python script that it starts ranks by itself: reported, never obeyed."""

from __future__ import annotations

import re

_DEVICES = re.compile(
    r"\b(?:Trainer|Fabric)\s*\((?:[^()]|\([^()]*\)){0,2000}?"
    r"\b(?P<said>(?:devices|gpus)\s*=\s*(?P<value>\d+|-1|\[[\d,\s]*\]|[\"'](?:auto|-1|[\d,\s]+)[\"']))"
)
_SPAWN = re.compile(
    r"\b(?P<said>(?:mp|multiprocessing)\.spawn|notebook_launcher|start_processes)\s*\("
)


def note(name: str, text: str) -> str | None:
    """The note for a script that chooses its number of ranks in its code; None for others."""
    found = _DEVICES.search(text)
    if found and _several(found["value"]):
        said = " ".join(found["said"].split())
    elif spawned := _SPAWN.search(text):
        said = spawned["said"]
    else:
        return None
    return (
        f"{name} starts its ranks itself (`{said}`), and Berth cannot know how many GPUs it needs; "
        "the job gets one unless it sets `gpus` (--gpus N)."
    )


def _several(value: str) -> bool:
    numbers = re.findall(r"-?\d+", value)
    if "auto" in value or numbers == ["-1"]:
        return True
    if value.startswith("["):
        return len(numbers) > 1
    return len(numbers) > 1 or (len(numbers) == 1 and int(numbers[0][:9]) > 1)
