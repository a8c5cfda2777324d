"""
Connections among the ranks of a run, which break when one of them dies.

A rank that waits in a collective for one that is gone waits for minutes, and a launcher's SIGTERM
does not reach it there: our handler only notes it, to save at the end of the step. These
connections tell it at once.
"""

import contextlib
import os
import secrets
import selectors
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from berth_trainer.training.ranks import Ranks, tell

_FAREWELL, _LOST = b".", b"!"
_PLACE = "berth_trainer/peers"  # key in torch's store
_CONNECT_S = 60.0
_PATIENCE_S = 3.0  # in which the death of a rank is noticed, once a collective with it has failed
_BROKEN = (
    "Connection closed by peer", "Connection reset by peer", "Broken pipe", "Socket closed",
    "remote process exited", "DistBackendError", "NCCL error", "gloo",
)  # fmt: skip


@dataclass(slots=True)
class Peers:
    """
    Rank 0 holds a connection to each other rank. `end` is called on every rank once one is lost.

    That is, once a connection breaks without a farewell. It runs on a thread of its own, while
    the rank may wait in a collective.
    """

    ranks: Ranks
    end: Callable[[], object]
    _held: dict[int, socket.socket] = field(default_factory=dict[int, socket.socket])  # by rank

    def join(self) -> None:
        """Connect the ranks. A collective; where they cannot be connected the run goes on without."""
        from torch import distributed

        if self.ranks.world_size == 1 or not distributed.is_initialized():
            return
        store = distributed.distributed_c10d._get_default_store()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # there is no other way to it
        with contextlib.suppress(OSError):
            self._listen(store) if self.ranks.is_main else self._connect(store)
        if self._held:
            threading.Thread(target=self._watch, name="peers", daemon=True).start()

    def leave(self) -> None:
        """Say farewell: this rank needs the others no more. A rank that fails just ends."""
        self._say(_FAREWELL)

    def _listen(self, store: Any) -> None:
        address = os.environ.get("MASTER_ADDR", "127.0.0.1")
        local = address in {"127.0.0.1", "localhost"}
        token = secrets.token_hex(16)
        with socket.create_server(("127.0.0.1" if local else "", 0)) as listener:
            store.set(_PLACE, f"{address} {listener.getsockname()[1]} {token}")
            listener.settimeout(_CONNECT_S)
            while len(self._held) < self.ranks.world_size - 1:
                opened, _ = listener.accept()
                opened.settimeout(_CONNECT_S)
                known, _, rank = _line(opened).partition(" ")
                opened.settimeout(None)
                if secrets.compare_digest(known, token):  # else it is another program
                    self._held[int(rank)] = opened

    def _connect(self, store: Any) -> None:
        address, port, token = store.get(_PLACE).decode().split()
        opened = socket.create_connection((address, int(port)), timeout=_CONNECT_S)
        opened.sendall(f"{token} {self.ranks.rank}\n".encode())
        opened.settimeout(None)
        self._held[0] = opened

    def _watch(self) -> None:
        with selectors.DefaultSelector() as selector:
            for rank, opened in self._held.items():
                selector.register(opened, selectors.EVENT_READ, rank)
            while selector.get_map():
                for key, _ in selector.select():
                    said = _heard(self._held[key.data])
                    if said == _FAREWELL:
                        selector.unregister(key.fileobj)
                        continue
                    if said != _LOST and self.ranks.rank in {0, 1}:  # 1, where 0 is lost
                        tell(f"rank {key.data} ended before the run did, so all ranks end.")
                    self._say(_LOST)
                    self.end()
                    return

    def _say(self, word: bytes) -> None:
        for opened in self._held.values():
            with contextlib.suppress(OSError):
                opened.sendall(word)


def wait_for_the_end(error: BaseException) -> None:
    """
    Let the run end quietly where the error is that of a collective with a rank that is gone.

    What matters is what that rank has said. Returns where no rank was lost.
    """
    text = f"{type(error).__name__}: {error}"
    if any(words in text for words in _BROKEN):
        time.sleep(_PATIENCE_S)


def _heard(opened: socket.socket) -> bytes:
    try:
        return opened.recv(1)
    except OSError:
        return b""


def _line(opened: socket.socket) -> str:
    said = b""
    with contextlib.suppress(OSError):
        while not said.endswith(b"\n") and (more := opened.recv(1)):
            said += more
    return said.decode("ascii", "replace").strip()
