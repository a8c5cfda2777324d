"""
Rendezvous port of an attempt, claimed for as long as its shim lives.

A launcher listens seconds after its start. Until then nothing would keep another Berth of the
same box from giving the port to a job of its own, so the shim holds an abstract socket of the
port's name: it exists per network namespace, as ports do, and goes with its process.
"""

from __future__ import annotations

import errno
import socket

NAME = "\0berth-port-{}"


def claim(port: int) -> socket.socket | None:
    """Claim a port that nobody uses; None when another process or another Berth has it."""
    held = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        held.bind(NAME.format(port))
    except OSError:
        held.close()
        return None
    if is_used(port):
        held.close()
        return None
    return held


def is_used(port: int, *, lingering: bool = True) -> bool:
    """
    Return whether a process listens on a port, at any address of this machine.

    `lingering` counts a port that only ended connections still keep.
    """
    for family, anywhere in ((socket.AF_INET6, "::"), (socket.AF_INET, "")):
        try:
            probe = socket.socket(family)
        except OSError:
            continue  # a machine without IPv6
        with probe:
            if not lingering:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                probe.bind((anywhere, port))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:  # without IPv6 it is another
                    return True
    return False
