"""Policy settings, each with its meaning; the defaults are the tuned values."""

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
        raise ValueError(f"{value!r} is not a time zone; write like Europe/Berlin.") from None


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
    """How many pending jobs; a submit beyond it is refused."""
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


@dataclass(frozen=True, kw_only=True, config=_CONFIG)
class PolicySettings:
    """
    The policy's knobs, as `berth.toml` sets them under `[policy]`.

    The weights are points; a job of e times the expected length has one point less. Jobs of
    the same priority are served by points, see `order.ranked`.
    """

    size_weight: Number = 0.0
    """Points per e-fold of the number of GPUs, at any time: gangs before singles."""
    fit_weight: Number = 1.2
    """Points per e-fold for a gang that fits this moment on a part of the box: what was cleared
    once is used again instead of being broken up."""
    whole_box_weight: Number = 1.7
    """What a gang of the whole box counts for beside another job where every job is one; where one
    in n is, the square root of n times as much."""
    fit_reach: Number = 0.1
    """A gang whose GPUs should be free within this part of its own length has half of the
    points for fitting already; 0 counts only what is open this moment."""
    age_scale: Length = timedelta(hours=160)
    """The wait that is worth a point; twice as long is worth four."""
    whole_box_age_scale: Length = timedelta(hours=270)
    """The same for a gang of the whole box, for which all others have to wait."""
    most_age: Number = 2.25
    """So many age scales count at most: when all jobs have waited for weeks, lengths decide."""
    pressing_weight: Number = 4.0
    """Points that a job gains evenly until the age cap: a gang of a part of the box from a third of
    it on, one GPU from half. Those who pass the cap go one after the other."""
    whole_box_pressing_weight: Number = 3.0
    """The same for a gang of the whole box, from two thirds of the age cap on."""
    age_cap: Length = timedelta(days=30)
    """A job that waited longer is served before all others, strictly in order of waiting."""
    fair_share_weight: Number = 0.25
    """Points between a user who has used nothing lately and one who used far above the share."""
    usage_half_life: Length = timedelta(days=7)
    """Time in which past use counts half."""
    shares: Mapping[str, Number] = field(default_factory=dict[str, float])
    """A user's part of the box relative to the others; 1 for those who are not named."""
    shadow_quantile: MaybeNumber = 0.6
    """Quantile of the estimate at which running jobs are taken to end when a gang's start is
    dated; None takes the time limits."""
    backfill_quantile: MaybeNumber = 0.7
    """Quantile of its estimate by which a job must be off the GPUs that a gang waits for; None
    takes its time limit."""
    shortest: Length = timedelta(minutes=1)
    """Expected lengths below this count as this: the order among tiny jobs does not matter."""
    assumed_length: Length = timedelta(hours=24)
    """What a job without time limit and history may last."""
    limit_used: Number = 0.5
    """What share of its time limit a job without history is expected to use."""
    preempt_patience: Length = timedelta(minutes=5)
    """Nobody is preempted for a job that should start within this time anyway."""
    leftover_clears: Length = timedelta(minutes=1)
    """How long a leftover of an ended attempt is expected to stay."""
    replan_every: Length = timedelta(minutes=1)
    """How often to plan again while GPUs are open and jobs wait, without any event."""
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
        lengths = ("age_scale", "whole_box_age_scale", "age_cap", "usage_half_life")
        for name in (*lengths, "shortest", "assumed_length"):
            if getattr(self, name) <= timedelta(0):
                raise ValueError(f"policy.{name} must be longer than 0; write like 12h.")
        for name in ("shadow_quantile", "backfill_quantile"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"policy.{name} must be from 0 to 1, or left out for none.")
        if self.whole_box_weight <= 0:
            raise ValueError("policy.whole_box_weight must be more than 0; 1 counts it as one job.")
        if self.most_age <= 0:
            raise ValueError("policy.most_age must be more than 0; 2.25 is the default.")
        for name in ("pressing_weight", "whole_box_pressing_weight"):
            if getattr(self, name) < 0:
                raise ValueError(f"policy.{name} must not be negative; 0 is off.")
        if self.fit_reach < 0:
            raise ValueError("policy.fit_reach must not be negative; 0 is off.")
