"""Columns of messages: their parts as JSON, and back."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import TypeAdapter

from berth.protocol.message import Message

_LIST = TypeAdapter(tuple[Message, ...])


def encode(message: Message | str) -> str:
    """Return the parts as JSON; a string is plain words."""
    return (Message.of(message) if isinstance(message, str) else message).model_dump_json()


def decode(text: str | None) -> Message | None:
    """Return the message that `encode` wrote; None for none."""
    return None if text is None else Message.model_validate_json(text)


def encode_all(messages: Iterable[Message]) -> str:
    """Return several messages as one JSON list."""
    return _LIST.dump_json(tuple(messages)).decode()


def decode_all(text: str) -> tuple[Message, ...]:
    """Return the messages that `encode_all` wrote."""
    return () if text == "[]" else _LIST.validate_json(text)
