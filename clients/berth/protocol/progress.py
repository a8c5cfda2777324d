"""Progress and expected length of runs, their use of GPUs, and trouble that their curves show."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from berth.protocol.base import UtcTime, Wire
from berth.protocol.message import Message

ProgressSource = Literal["jobside", "metrics.jsonl", "log"]


class Progress(Wire):
    """Progress of a running attempt, and the time it still takes."""

    step: int | float
    """Number of steps done, or of turns of whatever it counts."""
    total: int | float
    """Number of steps in all, in the same unit."""
    fraction: float
    """Part of the whole run that is done, 0 to 1."""
    source: ProgressSource
    """Source: `berth.jobside.progress`, `metrics.jsonl` or the log."""
    seconds_left: float | None = None
    """Median of the time left, seconds; absent during warm-up and once steps stop coming."""
    seconds_left_p90: float | None = None
    """Nine of ten such attempts are done by then, seconds; absent like `seconds_left`."""
    at: UtcTime
    """Time of the attempt's last report."""


class GpuUsage(Wire):
    """Usage of GPUs while they were held, as far as the worker saw it."""

    gpu_hours: float
    """GPU-hours held, a share of a GPU counting as its part; still growing while it runs."""
    seen_fraction: float = 0.0
    """Part of them in which the GPUs were sampled, 0 to 1: utilisation and idle time are of it."""
    utilization_percent: float | None = None
    """Mean utilisation of the GPUs; absent when nothing was seen."""
    idle_percent: float | None = None
    """Part of the time in which a GPU had no work (below 5 %), percent."""
    peak_memory_bytes: int | None = None
    """Most memory that its processes held on any one GPU, bytes."""
    energy_kwh: float | None = None
    """Energy of the GPUs alone, kWh; absent when the driver tells no power."""
    cost: float | None = None
    """By the settings `price_per_gpu_hour` and `price_per_kwh`; absent without them."""
    currency: str = ""
    """Unit of the cost, as the setting has it."""
    co2_g: float | None = None
    """Grams of CO2 by the setting `co2_per_kwh`; absent without it."""


TroubleKind = Literal["not_finite", "diverged"]


class CurveTrouble(Wire):
    """Something that is wrong with the end of a curve."""

    kind: TroubleKind
    """`not_finite`: the last values are NaN or infinite; `diverged`: a loss that ends above twice
    what it began with."""
    step: float | None
    """The step at which it began; null where a log shows no steps."""


class RunTrouble(CurveTrouble):
    """Loss of a run that is NaN, infinite, or has run away."""

    metric: str
    """Name of the loss."""
    sentence: str
    """For people."""
    sentence_parts: Message = Message()
    """The sentence as typed parts."""


class ExpectedLength(Wire):
    """Run time that a job should have, judging by earlier runs, whatever its time limit."""

    seconds: float
    """Half of such runs are over by then."""
    seconds_p90: float
    """Nine of ten are; never below `seconds`."""
    sentence: str = Field(examples=["about 5h40m, from 3 earlier runs and 4,000 steps"])
    """The same for people, and what it rests on."""
    sentence_parts: Message = Message()
    """The sentence as typed parts."""
