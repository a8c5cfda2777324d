"""
Memory plan of a training run: GPU and host memory, from `config.json` alone.

No torch, no weights, no GPU. `shape` reads a model's configuration, `estimate`
gives peaks with their parts, `search` ranks the possible set-ups, `decide` applies them to a
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
