"""What keeps an attempt off the GPUs that are not its own."""

from berth_worker.fence.probe import APPLY, Fence, probe

__all__ = ["APPLY", "Fence", "probe"]
