"""Verbs for ablations: submitting a matrix of runs and comparing them."""
