"""The Slurm executor: attempts run as jobs of a Slurm cluster instead of on this box."""
