"""The fence, which keeps an attempt off GPUs outside its lease."""

from berth_worker.fence.probe import APPLY, Fence, probe

__all__ = ["APPLY", "Fence", "probe"]
