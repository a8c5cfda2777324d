"""Verbs that submit, change and show jobs."""
