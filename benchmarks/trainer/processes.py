"""Processes for each row, as a user's run has: the next ones import while others compute."""

from __future__ import annotations

import multiprocessing
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from results import Result, merged

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

    from rows import Row

GRACE_S = 20.0
"""How long after its deadline a row may take to come to the end of a step."""
LAST_WORDS_S = 4.0
"""How long after one rank's failure the others may still tell of theirs."""
LEAVING_S = 5.0


class Processes:
    """Runs each row in fresh processes, also from several threads; use as a context."""

    def __init__(self, samples: Path, *, ahead: int, sizes: Iterable[int], **how: Any) -> None:
        """
        `sizes`: how many ranks each row has, in order. `ahead`: for how many rows processes
        import beforehand. `how` goes to `runner.run`.
        """
        self._samples, self._how = samples, how
        self._ahead, self._sizes = ahead, iter(sizes)
        self._spares: deque[Team] = deque()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._fill()
        return self

    def __exit__(self, *_: object) -> None:
        for team in self._spares:
            team.kill()

    def run(self, row: Row, *, deadline: float) -> Result:
        """`deadline`: seconds of perf_counter after which it ends with the step, then by force."""
        with self._lock:
            team = self._take(row.ranks)
            self._fill()
        began = time.perf_counter()
        try:
            result = team.run(row, deadline - began)
        finally:
            team.leave()
        return replace(result, seconds=round(time.perf_counter() - began, 1))

    def _take(self, size: int) -> Team:
        """The first spare team of that size; threads may come in another order than rows."""
        for team in self._spares:
            if team.size == size:
                self._spares.remove(team)
                return team
        return Team.start(size, self._samples, self._how)

    def _fill(self) -> None:
        while len(self._spares) < self._ahead:
            size = next(self._sizes, None)
            if size is None:
                return
            self._spares.append(Team.start(size, self._samples, self._how))


@dataclass(frozen=True)
class Team:
    """The ranks of one row, a process each."""

    processes: list[BaseProcess]
    connections: list[Connection]

    @classmethod
    def start(cls, size: int, samples: Path, how: dict[str, Any]) -> Self:
        context = multiprocessing.get_context("spawn")
        processes: list[BaseProcess] = []
        connections: list[Connection] = []
        for rank in range(size):
            mine, theirs = context.Pipe()
            process = context.Process(
                target=_serve, args=(theirs, (rank, size), samples, how), daemon=True
            )
            process.start()
            theirs.close()
            processes.append(process)
            connections.append(mine)
        return cls(processes, connections)

    @property
    def size(self) -> int:
        return len(self.processes)

    def run(self, row: Row, left: float) -> Result:
        """The row's result; who has not answered `GRACE_S` after `left` seconds is not waited for."""
        port = _free_port()  # now: hours may lie between the start of a spare and its row
        for connection in self.connections:
            with suppress(OSError):  # it died: its end of the pipe tells below
                connection.send((row, left, port))
        until = time.perf_counter() + left + GRACE_S
        waiting = {connection: rank for rank, connection in enumerate(self.connections)}
        answers: dict[int, Result | None] = {}
        while waiting and (rest := until - time.perf_counter()) > 0:
            for ready in wait(list(waiting), rest):
                rank = next(rank for one, rank in waiting.items() if one is ready)
                del waiting[self.connections[rank]]
                answer = answers[rank] = self._answer(rank, row)
                if answer.failure:
                    until = min(until, time.perf_counter() + LAST_WORDS_S)
        answers |= dict.fromkeys(waiting.values())
        if not any(answers.values()):
            return Result(row, failure="no step ended within the time left")
        return merged(answers)

    def leave(self) -> None:
        """Let the ranks go; who stays, waiting for another, is killed."""
        for connection in self.connections:
            connection.close()
        until = time.perf_counter() + LEAVING_S
        for process in self.processes:
            process.join(max(0.0, until - time.perf_counter()))
        self.kill()

    def kill(self) -> None:
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.join()

    def _answer(self, rank: int, row: Row) -> Result:
        try:
            return self.connections[rank].recv()
        except (EOFError, OSError):
            process = self.processes[rank]
            process.join(1)
            return Result(row, failure=f"the process died (exit code {process.exitcode})")


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


def environment(*, smoke: bool, rank: int = 0, ranks: int = 1) -> None:
    """As launchers and the trainer prepare it, before torch is imported."""
    if smoke:
        os.environ["BERTH_DEVICES"] = "simulated"
    # A row that overruns is killed in mid-collective, which NVLink multicast may not survive.
    os.environ.setdefault("NCCL_NVLS_ENABLE", "0")
    if ranks > 1:
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": ranks, "LOCAL_WORLD_SIZE": ranks}
        os.environ.update({name: str(number) for name, number in place.items()})
        os.environ["MASTER_ADDR"] = "127.0.0.1"
    from berth_trainer.config.environment import prepare, quieten_warnings, usable_cores
    from berth_trainer.training.ranks import ranks_from

    prepare(os.environ, ranks_from(os.environ), cores=usable_cores())
    quieten_warnings()


def _serve(
    connection: Connection, place: tuple[int, int], samples: Path, how: dict[str, Any]
) -> None:
    """One rank of one row: what takes long to import is there before it is asked for."""
    rank, ranks = place
    environment(smoke=how.pop("smoke"), rank=rank, ranks=ranks)
    import peft  # noqa: F401
    from dialogues import load
    from runner import run
    from transformers.models.gemma3 import modeling_gemma3  # noqa: F401

    from berth_trainer.model import varlen_attention  # noqa: F401
    from berth_trainer.training.ranks import leave

    loaded = load(samples)
    try:
        row, left, port = connection.recv()
    except EOFError:
        leave(0)
    os.environ["MASTER_PORT"] = str(port)
    connection.send(run(row, loaded, deadline=time.perf_counter() + left, **how))
    # No rank goes before all have answered: the others may still talk to it.
    with suppress(EOFError, OSError):
        connection.recv()
    leave(0)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
