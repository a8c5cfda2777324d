"""Outcome of a run: what it can learn, and what it saved."""
