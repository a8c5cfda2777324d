"""
The nursery: a small warm process that forks shims. `python -I -S nursery.py SHIM FENCE`.

Starting a Python process costs 8 to 20 ms, forking this one about one. Standard library only;
it knows no daemon. Standard input is a socket to the worker: each message is a run directory,
each answer the pid of its shim. When the worker goes, the nursery goes; its shims stay.
"""

from __future__ import annotations

import os
import runpy
import signal
import socket
import sys

_LARGEST_PATH = 4096


def main(shim_path: str, fence_path: str) -> int:
    """Fork a shim for each run directory that arrives, until the worker has gone."""
    shim = runpy.run_path(shim_path)
    shim["load_fence"](fence_path)
    worker = socket.socket(fileno=0)
    # Shims belong to init once they have ended: nobody collects them here.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        message = worker.recv(_LARGEST_PATH)
        if not message:
            return 0
        pid = os.fork()
        if pid == 0:
            _become_a_shim(worker)
            try:
                os._exit(shim["main"](os.fsdecode(message)))
            except BaseException:  # noqa: BLE001 - a shim that cannot even claim its attempt
                os._exit(1)
        worker.send(str(pid).encode())


def _become_a_shim(worker: socket.socket) -> None:
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    worker.detach()
    null = os.open("/dev/null", os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    os.closerange(3, 64)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
