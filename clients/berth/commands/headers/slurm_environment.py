"""
Variables of Slurm that scripts with a `#SBATCH` header read.

Those by which training libraries take themselves for tasks of srun (SLURM_NTASKS, SLURM_PROCID,
SLURM_LOCALID, SLURM_JOB_NODELIST) are not among them.
"""

from __future__ import annotations

from berth.commands.errors import CommandError
from berth.commands.headers.header import read_header


def slurm_variables(script: str, *, job_id: int, workdir: str, gpus: int) -> dict[str, str]:
    """Return the variables for a script's job; none for a script without such a header."""
    try:
        header = read_header(script)
    except CommandError:
        return {}
    if not header.is_slurm:
        return {}
    name = header.fields.get("name")
    found = {
        "SLURM_JOB_ID": str(job_id),
        "SLURM_JOBID": str(job_id),
        "SLURM_JOB_NAME": str(name) if name else "script",
        "SLURM_SUBMIT_DIR": workdir,
        "SLURM_NNODES": "1",
        "SLURM_JOB_NUM_NODES": "1",
        "SLURM_NODEID": "0",
        "SLURM_GPUS": str(gpus),
        "SLURM_GPUS_ON_NODE": str(gpus),
    }
    if header.array is not None:
        found["SLURM_ARRAY_JOB_ID"] = str(job_id)
    return found
