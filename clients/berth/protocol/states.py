"""The closed vocabularies: states, outcomes, holders, fences."""

from __future__ import annotations

from enum import StrEnum


class JobState(StrEnum):
    """State of a job. The reason for its end is its `Outcome`."""

    HELD = "held"
    WAITING = "waiting"
    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """True if the job has ended (a retry by hand can still bring it back)."""
        return self in FINAL_STATES

    @property
    def is_active(self) -> bool:
        """True if an attempt of the job may hold GPUs."""
        return self in ACTIVE_STATES


FINAL_STATES = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})
ACTIVE_STATES = frozenset({JobState.STARTING, JobState.RUNNING, JobState.STOPPING})
PENDING_STATES = frozenset({JobState.HELD, JobState.WAITING, JobState.QUEUED})


class AttemptState(StrEnum):
    """State of one attempt."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    ENDED = "ended"


class Outcome(StrEnum):
    """Reason why an attempt, and with its last attempt the job, ended."""

    EXIT = "exit"
    OOM_GPU = "oom_gpu"
    OOM_HOST = "oom_host"
    TIME_LIMIT = "time_limit"
    STALLED = "stalled"
    LOST = "lost"
    ESCAPED = "escaped"
    LAUNCH_ERROR = "launch_error"
    PREEMPTED = "preempted"
    CANCELLED = "cancelled"
    DEPENDENCY_FAILED = "dependency_failed"
    DISK_FULL = "disk_full"
    EARLY_STOPPED = "early_stopped"


class HolderKind(StrEnum):
    """Kind of holder of a GPU."""

    FREE = "free"
    JOB = "job"
    OUTSIDER = "outsider"
    LEFTOVER = "leftover"
    UNHEALTHY = "unhealthy"
    UNKNOWN = "unknown"


class FenceKind(StrEnum):
    """
    Mechanism that keeps an attempt off other GPUs.

    `namespace`: the other GPUs' device files are masked. `cgroup`: a device controller
    refuses them. `advisory`: only environment variables and the audit.
    """

    NAMESPACE = "namespace"
    CGROUP = "cgroup"
    ADVISORY = "advisory"


class Launcher(StrEnum):
    """Program that starts the ranks of a job."""

    DEEPSPEED = "deepspeed"
    ACCELERATE = "accelerate"
    TORCHRUN = "torchrun"
    LLAMAFACTORY = "llamafactory"
    AXOLOTL = "axolotl"
    TORCHTUNE = "torchtune"
    TRL = "trl"
    FABRIC = "fabric"
    COMPOSER = "composer"
    SWIFT = "swift"
    COLOSSALAI = "colossalai"
    ULTRALYTICS = "ultralytics"
    VLLM = "vllm"
    SGLANG = "sglang"
    MPI = "mpi"
    HOROVOD = "horovod"
    RAY = "ray"
    DOCKER = "docker"
    PYTHON = "python"
    SHELL = "shell"
    OTHER = "other"
