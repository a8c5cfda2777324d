"""Serves the built dashboard, or says how to build it."""
