"""Parts of a run: which steps were made with which settings, over all its attempts."""

from collections.abc import Sequence
from typing import Any

from berth_trainer.checkpoint.description import Description

Part = dict[str, Any]


def before(parts: Sequence[Part] | None, step: int) -> list[Part]:
    """Return the parts up to `step`; None: a checkpoint that kept none, whose steps are unknown."""
    if parts is None:
        return [{"first_step": 1, "last_step": step, "settings": None}] if step else []
    kept = [part for part in parts if part["first_step"] <= step]
    return [{**part, "last_step": min(part["last_step"], step)} for part in kept]


def with_this(
    earlier: Sequence[Part], *, step: int, settings: Description, ranks: int, samples: int
) -> list[Part]:
    """
    Return the earlier parts with that of this attempt up to `step`.

    An attempt under the same settings continues the part before it.
    """
    done = earlier[-1]["last_step"] if earlier else 0
    if step <= done:
        return list(earlier)
    this = {"ranks": ranks, "samples_per_step": samples, "settings": dict(settings)}
    if earlier and {key: earlier[-1].get(key) for key in this} == this:
        return [*earlier[:-1], {**earlier[-1], "last_step": step}]
    return [*earlier, {"first_step": done + 1, "last_step": step, **this}]


def changes(parts: Sequence[Part]) -> list[str]:
    """Return the settings in which the parts differ, by key; `unknown` where one kept none."""
    known = [part["settings"] for part in parts]
    if any(settings is None for settings in known):
        return ["unknown"]
    keys = dict.fromkeys(key for settings in known for key in settings)
    return [key for key in keys if len({repr(settings.get(key)) for settings in known}) > 1]
