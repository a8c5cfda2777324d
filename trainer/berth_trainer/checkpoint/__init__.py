"""Checkpoints: writing, verification, rotation, resume."""
