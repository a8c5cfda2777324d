"""The worker's two conversations with the server."""

from __future__ import annotations

import threading

import anyio
import anyio.to_thread

from berth.protocol.internal import WorkerReport
from berth.protocol.states import FenceKind
from berth_worker.link import Link


def test_a_server_that_comes_anew_hears_at_once(idle_worker, until):
    """
    Nothing starts before a server has heard of the box. So it is told when it has been asked
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
            tasks.start_soon(link.tell)
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
            told, known = len(wholes), len(server.reports)
            server.up()
            until(lambda known=known: len(server.reports) > known, "a report to the new server")
            until(lambda told=told: any(wholes[told:]), "it is told all")
    finally:
        over.set()
        thread.join()
