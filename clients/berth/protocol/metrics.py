"""Metrics of training runs, and ablations side by side."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from berth.protocol.ablations import AblationCaps
from berth.protocol.base import Wire
from berth.protocol.jobs import Job
from berth.protocol.message import Message
from berth.protocol.progress import CurveTrouble

MetricPoint = dict[str, float | None]
"""The numbers of one moment of a run by name: `step`, `time` (unix seconds) and whatever it
measured; null where it wrote NaN or infinity."""


class Metrics(Wire):
    """The curve of one attempt, thinned to `max_points`, its ends and extremes kept."""

    job_id: int
    """The job whose curve it is."""
    attempt: str | None = Field(default=None, examples=["42.1"])
    """The attempt whose curve it is; absent while there is none."""
    source: Literal["metrics.jsonl", "log", "none"]
    """Source: the run's own file, lines like {'loss': 2.3} of its log, nowhere."""
    names: list[str]
    """Every name that occurs beside `step` and `time`, sorted."""
    points: list[MetricPoint] = Field(
        examples=[[{"step": 120, "time": 1795500000.5, "loss": 2.31, "learning_rate": 0.0001}]]
    )
    """In the order written."""
    total: int
    """Number of points before thinning."""


class Curve(Wire):
    """The curve of one metric, thinned to its extremes."""

    steps: list[float]
    """Step of each point, never decreasing; where none was written, the point's number."""
    times: list[float | None] = Field(default_factory=list[float | None])
    """Unix seconds of each point; empty unless asked for."""
    values: list[float | None]
    """Null where the run wrote NaN or infinity."""
    total: int
    """Number of values before thinning, in the range asked for."""
    first: float | None = None
    """The run's first finite value of it; absent while there is none."""
    last: float | None = None
    """The run's last value of it; null where that is NaN or infinite."""
    last_step: float | None = None
    """Its step."""
    best: float | None = None
    """The best value: the greatest where its name says that more is better, else the least."""
    trouble: CurveTrouble | None = None
    """Problem of its end; absent while there is none."""


class RunCurves(Wire):
    """Curves of one attempt by metric, each with its extremes whatever the thinning."""

    job_id: int
    """The job whose curves they are."""
    attempt: str | None = Field(default=None, examples=["42.1"])
    """The attempt whose curves they are; absent while there is none."""
    source: Literal["metrics.jsonl", "log", "none"]
    """Source of the numbers."""
    names: list[str]
    """Names of all metrics, sorted, also of those that were not asked for."""
    curves: dict[str, Curve]
    """By name."""
    total: int
    """Number of points of the run."""
    timed: bool = False
    """True if every point has a time."""
    read_all: bool = True
    """False where the file is so long that its first part was not read."""
    after: str
    """Pass as `after` to get what is new."""
    whole: bool = True
    """False where the curves hold only what is new since `after`."""


DifferenceKind = Literal[
    "setting", "training_samples", "samples_per_step", "changed_by_resume", "steps_made"
]


class RunDifference(Wire):
    """One thing in which a run differs from most runs of its ablation, beside what it varies."""

    kind: DifferenceKind = "setting"
    """Kind of fact."""
    what: str = Field(examples=["training.max_length"])
    """The setting's name; of other kinds the kind."""
    value: str = Field(examples=["1024"])
    """That of this run."""
    usual: str = Field(examples=["2048"])
    """That of most runs."""
    sentence: str = ""
    """For people."""
    sentence_parts: Message = Message()
    """The sentence as typed parts."""


class Shortening(Wire):
    """Share of a run's training samples that was left out to fit into the length."""

    samples: float = Field(examples=[0.9])
    """Share of the samples that left something out."""
    left_out: dict[str, float] = Field(examples=[{"profile": 0.0, "history": 0.6}])
    """By part of the prompt (profile, history, context): the share of its characters left out, of
    all samples together."""
    sentence: str = ""
    """For people."""
    sentence_parts: Message = Message()
    """The sentence as typed parts."""


class AblationRun(Wire):
    """One run of an ablation with its metrics."""

    job: Job
    """The job, labels included."""
    last: dict[str, float | None] = Field(examples=[{"loss": 1.94, "eval_loss": 2.01}])
    """The last value of each metric."""
    best: dict[str, float] = Field(examples=[{"loss": 1.94, "eval_loss": 1.98}])
    """The best value of each metric: the greatest where its name says that more is better (accuracy,
    bleu, f1, tokens_per_s, …), else the least."""
    first: dict[str, float] = Field(default_factory=dict[str, float], examples=[{"loss": 4.2}])
    """The first finite value of each metric."""
    step: float | None = None
    """The last step seen."""
    trouble: dict[str, CurveTrouble] = Field(default_factory=dict[str, CurveTrouble])
    """Metrics whose curve ends badly, with what is wrong."""
    differences: list[RunDifference] = Field(default_factory=list["RunDifference"])
    """Differences that make the run incomparable: beside what the ablation varies."""
    shortened: Shortening | None = None
    """Part that most samples of the run had to leave out to fit; absent where most fit."""


class Ablation(Wire):
    """The jobs whose label `ablation` is this id, side by side."""

    id: str
    """Value of the label `ablation` that the jobs share."""
    varies: list[str]
    """Names of the labels in which the runs differ: the columns of the comparison."""
    metrics: list[str]
    """Names of all metrics of all runs, sorted."""
    runs: list[AblationRun]
    """In order of job id; of more than 500 the newest."""
    total: int
    """Number of its jobs, also those that `runs` leaves out."""
    caps: AblationCaps | None = None
    """Caps, rule and use; absent where jobs merely share the label."""


class AblationSummary(Wire):
    """One ablation in the list of all."""

    id: str
    """Value of the label `ablation`."""
    jobs: int
    """Number of jobs that have it."""
    unfinished: int
    """Jobs that have not ended."""
    users: list[str]
    """Names of the users who submitted them, sorted."""
    newest_job_id: int
    """Id of the newest of them."""
    caps: AblationCaps | None = None
    """As in the ablation itself."""


class AblationList(Wire):
    """The ablations with the newest jobs first."""

    ablations: list[AblationSummary]
    """Ordered by their newest job."""
