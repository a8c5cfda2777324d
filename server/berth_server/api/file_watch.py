"""Being woken when a file grows, without looking at it again and again."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import struct
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

_IN_MODIFY = 0x2
_IN_ONESHOT = 0x80000000
_IN_NONBLOCK_CLOEXEC = os.O_NONBLOCK | os.O_CLOEXEC
_EVENT = struct.Struct("iIII")
# Where the kernel grants no more watches, looking now and then has to do.
_LOOK_EVERY_S = 0.05


class FileWatch:
    """
    Wakes whoever waits for a file to grow.

    Each wait sets a watch that fires once, so that a job which writes a hundred thousand times
    a second costs one wake-up per look, not one per write.
    """

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._handle = -1
        self._waiting: dict[int, set[asyncio.Event]] = {}

    async def grown(self, path: str, known_size: int, *, timeout_s: float | None = None) -> None:
        """Return when the file is larger than `known_size`, or after `timeout_s` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._grown(path, known_size)

    def close(self) -> None:
        """Give the kernel's watches back."""
        if self._handle >= 0:
            asyncio.get_running_loop().remove_reader(self._handle)
            os.close(self._handle)
            self._handle = -1

    async def _grown(self, path: str, known_size: int) -> None:
        while True:
            async with self._watch(path) as fired:
                # Looked at after the watch is set: nothing is missed in between.
                if _size(path) > known_size:
                    return
                if fired is None:
                    await asyncio.sleep(_LOOK_EVERY_S)
                else:
                    await fired.wait()

    @asynccontextmanager
    async def _watch(self, path: str) -> AsyncGenerator[asyncio.Event | None]:
        number = self._add(path)
        if number < 0:
            yield None
            return
        fired = asyncio.Event()
        self._waiting.setdefault(number, set()).add(fired)
        try:
            yield fired
        finally:
            waiting = self._waiting.get(number)
            if waiting is not None:
                waiting.discard(fired)
                if not waiting:
                    del self._waiting[number]
                    self._libc.inotify_rm_watch(self._handle, number)

    def _add(self, path: str) -> int:
        if self._handle < 0:
            self._handle = self._libc.inotify_init1(_IN_NONBLOCK_CLOEXEC)
            if self._handle < 0:
                return -1
            asyncio.get_running_loop().add_reader(self._handle, self._fire)
        return self._libc.inotify_add_watch(
            self._handle, os.fsencode(path), ctypes.c_uint32(_IN_MODIFY | _IN_ONESHOT)
        )

    def _fire(self) -> None:
        try:
            data = os.read(self._handle, 64 << 10)
        except BlockingIOError:
            return
        place = 0
        while place + _EVENT.size <= len(data):
            number, _mask, _cookie, length = _EVENT.unpack_from(data, place)
            place += _EVENT.size + length
            for event in self._waiting.pop(number, ()):
                event.set()


def _size(path: str) -> int:
    try:
        return os.stat(path, follow_symlinks=False).st_size  # noqa: PTH116 - hot, and Path adds nothing
    except OSError:
        return 0
