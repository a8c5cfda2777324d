"""Request bodies: strict models, read from the JSON as it was sent."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request
from pydantic import BaseModel, GetCoreSchemaHandler, ValidationError
from pydantic_core import CoreSchema, core_schema

from berth_server.api.problems import ApiError, invalid_body

M = TypeVar("M", bound=BaseModel)


class _FromJson:
    """
    Has a model validate the bytes of the body.

    FastAPI parses the JSON and validates the result. The wire models are strict, and in strict
    Python an enum is no text and a tuple is no list, so that every such field would be refused.
    """

    def __get_pydantic_core_schema__(
        self, source: type[BaseModel], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        def read(raw: Any, _inner: Any) -> Any:
            return parse(raw, source)

        return core_schema.no_info_wrap_validator_function(read, handler(source))


JsonBody = Annotated[M, _FromJson()]
"""A body parameter: `patch: JsonBody[JobPatch]`."""


class RawRequest(Request):
    """Request whose JSON is left as it was sent; a body of white space is no body."""

    async def body(self) -> bytes:
        """Return the body's bytes."""
        raw = await super().body()
        return raw if raw.strip() else b""

    async def json(self) -> Any:
        """Return the body's bytes, for `JsonBody` to read."""
        return await self.body()


def parse(raw: bytes, model: type[M]) -> M:
    """Read bytes of JSON as a model. Raises ApiError."""
    try:
        return model.model_validate_json(raw)
    except ValidationError as error:
        raise invalid_body(error, model) from None


async def _raw_body(request: Request) -> bytes:
    return await request.body()


RawBody = Annotated[bytes, Depends(_raw_body)]
"""The bytes of the body, with or without a model."""


async def no_body(request: Request) -> None:
    """Dependency of routes that take no body: it must be empty, or an empty object."""
    raw = (await request.body()).strip()
    if raw not in {b"", b"{}", b"null"}:
        raise ApiError(422, "This request takes no body; leave it out.")
