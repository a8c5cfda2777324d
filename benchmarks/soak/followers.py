"""Followers of everything a dashboard shows: they come, read or do not read, and go."""

from __future__ import annotations

import contextlib
import random
import selectors
import socket
import threading
import time
from pathlib import Path

_PATHS = (
    *("/api/v1/live/stream", "/api/v1/events/stream?after=0", "/api/v1/gpus", "/api/v1/jobs"),
    *("/metrics", "/readyz"),
)


class Followers(threading.Thread):
    """As many connections as asked for, on one thread; each lasts some seconds."""

    def __init__(self, path: Path, count: int, seed: int) -> None:
        super().__init__(daemon=True)
        self.bytes = 0
        self.connections = 0
        self._path = str(path)
        self._count = count
        self._dice = random.Random(seed)
        self._over = threading.Event()
        self._newest_job = 1

    def tell(self, newest_job: int) -> None:
        """Let logs of the newest jobs be followed."""
        self._newest_job = newest_job

    def end(self) -> None:
        """Close everything."""
        self._over.set()
        self.join(10)

    def run(self) -> None:
        """Keep the connections up, whatever ends them."""
        watched = selectors.DefaultSelector()
        until: dict[socket.socket, float] = {}
        opened = time.monotonic()
        while not self._over.is_set():
            now = time.monotonic()
            # They come within ten seconds, not all at once: a flood is another matter.
            for _ in range(min(int((now - opened) * self._count / 10), self._count - len(until))):
                self._open(watched, until)
                opened = now
            for key, _ in watched.select(0.05):
                one = key.fileobj
                assert isinstance(one, socket.socket)
                # Some never read what they asked for.
                if key.data and not self._takes(one):
                    until[one] = 0.0
            for one in [one for one, at in until.items() if at < now]:
                with contextlib.suppress(KeyError, ValueError):
                    watched.unregister(one)
                one.close()
                del until[one]
            time.sleep(0.02)
        for one in until:
            one.close()

    def _open(self, watched: selectors.BaseSelector, until: dict[socket.socket, float]) -> None:
        one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        one.settimeout(1)
        job = max(1, self._newest_job - self._dice.randrange(5))
        path = self._dice.choice((*_PATHS, f"/api/v1/jobs/{job}/log/stream"))
        try:
            one.connect(self._path)
            one.sendall(f"GET {path} HTTP/1.1\r\nHost: berth\r\n\r\n".encode())
        except OSError:
            one.close()
            return
        one.settimeout(0)
        self.connections += 1
        until[one] = time.monotonic() + self._dice.random() * 20
        if self._dice.random() < 0.9:
            watched.register(one, selectors.EVENT_READ, one)

    def _takes(self, one: socket.socket) -> bool:
        try:
            got = one.recv(1 << 16)
        except BlockingIOError:
            return True
        except OSError:
            return False
        self.bytes += len(got)
        return bool(got)
