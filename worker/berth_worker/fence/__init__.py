"""What keeps an attempt off the GPUs that are not its own, and as whom it runs."""

from berth_worker.fence.probe import APPLY, Fence, probe
from berth_worker.fence.user import JobUser, UnknownUserError, job_user

__all__ = ["APPLY", "Fence", "JobUser", "UnknownUserError", "job_user", "probe"]
