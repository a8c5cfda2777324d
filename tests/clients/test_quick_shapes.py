"""
The shapes of answers that the quick command line reads are those of the wire models.

After a change of the models, BERTH_WRITE_SHAPES=1 writes them again.
"""

from __future__ import annotations

import os
import pprint
import types
import typing
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel

from berth.cli.quick import shapes
from berth.protocol import message
from berth.protocol.access import Me
from berth.protocol.explain import Explanation
from berth.protocol.gpus import Box
from berth.protocol.jobs import JobPage
from berth.protocol.problems import Problem
from berth.protocol.submits import SubmittedJobs

ROOTS = (
    Problem,
    JobPage,
    SubmittedJobs,
    Explanation,
    Box,
    Me,
    *typing.get_args(typing.get_args(message.Part)[0]),
)


def kind_of(hint, todo) -> object:
    """The reading of a field: "" as it is, a list of one kind, or the name of a kind."""
    origin = typing.get_origin(hint)
    if origin is typing.Annotated:
        return kind_of(typing.get_args(hint)[0], todo)
    if origin in {typing.Union, types.UnionType}:
        kinds = {str(k): k for k in (kind_of(a, todo) for a in typing.get_args(hint)) if k}
        return next(iter(kinds.values()), "")
    if origin in {list, tuple}:
        inner = kind_of(typing.get_args(hint)[0], todo)
        return [inner] if inner else ""
    if hint is datetime:
        return "time"
    if hint is timedelta:
        return "duration"
    if hint is message.Message:
        return "message"
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return hint.__name__
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        todo.append(hint)
        return hint.__name__
    return ""


def made() -> dict:
    """The shapes, from the models."""
    found: dict = {}
    todo = list(ROOTS)
    while todo:
        model = todo.pop(0)
        if model.__name__ in found:
            continue
        hints = typing.get_type_hints(model, include_extras=True)
        fields = {}
        for name, field in model.model_fields.items():
            kind = kind_of(hints[name], todo)
            if field.is_required():
                fields[name] = (kind,)
                continue
            default = field.get_default(call_default_factory=True)
            if isinstance(default, BaseModel):
                default = default.model_dump(mode="json")
            if isinstance(default, StrEnum):
                default = default.value
            if isinstance(default, tuple):
                default = list(default)
            fields[name] = (kind, default)
        found[model.__name__] = fields
    return found


def test_shapes_are_the_models():
    """A changed model changes the shapes."""
    expected = made()
    if os.environ.get("BERTH_WRITE_SHAPES"):
        text = '"""Fields of the wire models: how each is read, and its default. Written by tests/clients/test_quick_shapes.py."""\n\nfrom __future__ import annotations\n\nfrom typing import Any\n\n'
        text += f"SHAPES: dict[str, dict[str, tuple[Any, ...]]] = {pprint.pformat(expected, sort_dicts=False)}\n"
        Path(shapes.__file__).write_text(text, encoding="utf-8")
        return

    assert expected == shapes.SHAPES
