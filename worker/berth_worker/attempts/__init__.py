"""Attempts on this box: supervision, reconciliation and run directories."""
