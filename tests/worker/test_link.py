"""The worker's two conversations with the server."""

from __future__ import annotations

import asyncio
import socket
import threading
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

import anyio
import anyio.to_thread

from berth.protocol.internal import DesiredState, WorkerReport
from berth.protocol.states import FenceKind
from berth_worker.server_link.link import Link
from berth_worker.server_link.unix_http import Channel


def test_a_server_that_restarts_hears_at_once(idle_worker, until):
    """
    Nothing starts before a server knows the box. So it gets a report when it has been asked
    what should run, not with the next look at the devices; and all, not only what is new.
    """
    server = idle_worker.server
    wholes: list[bool] = []
    frame = WorkerReport(worker_id="w", boot_id="b", fence=FenceKind.ADVISORY, version="0")

    def report(whole: bool) -> bytes:
        wholes.append(whole)
        return frame.model_dump_json().encode()

    link = Link(idle_worker.socket, report, lambda: None)
    over = threading.Event()

    async def talk() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(link.send_reports)
            tasks.start_soon(link.listen, lambda _: None)
            await anyio.to_thread.run_sync(over.wait)
            tasks.cancel_scope.cancel()
            link.close()

    thread = threading.Thread(target=anyio.run, args=(talk,))
    server.up()
    thread.start()
    try:
        until(lambda: server.reports, "the first report")
        for _ in range(2):
            server.down()
            before, known = len(wholes), len(server.reports)
            server.up()
            until(lambda known=known: len(server.reports) > known, "a report to the new server")
            until(lambda before=before: any(wholes[before:]), "it gets everything")
    finally:
        over.set()
        thread.join()


def test_a_new_server_is_asked_as_one_that_may_have_come_to_the_same_generation():
    """Asked for anything after its own generation it would answer nothing for half a minute."""
    asked: list[str] = []
    heard: list[DesiredState] = []
    with TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        path = Path(folder) / "server.sock"  # under pytest's own folders it could be too long
        listener.bind(str(path))
        listener.listen()
        answering = threading.Thread(target=_answer, args=(listener, asked))
        answering.start()
        link = Link(path, lambda _: b"", lambda: None)

        async def listen() -> None:
            def hear(desired: DesiredState) -> None:
                heard.append(desired)
                if len(heard) == 2:
                    tasks.cancel_scope.cancel()
                    link.close()

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(link.listen, hear)

        anyio.run(listen)
        answering.join()
    assert ["after=7" in target for target in asked] == [False, True, False]


def _answer(listener: socket.socket, asked: list[str]) -> None:
    """Generation 7 at once; what is asked after it is cut off, and another server has 7 too."""
    body = DesiredState(generation=7).model_dump_json().encode()
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    for _ in range(2):
        connection, _ = listener.accept()
        with connection, connection.makefile("rb") as lines:
            if target := _next_target(lines):
                asked.append(target)
                connection.sendall(answer)
            if target := _next_target(lines):
                asked.append(target)


def _next_target(lines: BinaryIO) -> str:
    """The first line of a request that is read to its end; empty where there is none."""
    target = lines.readline().decode()
    while lines.readline().strip():
        pass
    return target


def test_answers_are_read_whole_and_belong_to_their_request():
    """
    In pieces or at once; after a request that was given up its late answer reaches no other, and a
    connection that the server closed meanwhile is replaced.
    """
    connections = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while (head := await reader.readline()) not in {b"", b"\r\n"}:
            while await reader.readline() != b"\r\n":
                pass
            target = head.split()[1]
            if target == b"/late":
                await asyncio.sleep(0.05)
            whole = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(target), target)
            for at in range(0, len(whole), 7):
                writer.write(whole[at : at + 7])
                await writer.drain()
                await asyncio.sleep(0)
            if target == b"/last":
                break
        writer.close()

    async def talk(path: Path) -> None:
        server = await asyncio.start_unix_server(answer, path)
        channel = Channel(path, 10)
        assert await channel.ask("GET", "/first") == b"/first"
        with anyio.move_on_after(0.01):
            await channel.ask("GET", "/late")
        assert await channel.ask("GET", "/second") == b"/second"
        assert connections == 2
        assert await channel.ask("GET", "/last") == b"/last"
        assert await channel.ask("GET", "/third") == b"/third"
        assert connections == channel.connections == 3
        channel.close()
        server.close()

    with TemporaryDirectory(dir="/tmp") as folder:
        anyio.run(talk, Path(folder) / "s")
