"""Parser of answers, tolerant enough for an older client to work with a newer server."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ValidationError

from berth.sdk.errors import ServerTrouble

M = TypeVar("M", bound=BaseModel)


def parse(model: type[M], content: bytes) -> M:
    """
    Parse an answer. Unknown fields are ignored, not refused.

    Raises `ServerTrouble` when the answer is of another kind.
    """
    try:
        return model.model_validate_json(content, extra="ignore")
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ServerTrouble(
            f"The server's answer is not a {model.__name__} ({where}: {first['msg']}); "
            "client and server are probably of different versions."
        ) from error
