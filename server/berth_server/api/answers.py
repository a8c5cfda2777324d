"""Models as answers, serialised once and by pydantic's own writer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import BaseModel
from starlette.responses import Response

_JSON = "application/json"


def answer(
    model: BaseModel, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """One model."""
    return Response(model.__pydantic_serializer__.to_json(model), status, headers, _JSON)


def answers(models: Sequence[BaseModel], status: int = 200) -> Response:
    """A list of models."""
    parts = [model.__pydantic_serializer__.to_json(model) for model in models]
    return Response(b"[" + b",".join(parts) + b"]", status, media_type=_JSON)
