"""
Client of a Slurm cluster: the only file that knows a Slurm command.

Each command gets a time limit of its own and an environment without Slurm's variables, which
would change what it does. One that fails or hangs raises; a caller then knows nothing new.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from berth_worker.slurm import listing
from berth_worker.slurm.listing import ClusterJob

_TIMEOUT_S = 15.0
_FOREIGN = ("SLURM_", "SBATCH_", "SQUEUE_", "SCANCEL_", "SACCT_", "SCONTROL_", "SINFO_")
_KEPT = frozenset({"SLURM_CONF", "SLURM_JWT"})
# Words of sbatch that mean "asked, but no answer": the job may be there all the same.
_UNANSWERED = re.compile(
    r"timed? ?out|unable to contact|communication|connection|socket|munge|authentication|try again|"
    r"temporarily|resource temporarily",
    re.IGNORECASE,
)


class UnansweredError(Exception):
    """Slurm gave no answer: whether anything was done is not known."""


class RefusedError(Exception):
    """Slurm refused a job; the message is its own sentence."""


@dataclass(frozen=True, slots=True)
class Submission:
    """A job to be submitted."""

    name: str
    run_dir: str
    script: str
    nodes: int = 1
    gpus_a_node: int = 0
    minutes: int | None = None
    """Slurm's own time limit, a backstop; None leaves it to the partition."""
    wanted_nodes: tuple[str, ...] = ()
    """Nodes that Berth would like it to run on."""
    uid: int | None = None
    gid: int | None = None
    extra: tuple[str, ...] = field(default=())
    """Arguments of the site."""


class SlurmClient:
    """Calls of Slurm's commands; they block, and any thread may make them."""

    def __init__(
        self, environment: Mapping[str, str] | None = None, timeout_s: float = _TIMEOUT_S
    ) -> None:
        own = os.environ if environment is None else environment
        self._env = {
            name: value
            for name, value in own.items()
            if name in _KEPT or not name.startswith(_FOREIGN)
        } | {"SLURM_TIME_FORMAT": "%s", "LC_ALL": "C.UTF-8"}
        self._timeout_s = timeout_s

    def jobs(self) -> str:
        """Return all jobs that the controller knows, for `listing.jobs`. Raises UnansweredError."""
        return self._ask("squeue", "-h", "-t", "all", "-o", listing.JOB_FORMAT)

    def details(self, job_id: int | None = None) -> str:
        """
        Return what squeue cannot tell of one job or of all, for `listing.details`.

        Empty when the controller has just forgotten the job. Raises UnansweredError.
        """
        if job_id is None:
            return self._ask("scontrol", "-d", "-o", "show", "job")
        done = self._run(("scontrol", "-d", "-o", "show", "job", str(job_id)))
        if done.returncode != 0 and "Invalid job id" not in done.stderr:
            raise UnansweredError(f"scontrol: {_sentence(done.stderr)}")
        return done.stdout

    def nodes(self) -> str:
        """Return all nodes, for `listing.nodes`. Raises UnansweredError."""
        return self._ask("scontrol", "-d", "-o", "show", "node")

    def settings(self) -> dict[str, str]:
        """Return the cluster's configuration, by the names of `scontrol show config`."""
        lines = self._ask("scontrol", "show", "config").splitlines()
        pairs = (line.partition("=") for line in lines if "=" in line)
        return {name.strip(): value.strip() for name, _, value in pairs}

    def submit(self, job: Submission) -> int:
        """
        Submit a job and return its id.

        Raises RefusedError for a job that Slurm will not take, UnansweredError when it may have
        been taken all the same.
        """
        words = [
            "sbatch",
            "--parsable",
            "--export=NONE",
            "--no-requeue",
            "--dependency=singleton",
            f"--job-name={job.name}",
            f"--comment={job.name}",
            f"--nodes={job.nodes}",
            "--ntasks-per-node=1",
            "--chdir=/",
            f"--output={job.run_dir}/slurm.out",
        ]
        if job.gpus_a_node:
            words.append(f"--gpus-per-node={job.gpus_a_node}")
        if job.minutes is not None:
            words.append(f"--time={job.minutes}")
        if job.wanted_nodes:
            words.append(f"--nodelist={','.join(job.wanted_nodes)}")
        if job.uid is not None:
            words += [f"--uid={job.uid}", f"--gid={job.gid}"]
        done = self._run([*words, *job.extra], job.script)
        number = done.stdout.strip().partition(";")[0]
        if done.returncode == 0 and number.isdecimal():
            return int(number)
        said = _sentence(done.stderr) or f"sbatch ended with code {done.returncode}"
        if done.returncode == 0 or _UNANSWERED.search(said):
            raise UnansweredError(said)
        raise RefusedError(said)

    def let_run_anywhere(self, job_id: int) -> None:
        """Take a waiting job's wish for nodes back. Raises UnansweredError."""
        self._ask("scontrol", "update", f"JobId={job_id}", "ReqNodeList=")

    def take_back(self, job_id: int) -> None:
        """Cancel a job that has not started; one that has is left alone. Raises UnansweredError."""
        self._ask("scancel", "--state=PENDING", str(job_id))

    def terminate(self, job_id: int) -> None:
        """Send TERM to the batch process alone, which is Berth's own. Raises UnansweredError."""
        self._ask("scancel", "--batch", "--signal=TERM", str(job_id))

    def cancel(self, job_id: int) -> None:
        """End every process of a job, by Slurm's own means. Raises UnansweredError."""
        self._ask("scancel", str(job_id))

    def run_on_a_node(
        self, words: Sequence[str], extra: Sequence[str], timeout_s: float
    ) -> subprocess.CompletedProcess[str]:
        """Run a small program on whatever node is free soon. Raises UnansweredError."""
        srun = ("srun", "--immediate=30", "--ntasks=1", "--time=2", "--chdir=/", *extra)
        return self._run([*srun, *words], timeout_s=timeout_s)

    def ended(self, name: str) -> list[ClusterJob]:
        """
        Return what accounting knows of the jobs of a name, in the last week.

        Raises UnansweredError, also where there is no accounting.
        """
        fields = ",".join(listing.SACCT_FIELDS)
        words = ("sacct", "-X", "-n", "-P", "-S", "now-7days", f"--name={name}", "-o", fields)
        return listing.accounting(self._ask(*words))

    def _ask(self, *words: str) -> str:
        done = self._run(words)
        if done.returncode != 0:
            said = _sentence(done.stderr) or f"ended with code {done.returncode}"
            raise UnansweredError(f"{words[0]}: {said}")
        return done.stdout

    def _run(
        self, words: Sequence[str], text: str = "", timeout_s: float | None = None
    ) -> subprocess.CompletedProcess[str]:
        timeout_s = timeout_s or self._timeout_s
        try:
            return subprocess.run(
                words,
                input=text,
                env=self._env,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise UnansweredError(f"{words[0]} gave no answer within {timeout_s:g} s") from None
        except OSError as error:
            raise UnansweredError(f"{words[0]} cannot be started: {error.strerror}") from None


def _sentence(said: str) -> str:
    """Return what a Slurm command said, without its own name."""
    lines = (re.sub(r"^\w+: (?:error: |fatal: )?", "", line.strip()) for line in said.splitlines())
    return "; ".join(line for line in lines if line)
