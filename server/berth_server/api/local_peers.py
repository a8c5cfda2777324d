"""
Users behind TCP connections from this machine, for limits alone: nobody is identified by it.

The kernel's socket diagnostics tell the owner of a socket by its two addresses. Without it all
users of the machine would share the limits of one address, and one could use them up.
"""

from __future__ import annotations

import socket
import struct

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST = 1
_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
# Family, protocol, extensions, padding, states; ports and addresses; interface, no cookie.
_REQUEST = struct.Struct("=BBBBI2s2s16s16sI8s")
_ANSWER = struct.Struct("=BBBB48xIIIII")  # family, …; …, …, …, uid, inode
_ANY = b"\xff" * 8


class LocalPeers:
    """Asks the kernel; answers None where it does not know."""

    def __init__(self) -> None:
        self._kernel: socket.socket | None = None
        try:
            self._kernel = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, _NETLINK_SOCK_DIAG
            )
        except OSError:  # not in this container
            return

    def uid(self, connection: socket.socket) -> int | None:
        """Return the owner of the socket at the other end, if that is on this machine."""
        if self._kernel is None:
            return None
        try:
            question = _question(connection.getpeername(), connection.getsockname())
            self._kernel.send(question)
            answer = self._kernel.recv(4096)
        except (OSError, ValueError):
            return None
        kind = _HEADER.unpack_from(answer)[1]
        if kind != _SOCK_DIAG_BY_FAMILY or len(answer) < _HEADER.size + _ANSWER.size:
            return None
        *_, uid, inode = _ANSWER.unpack_from(answer, _HEADER.size)
        # A socket that its program has closed belongs to nobody any more.
        return uid if inode else None


def _question(peer: tuple[object, ...], own: tuple[object, ...]) -> bytes:
    """Return the request for the peer's socket, whose own address is `peer`."""
    addresses = [str(peer[0]).partition("%")[0], str(own[0]).partition("%")[0]]
    if all(one.startswith("::ffff:") for one in addresses):
        addresses = [one.removeprefix("::ffff:") for one in addresses]
    family = socket.AF_INET6 if ":" in addresses[0] else socket.AF_INET
    source, target = (socket.inet_pton(family, one).ljust(16, b"\0") for one in addresses)
    ports = (int(str(one[1])).to_bytes(2, "big") for one in (peer, own))
    body = _REQUEST.pack(
        family, socket.IPPROTO_TCP, 0, 0, 0xFFFFFFFF, *ports, source, target, 0, _ANY
    )
    return _HEADER.pack(_HEADER.size + len(body), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 0, 0) + body
