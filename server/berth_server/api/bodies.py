"""
Reading request bodies, and describing them in OpenAPI.

The wire models are strict, so that they have to be read from the raw JSON: FastAPI's own way,
parse first and validate the result, refuses enums and tuples.
"""

from __future__ import annotations

from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from berth_server.api.problems import Wrong, invalid_body

M = TypeVar("M", bound=BaseModel)


async def body_of(request: Request, model: type[M]) -> M:
    """The body as a model. Raises Wrong."""
    raw = await request.body()
    if not raw.strip():
        raise Wrong(400, f"The body is empty; send a {model.__name__} as JSON.")
    return parse(raw, model)


async def body_or(request: Request, default: M) -> M:
    """The body as a model of the same kind as `default`, or that when there is none."""
    raw = await request.body()
    return parse(raw, type(default)) if raw.strip() else default


async def no_body(request: Request) -> None:
    """Accept nothing but an empty body or an empty object."""
    raw = (await request.body()).strip()
    if raw not in {b"", b"{}", b"null"}:
        raise Wrong(422, "This request takes no body; leave it out.")


def parse(raw: bytes, model: type[M]) -> M:
    """Bytes of JSON as a model. Raises Wrong."""
    try:
        return model.model_validate_json(raw)
    except ValidationError as error:
        raise invalid_body(error, model) from None


def described(
    *models: type[BaseModel], required: bool = True, many: bool = False
) -> dict[str, Any]:
    """`openapi_extra` of a route that reads its body itself; `api.schema` adds the models."""
    refs: list[dict[str, Any]] = [
        {"$ref": f"#/components/schemas/{model.__name__}"} for model in models
    ]
    if many:
        refs.append({"type": "array", "minItems": 1, "items": refs[0]})
    schema = refs[0] if len(refs) == 1 else {"anyOf": refs}
    return {
        "requestBody": {"required": required, "content": {"application/json": {"schema": schema}}}
    }


def header(name: str, description: str, **schema: Any) -> dict[str, Any]:
    """A header that a route reads itself, for `parameters` of its `openapi_extra`."""
    return {
        "name": name,
        "in": "header",
        "required": False,
        "description": description,
        "schema": {"type": "string", **schema},
    }
