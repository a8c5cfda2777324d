"""Batch headers of scripts, `#SBATCH` and `#BERTH` lines, read into the fields of a job."""

from berth.commands.headers.header import BatchHeader, read_header
from berth.commands.headers.slurm_environment import slurm_variables

__all__ = ["BatchHeader", "read_header", "slurm_variables"]
