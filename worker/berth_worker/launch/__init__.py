"""From a desired attempt to a run directory and a started shim."""

from berth_worker.launch.error import LaunchError
from berth_worker.launch.launching import launch
from berth_worker.launch.plan import Planned, Surroundings, plan
from berth_worker.launch.shim_launcher import Starter

__all__ = ["LaunchError", "Planned", "Starter", "Surroundings", "launch", "plan"]
