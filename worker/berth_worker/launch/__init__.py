"""From a desired attempt to a run directory and a started shim."""

from berth_worker.launch.error import LaunchError
from berth_worker.launch.launching import launch
from berth_worker.launch.plan import HostContext, LaunchPlan, plan
from berth_worker.launch.shim_launcher import ShimLauncher

__all__ = ["HostContext", "LaunchError", "LaunchPlan", "ShimLauncher", "launch", "plan"]
