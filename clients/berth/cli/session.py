"""Connection to the server, and output of its answers, as every verb uses them."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, cast

from berth.cli.declare import Option

if TYPE_CHECKING:
    from pydantic import BaseModel

    from berth.sdk.client import Client

AsJson = Annotated[bool, Option("--json", help="Print JSON, also for errors.")]


quick = False
"""True where this process runs a common command line, see `quick`."""


def connect(*, patience: float = 20.0) -> Client:
    """Return a client for the server that the environment names."""
    if quick:
        from berth.cli.quick.client import QuickClient

        return cast("Client", QuickClient(patience))
    # Imported here: httpx2 and pydantic take a quarter of a second, which --help must not.
    from berth.sdk.client import Client

    return Client(patience=patience)


def print_json(
    value: BaseModel | Sequence[BaseModel] | dict[str, Any] | list[dict[str, Any]],
) -> None:
    """Print one JSON document to stdout."""
    print(json.dumps(_plain(value), indent=2, ensure_ascii=False))


def print_json_line(value: BaseModel | dict[str, Any]) -> None:
    """Print one JSON document on one line, flushed, for streams."""
    print(json.dumps(_plain(value), ensure_ascii=False), flush=True)


def note(sentence: str) -> None:
    """Print a remark to stderr, apart from the output."""
    print(sentence, file=sys.stderr, flush=True)


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(one) for one in cast("Sequence[Any]", value)]
    return value if isinstance(value, dict | str) else value.model_dump(mode="json")
