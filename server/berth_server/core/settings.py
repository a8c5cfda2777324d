"""Every knob of the policy, with what it means; defaults are the tuned values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, time, timedelta, tzinfo
from types import MappingProxyType


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much one user or group may have at once; None is no limit."""

    running_gpus: int | None = None
    running_jobs: int | None = None
    queued_jobs: int | None = None
    """How many pending jobs; a submit beyond it is refused."""
    gpu_hours: float | None = None
    """GPU-hours in the budget's period; nothing starts once they are used."""


@dataclass(frozen=True, kw_only=True)
class CalendarRule:
    """Other limits at some times of the week."""

    name: str
    """For people: "nights", "weekend"."""
    weekdays: frozenset[int]
    """Days on which the window starts; 0 is Monday."""
    starts: time
    ends: time
    """End of the window; at or before `starts` means the next day."""
    limits: Limits
    """Replaces the fields that are set here, for everybody it applies to."""
    users: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    """Whom it applies to; both empty means every user."""


@dataclass(frozen=True, kw_only=True)
class PolicySettings:
    """The policy's knobs, as `berth.toml` sets them under `[policy]`."""

    length_weight: float = 1.0
    """Points that a job loses per e-fold of its expected length: shorter first."""
    size_weight: float = 0.0
    """Points that a job gains per e-fold of its number of GPUs."""
    age_weight: float = 0.02
    """Points that a job gains per hour of waiting."""
    fair_share_weight: float = 0.5
    """Points between a user who has used nothing lately and one who used everything."""
    usage_half_life: timedelta = timedelta(days=7)
    """Time in which past use counts half."""
    shares: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    """A user's part of the box relative to the others; 1 for those who are not named."""
    age_cap: timedelta = timedelta(days=7)
    """A job that waited longer is served strictly first come, first served, before all others."""
    claim_depth: int = 1
    """How many blocked jobs keep a claim on GPUs; 1 is EASY backfill."""
    shadow_quantile: float | None = 0.5
    """Quantile of the estimate at which running jobs are taken to end when a claim is dated;
    None takes the time limits."""
    backfill_quantile: float | None = None
    """Quantile of the estimate by which a job must be off claimed GPUs; None takes its limit."""
    assumed_length: timedelta = timedelta(hours=24)
    """What a job without time limit and history may last."""
    limit_used: float = 0.3
    """What share of its time limit a job without history is expected to use."""
    leftover_clears: timedelta = timedelta(minutes=1)
    """How long a leftover of an ended attempt is expected to stay."""
    forecast_depth: int = 100
    """For how many waiting jobs a plan tells the expected start."""
    length_by: str = "typical"
    shortest_s: float = 60.0
    fit_weight: float = 0.0
    patience_h: float = 1e9
    due_max: int = 1
    fit_tau_h: float = 1e9
    zone: tzinfo = UTC
    """Time zone of the calendar."""
