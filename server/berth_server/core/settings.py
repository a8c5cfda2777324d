"""Every knob of the policy, with what it means; defaults are the tuned values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, kw_only=True)
class PolicySettings:
    """The policy's knobs, as `berth.toml` sets them under `[policy]`."""

    claim_depth: int = 1
    """How many blocked jobs keep a claim on GPUs; 1 is EASY backfill."""
    assumed_length: timedelta = timedelta(hours=24)
    """What a job without time limit and history is taken to last, for expected starts."""
    leftover_clears: timedelta = timedelta(minutes=1)
    """How long a leftover of an ended attempt is expected to stay."""
    forecast_depth: int = 100
    """For how many waiting jobs a plan tells the expected start."""
