"""
How much GPU and host memory a training run needs, from `config.json` alone.

Pure arithmetic: no torch, no weights, no GPU. `shape` reads a model's configuration, `estimate`
gives peaks with their parts, `plan` walks over the possible set-ups and marks the one to take.
"""

from __future__ import annotations

from berth_trainer.memory.estimate import Estimate, Setup, estimate
from berth_trainer.memory.search import Budget, Row, choose, plan
from berth_trainer.memory.shape import ModelShape, ShapeError, read_shape

__all__ = [
    "Budget",
    "Estimate",
    "ModelShape",
    "Row",
    "Setup",
    "ShapeError",
    "choose",
    "estimate",
    "plan",
    "read_shape",
]
