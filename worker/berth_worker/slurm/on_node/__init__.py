"""The part of the Slurm executor that runs on the nodes, inside the jobs."""
