"""A process for each row, as a user's run has: the next ones import while others compute."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

    from rows import Row
    from runner import Result

GRACE_S = 20.0
"""How long after its deadline a row may take to come to the end of a step."""


class Processes:
    """Runs each row in a fresh process, also from several threads; use as a context."""

    def __init__(self, samples: Path, *, ahead: int, **how: Any) -> None:
        """`ahead`: processes that import beforehand. `how` goes to `runner.run`."""
        self._samples, self._how = samples, how
        self._ahead = ahead
        self._spares: deque[tuple[BaseProcess, Connection]] = deque()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._fill()
        return self

    def __exit__(self, *_: object) -> None:
        for process, _connection in self._spares:
            process.kill()

    def run(self, row: Row, *, deadline: float) -> Result:
        """`deadline`: seconds of perf_counter after which it ends with the step, then by force."""
        from runner import Result

        with self._lock:
            process, connection = self._spares.popleft()
            self._fill()
        began = time.perf_counter()
        connection.send((row, deadline - began))
        if not connection.poll(deadline - began + GRACE_S):
            result = Result(row, failure="no step ended within the time left")
            process.kill()
        else:
            try:
                result = connection.recv()
            except EOFError:
                result = Result(row, failure="the process died")
        process.join()
        return replace(result, seconds=round(time.perf_counter() - began, 1))

    def _fill(self) -> None:
        context = multiprocessing.get_context("spawn")
        while len(self._spares) < self._ahead:
            mine, theirs = context.Pipe()
            process = context.Process(
                target=_serve, args=(theirs, self._samples, self._how), daemon=True
            )
            process.start()
            theirs.close()
            self._spares.append((process, mine))


class Card:
    """So much room, in GiB; rows wait until there is enough for them, in order."""

    def __init__(self, room: float) -> None:
        self._room = self._free = room
        self._changed = threading.Condition()

    @contextmanager
    def room_for(self, row: Row) -> Iterator[None]:
        needed = self._room if row.room is None else min(row.room, self._room)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= needed)
            self._free -= needed
        try:
            yield
        finally:
            with self._changed:
                self._free += needed
                self._changed.notify_all()


def environment(*, smoke: bool) -> None:
    """As the trainer prepares it for itself, before torch is imported."""
    if smoke:
        os.environ["BERTH_DEVICES"] = "simulated"
    from berth_trainer.environment import prepare, quieten_warnings, usable_cores
    from berth_trainer.ranks import ranks_from

    prepare(os.environ, ranks_from(os.environ), cores=usable_cores())
    quieten_warnings()


def _serve(connection: Connection, samples: Path, how: dict[str, Any]) -> None:
    """One row: what takes long to import is there before it is asked for."""
    environment(smoke=how.pop("smoke"))
    import peft  # noqa: F401
    from dialogues import load
    from runner import run
    from transformers.models.gemma3 import modeling_gemma3  # noqa: F401

    from berth_trainer import persona_trainer, varlen_attention  # noqa: F401

    loaded = load(samples)
    row, left = connection.recv()
    connection.send(run(row, loaded, deadline=time.perf_counter() + left, **how))
