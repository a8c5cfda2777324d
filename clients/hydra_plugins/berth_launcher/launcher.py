"""
Hydra's launcher `berth`: each run of a sweep is a job, through submitit.

Hydra executes this module at each start of an app to find its plug-ins, so nothing of Berth is
imported here. It does so without naming it in sys.modules, where a dataclass looks up annotations
that are text: this module has none.
"""

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf
from hydra_plugins.hydra_submitit_launcher.submitit_launcher import BaseSubmititLauncher


class BerthLauncher(BaseSubmititLauncher):
    """Launcher of sweeps; submitit's `BerthExecutor` does the work."""

    _EXECUTOR = "berth"


@dataclass
class BerthLauncherConf(BaseQueueConf):
    """
    Parameters of `hydra.launcher`: submitit's general ones, and fields of a job.

    `gpus_per_node` is the number of GPUs of a run; without it a run gets one, without
    `timeout_min` it has no time limit.
    """

    _target_: str = "hydra_plugins.berth_launcher.launcher.BerthLauncher"

    timeout_min: int | None = None  # type: ignore[assignment] # the base has an hour
    priority: int | None = None
    preemptible: bool | None = None
    gpu_memory: str | None = None
    share: bool | None = None
    retries: int | None = None
    snapshot: bool | None = None
    workdir: str | None = None
    env: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    notify: list[str] = field(default_factory=list)
    depends_on: list[Any] = field(default_factory=list)
    setup: list[str] | None = None
    python: str | None = None
    # seconds before a time limit at which a run is warned
    signal_delay_s: int | None = None
    # how often a run that reached its time limit is queued again
    max_num_timeout: int = 0


ConfigStore.instance().store(
    group="hydra/launcher", name="berth", node=BerthLauncherConf(), provider="berth_launcher"
)
