"""Policy settings, each with its meaning, and the constants beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import UTC, time, timedelta, tzinfo
from functools import cached_property
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, ConfigDict, Strict
from pydantic.dataclasses import dataclass

from berth.units import parse_duration

_CONFIG = ConfigDict(use_attribute_docstrings=True, arbitrary_types_allowed=True, extra="forbid")
_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def _length(value: Any) -> Any:
    return value if isinstance(value, timedelta) else parse_duration(value)


def _time_of_day(value: Any) -> Any:
    try:
        return time.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _zone(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return ZoneInfo(value)
    except (LookupError, OSError, ValueError):
        raise ValueError(f"{value!r} is not a time zone; write it like Europe/Berlin.") from None


def _weekday(value: Any) -> Any:
    """Read a name by its first three letters."""
    day = value[:3].lower() if isinstance(value, str) else None
    return _WEEKDAYS.index(day) if day in _WEEKDAYS else value


def _none(value: Any) -> Any:
    """Read "none", since TOML has no null."""
    return None if value == "none" else value


Length = Annotated[timedelta, BeforeValidator(_length)]
Number = Annotated[float, Strict()]
WholeNumber = Annotated[int, Strict()]
Weekday = Annotated[WholeNumber, BeforeValidator(_weekday)]
TimeOfDay = Annotated[time, Strict(), BeforeValidator(_time_of_day)]
Zone = Annotated[tzinfo, BeforeValidator(_zone)]
MaybeNumber = Annotated[Number | None, BeforeValidator(_none)]
MaybeWholeNumber = Annotated[WholeNumber | None, BeforeValidator(_none)]


@dataclass(frozen=True, kw_only=True, config=_CONFIG)
class Limits:
    """Limits of one user or group at once; None is no limit."""

    running_gpus: MaybeWholeNumber = None
    """A share of a GPU counts as its part of the memory, here and in GPU-hours."""
    running_jobs: MaybeWholeNumber = None
    queued_jobs: MaybeWholeNumber = None
    """Maximum number of pending jobs; a submit beyond it is refused."""
    gpu_hours: MaybeNumber = None
    """GPU-hours in the budget's period; nothing more starts once they are used."""


@dataclass(frozen=True, kw_only=True, config=_CONFIG)
class CalendarRule:
    """Other limits at some times of the week."""

    name: str
    """For people: "nights", "weekend"."""
    weekdays: frozenset[Weekday]
    """Days on which the window starts; 0 is Monday."""
    starts: TimeOfDay
    ends: TimeOfDay
    """End of the window; at or before `starts` means the next day."""
    limits: Limits
    """Replaces the fields that are set here, for every user it applies to."""
    users: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    """Whom it applies to; both empty means every user."""


PREEMPT_PATIENCE = timedelta(minutes=5)
"""No job is preempted for one that should start within this time anyway."""
LEFTOVER_CLEARS = timedelta(minutes=1)
"""Time after which a leftover of an ended attempt is expected to be gone."""
REPLAN_EVERY = timedelta(minutes=1)
"""Time between plans while GPUs are open and jobs wait, without any event."""
USAGE_HALF_LIFE = timedelta(days=7)
"""Time in which past usage counts half."""
FORMER = frozenset(
    [
        *("age_scale", "whole_box_age_scale", "most_age"),
        *("pressing_weight", "whole_box_pressing_weight", "whole_box_weight"),
        *("size_weight", "fit_weight", "fit_reach", "shortest", "limit_used"),
        *("usage_half_life", "preempt_patience", "leftover_clears", "replan_every"),
        "forecast_depth",
    ]
)
"""Names of settings of earlier versions, which files may still have."""


@dataclass(frozen=True, kw_only=True, config=_CONFIG)
class PolicySettings:
    """
    Settings of the policy, as `berth.toml` has them under `[policy]`.

    docs/scheduling.md has the measurement that each default rests on.
    """

    age_cap: Length = timedelta(days=30)
    """A job that waited longer is served before all others, strictly in order of waiting; the
    nearer it is, the more points a job has."""
    shadow_quantile: MaybeNumber = 0.6
    """Quantile of the estimate at which running jobs are taken to end when the start of a
    multi-GPU job is dated; None takes the time limits."""
    backfill_quantile: MaybeNumber = 0.7
    """Quantile of its estimate by which a job must be off the GPUs that a multi-GPU job waits
    for; None takes its time limit."""
    fair_share_weight: Number = 0.25
    """Points between a user who has used nothing lately and one who used far above the share."""
    shares: Mapping[str, Number] = field(default_factory=dict[str, float])
    """A user's part of the box relative to the others; 1 for those who are not named."""
    assumed_length: Length = timedelta(hours=24)
    """Length that a job without time limit, history and progress may have."""
    user_limits: Limits = Limits()
    """For every user who is not named in `limits_by_user`."""
    group_limits: Limits = Limits()
    """For every group that is not named in `limits_by_group`, all its users together."""
    limits_by_user: Mapping[str, Limits] = field(default_factory=dict[str, Limits])
    """For the users who are named, in place of `user_limits`."""
    limits_by_group: Mapping[str, Limits] = field(default_factory=dict[str, Limits])
    """For the groups that are named, in place of `group_limits`."""
    calendar: tuple[CalendarRule, ...] = ()
    """Rules for some times of the week; of two that set the same field the later one counts."""
    zone: Zone = UTC
    """Time zone of the calendar."""

    @cached_property
    def limits_queued_jobs(self) -> bool:
        """True if any user or group may have only so many pending jobs."""
        every = (
            self.user_limits,
            self.group_limits,
            *self.limits_by_user.values(),
            *self.limits_by_group.values(),
            *(rule.limits for rule in self.calendar),
        )
        return any(limits.queued_jobs is not None for limits in every)

    def __post_init__(self) -> None:
        """Refuse what would make the order meaningless."""
        for name in ("age_cap", "assumed_length"):
            if getattr(self, name) <= timedelta(0):
                raise ValueError(f"policy.{name} must be longer than 0; write it like 12h.")
        for name in ("shadow_quantile", "backfill_quantile"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"policy.{name} must be from 0 to 1, or left out for none.")
