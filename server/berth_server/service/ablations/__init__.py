"""Rules about ablations: matrices of jobs, their limits, early stopping, comparison."""
