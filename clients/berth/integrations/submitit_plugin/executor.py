"""Executor of submitit that submits to Berth."""

from __future__ import annotations

import errno
import json
import os
import shlex
import socket
import sys
import uuid
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from submitit.core import core, utils

from berth.integrations.submitit_plugin.job import BerthJob, client
from berth.protocol.specs import JobSpec
from berth.sdk import address

_RUNNER = "berth.integrations.submitit_plugin.tasks"
_NO_LIMIT_MIN = 60 * 24 * 365 * 10
_OWN = frozenset({"setup", "python", "stderr_to_stdout", "signal_delay_s"})
"""Parameters that are this executor's; the others are fields of a job."""
_FIELDS = frozenset(JobSpec.model_fields) - {"command", "script", "gpus", "name", "python"}
_NOT_MANAGED = frozenset({"mem_gb", "cpus_per_task"})
_SLURM_FILES = (
    os.environ.get("SLURM_CONF", "/etc/slurm/slurm.conf"),
    "/etc/slurm-llnl/slurm.conf",
)
# Of the place where the submit was typed, or set by Berth and submitit for the job itself.
_NOT_TAKEN = (
    *("BERTH_", "SUBMITIT_", "SLURM_", "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "MASTER_"),
    *("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "TERM", "DISPLAY", "SSH_", "TMUX"),
    *("OLDPWD", "PWD", "SHLVL", "XDG_RUNTIME_DIR", "XDG_SESSION_", "DBUS_", "_"),
)


class BerthExecutor(core.Executor):
    """
    Submits functions as jobs of Berth.

    Takes submitit's general parameters and, prefixed with `berth_`, the fields of a job:
    `berth_priority`, `berth_preemptible`, `berth_gpu_memory`, `berth_labels`, `berth_env`, …, and
    `berth_setup` (shell lines before the function), `berth_python`, `berth_signal_delay_s`.
    Without `gpus_per_node` a job gets one GPU, without `timeout_min` it has no time limit. Memory
    and CPUs are not managed, so `mem_gb` and `cpus_per_task` are accepted and change nothing.
    """

    job_class = BerthJob

    def __init__(
        self, folder: Path | str, max_num_timeout: int = 3, max_pickle_size_gb: float = 1.0
    ) -> None:
        super().__init__(folder)
        self.max_num_timeout = max_num_timeout
        self.max_pickle_size_gb = max_pickle_size_gb
        utils.JobPaths.get_first_id_independent_folder(self.folder).mkdir(
            parents=True, exist_ok=True
        )

    @classmethod
    def affinity(cls) -> int:
        """
        Return how well it suits: above Slurm's 2 where a server can be reached, else "not here".

        A machine where Slurm is configured stays with it; its commands alone are no cluster.
        """
        suits = 1 if any(map(os.path.exists, _SLURM_FILES)) else 3
        if os.environ.get("BERTH_URL"):
            return suits
        path = address.resolve().socket
        if path is None or not path.exists():
            return -1
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1.0)
            # EAGAIN: a server whose queue of new connections is full.
            return suits if probe.connect_ex(str(path)) in {0, errno.EAGAIN} else -1

    @classmethod
    def _valid_parameters(cls) -> set[str]:
        return set(_OWN | _FIELDS)

    def _internal_update_parameters(self, **kwargs: Any) -> None:
        if (nodes := kwargs.get("nodes", 1)) > 1:
            raise ValueError(f"Berth's queue is for one machine, not for {nodes}; set nodes=1.")
        self.parameters.update(kwargs)

    def _internal_process_submissions(
        self, delayed_submissions: Sequence[utils.DelayedSubmission]
    ) -> list[core.Job[Any]]:
        """Submit all functions in one transaction."""
        home = utils.JobPaths.get_first_id_independent_folder(self.folder)
        home.mkdir(parents=True, exist_ok=True)
        pickles = self._dumped(delayed_submissions, home)
        environment = home / f".{uuid.uuid4().hex}.environment.json"
        _write_private(environment, json.dumps(_environment()))
        specs = [self._spec(pickle, environment) for pickle in pickles]
        ids = client().submit(specs).ids
        jobs: list[core.Job[Any]] = []
        for job_id, pickle in zip(ids, pickles, strict=True):
            job = self.job_class(self.folder, str(job_id), range(self._tasks))
            # The job does the same when it starts first.
            place(pickle, job.paths.submitted_pickle)
            jobs.append(job)
        return jobs

    @property
    def _tasks(self) -> int:
        return int(self.parameters.get("tasks_per_node") or 1)

    def _dumped(
        self, delayed_submissions: Sequence[utils.DelayedSubmission], home: Path
    ) -> list[Path]:
        timeout = self.parameters.get("timeout_min") or _NO_LIMIT_MIN
        pickles: list[Path] = []
        for delayed in delayed_submissions:
            path = home / f"{uuid.uuid4().hex}.pkl"
            delayed.set_timeout(timeout, self.max_num_timeout)
            delayed.dump(path)
            size_gb = path.stat().st_size / 1024**3 * len(delayed_submissions)
            if not pickles and size_gb > self.max_pickle_size_gb:
                path.unlink()
                raise RuntimeError(
                    f"Functions and arguments would take {size_gb:.2f} GB as pickles; pass what is "
                    "large as a file, or set berth_max_pickle_size_gb."
                )
            pickles.append(path)
        return pickles

    def _spec(self, pickle: Path, environment: Path) -> JobSpec:
        wanted = {k: v for k, v in self.parameters.items() if k in _FIELDS and v is not None}
        words = [
            *(str(self.parameters.get("python") or sys.executable), "-u", "-m", _RUNNER),
            *(str(self.folder), str(pickle), str(environment), str(self._tasks)),
            *(["--stderr-to-stdout"] if self.parameters.get("stderr_to_stdout") else []),
        ]
        setup = [str(line) for line in self.parameters.get("setup") or ()]
        if setup:
            wanted["script"] = "\n".join(["set -e", *setup, f"exec {shlex.join(words)}", ""])
        else:
            wanted["command"] = words
        minutes = self.parameters.get("timeout_min")
        if minutes is not None and "time_limit" not in wanted:
            wanted["time_limit"] = timedelta(minutes=minutes)
        if (delay := self.parameters.get("signal_delay_s")) is not None:
            wanted["warn_before"] = timedelta(seconds=delay)
        # submitit's own word, which may be 0.
        if (gpus := wanted.pop("gpus_per_node", None)) is not None:
            wanted["gpus"] = gpus
        elif not wanted.get("share"):
            wanted["gpus"] = 1
        return JobSpec.model_validate(
            {
                "name": str(self.parameters.get("name") or "submitit"),
                "workdir": str(Path.cwd()),
                **wanted,
                "labels": {"submitit": self.folder.name[:200], **wanted.get("labels", {})},
            }
        )


def place(pickle: Path, target: Path) -> None:
    """Give a pickle its name, unless it has it already."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(pickle, target)
        pickle.unlink()
    except (FileExistsError, FileNotFoundError):
        pickle.unlink(missing_ok=True)


def _environment() -> dict[str, str]:
    """Return this process's variables, which a function expects to find in its job."""
    return {
        name: value
        for name, value in os.environ.items()
        if not any(name == one or (one[-1] == "_" and name.startswith(one)) for one in _NOT_TAKEN)
    }


def _write_private(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
