"""Ablations: jobs made together from one matrix, with caps and a rule of their own."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from berth.protocol.base import UtcTime, Wire
from berth.protocol.message import Message, quoted
from berth.protocol.problems import InvalidField
from berth.protocol.specs import JobSpec, Label

AblationId = Annotated[
    str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^/\s][^/\n]*$")
]
_NEEDS = {"median": (), "margin": ("margin",), "target": ("target",)}
_BELONGS = {"margin": "margin", "target": "target", "least_runs": "median"}


class EarlyStop(Wire):
    """
    Rule that stops runs of an ablation before their end.

    `median`: a run is stopped when its best value up to a step is worse than the median of the
    other runs' running averages up to that step (the median stopping rule of Golovin et al.,
    Google Vizier, KDD 2017). `margin`: when its best value is worse than the best of any other
    run up to the same step by more than `margin`. `target`: as soon as one run reaches
    `target`, all others are stopped and what has not started is cancelled.
    """

    rule: Literal["median", "margin", "target"] = Field(examples=["median"])
    """The rule."""
    metric: str = Field(min_length=1, max_length=200, examples=["eval_loss"])
    """The metric it looks at, as `metrics.jsonl` or the log names it."""
    mode: Literal["min", "max"] = "min"
    """True if less or more of the metric is better."""
    after_step: float = Field(default=0.0, ge=0, examples=[500])
    """`median`, `margin`: no run is stopped before it has reached this step."""
    least_runs: int = Field(default=3, ge=1, le=1000)
    """`median`: number of other runs that must have reached the same step before one is stopped."""
    margin: float | None = Field(default=None, ge=0, examples=[0.2])
    """`margin`: largest difference from the best that is tolerated, in the metric's own unit."""
    target: float | None = Field(default=None, examples=[1.8])
    """`target`: the value that is good enough."""

    @model_validator(mode="after")
    def _fields_of_the_rule(self) -> Self:
        for name in _NEEDS[self.rule]:
            if getattr(self, name) is None:
                needed = (f"The rule {self.rule} needs ", quoted(name), "; give it.")
                raise InvalidField(name, *needed)
        for name, rule in _BELONGS.items():
            if rule != self.rule and getattr(self, name) != _default(name):
                other = f" belongs to the rule {rule}, not to {self.rule}."
                raise InvalidField(name, quoted(name), other)
        if self.rule == "target" and self.after_step != _default("after_step"):
            name, other = "after_step", " has no meaning for the rule target; leave it out."
            raise InvalidField(name, quoted(name), other)
        return self


def _default(name: str) -> object:
    """Return a field with a default that answers carry whatever the rule."""
    return EarlyStop.model_fields[name].default


class AblationCell(Wire):
    """One run of an ablation: its values, and the job with them filled in."""

    values: dict[Label, str] = Field(examples=[{"lr": "3e-4", "seed": "1"}])
    """The values that distinguish it; they become labels of the job. `ablation` is the ablation's own."""
    job: JobSpec
    """The job."""


class AblationSpec(Wire):
    """Jobs to be made in one transaction, all or none, with their common caps."""

    name: AblationId = Field(examples=["history"])
    """Its name, unique on the box; the label `ablation` of its jobs."""
    cells: list[AblationCell] = Field(min_length=1, max_length=10_000)
    """Its runs, in the order in which they are queued."""
    max_running: int | None = Field(default=None, ge=1, le=100_000, examples=[2])
    """Maximum number of its jobs at once; absent: no cap."""
    max_gpu_hours: float | None = Field(default=None, gt=0, le=1e9, examples=[40])
    """GPU-hours after which no further run starts (running ones continue); absent: no cap. A share
    of a GPU counts as its part of the memory."""
    early_stop: EarlyStop | None = None
    """Rule that stops runs before their end; absent: none."""
    add: bool = False
    """True if an ablation of this name may exist: then only the cells that it lacks are made,
    and the caps and the rule given here replace its own."""


class AblationMade(Wire):
    """Result of an AblationSpec."""

    id: str
    """The ablation's name."""
    ids: list[int] = Field(examples=[[42, 43, 44]])
    """Its new jobs, in the order of the cells."""
    skipped: int = 0
    """With `add`: number of cells that already existed."""
    warnings: list[str] = Field(default_factory=list)
    """Warnings, one sentence each, without repetition."""
    warnings_parts: list[Message] = Field(default_factory=list)
    """The same sentences as typed parts."""


class AblationPatch(Wire):
    """Changes to an ablation; null removes a cap or the rule."""

    max_running: int | None = Field(default=None, ge=1, le=100_000)
    """New maximum number of jobs at once."""
    max_gpu_hours: float | None = Field(default=None, gt=0, le=1e9)
    """New GPU-hours."""
    early_stop: EarlyStop | None = None
    """New rule."""


class RerunRequest(Wire):
    """Cells to queue again, under their own job ids."""

    which: Literal["failed", "cancelled", "all"] = "failed"
    """`failed`: those that failed. `cancelled`: also those that were cancelled. `all`:
    every one that has ended, succeeded and stopped early ones too."""


class AblationCaps(Wire):
    """Common caps of an ablation's jobs, and their use so far."""

    user: str
    """Its creator."""
    created_at: UtcTime
    """Time of creation."""
    max_running: int | None = None
    """Maximum number of its jobs at once."""
    max_gpu_hours: float | None = None
    """GPU-hours after which no further run starts."""
    used_gpu_hours: float
    """GPU-hours that its attempts have had so far; a share counts as its part of the GPU."""
    early_stop: EarlyStop | None = None
    """Rule that stops runs before their end."""
