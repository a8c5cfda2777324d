"""Base of the client's calls: one channel, and answers parsed into models."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel

from berth.sdk.channel import Channel, Params
from berth.sdk.parse import parse

M = TypeVar("M", bound=BaseModel)


class Calls:
    """Base of the parts that make up `Client`."""

    _channel: Channel

    def _get(self, model: type[M], path: str, params: Params | None = None) -> M:
        answer = self._channel.request("GET", path, params=params, repeatable=True)
        return parse(model, answer.content)

    def _post(
        self,
        model: type[M],
        path: str,
        body: BaseModel | Mapping[str, Any] | None = None,
        *,
        repeatable: bool = True,
    ) -> M:
        content = None if body is None else as_json(body)
        answer = self._channel.request("POST", path, content=content, repeatable=repeatable)
        return parse(model, answer.content)

    def _delete(self, model: type[M], path: str) -> M:
        """Send DELETE. Not repeated: a deleted thing would be reported as unknown."""
        answer = self._channel.request("DELETE", path, repeatable=False)
        return parse(model, answer.content)


def as_json(value: BaseModel | Mapping[str, Any]) -> bytes:
    """Return a request body; of a model only the fields set, so that the server's defaults apply."""
    if isinstance(value, BaseModel):
        return value.model_dump_json(exclude_unset=True).encode()
    return json.dumps(value, ensure_ascii=False, default=str).encode()
