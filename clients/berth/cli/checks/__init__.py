"""Checks of `berth doctor`, one module per subject."""
