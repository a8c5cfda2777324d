"""Cache of slow answers, kept for a limited time."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Answer = TypeVar("Answer")

TTL_S = 60.0
"""Age up to which an answer is taken to be still right: a directory service may be slow."""


class TtlCache(Generic[Key, Answer]):
    """Cache of `find`: its answer for a key is at most a minute old."""

    def __init__(self, find: Callable[[Key], Answer]) -> None:
        self._find = find
        self._known: dict[Key, Answer] = {}
        self._until = 0.0

    def __call__(self, key: Key) -> Answer:
        now = time.monotonic()
        if now >= self._until:
            self._known.clear()
            self._until = now + TTL_S
        if key not in self._known:
            self._known[key] = self._find(key)
        return self._known[key]
