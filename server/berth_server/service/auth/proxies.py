"""
Sign-in by a trusted header: who a proxy says that its user is.

On this machine every user can open a connection to the server's port, so a proxy here is known by
the account that it runs as, which the kernel lists for each connection; one elsewhere by its
address.
"""

from __future__ import annotations

import ipaddress
import pwd
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from berth.protocol.message import Message
from berth_server.core.explain.phrases import code
from berth_server.service.auth.callers import Caller, user_name
from berth_server.service.errors import Forbidden

_TABLES = ("tcp", "tcp6")
_ESTABLISHED = "01"  # of closing connections the kernel says that they are root's
End = tuple[str, int]
"""Address and port, as text."""
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True)
class Proxies:
    """The header that names the user, and those who are believed."""

    header: bytes
    uids: frozenset[int]
    """Accounts of proxies on this machine."""
    networks: tuple[Network, ...]
    """Addresses of proxies on others."""

    def caller(
        self, headers: Sequence[tuple[bytes, bytes]], peer: End | None, own: End | None
    ) -> Caller | None:
        """
        Return the user that a trusted proxy names; None where there is none, or nobody trusted.

        `peer` and `own` are the ends of the connection. Raises Forbidden for a name without an account, for root, and for several names.
        """
        names = [value for name, value in headers if name == self.header]
        if not names or not peer or not own or not self._trusts(peer, own):
            return None
        text = names[0].decode("latin-1").strip()
        if len(names) > 1 or not text:
            raise Forbidden(
                "The proxy sent no user name, or several; configure it to replace the header."
            )
        try:
            uid = pwd.getpwnam(text).pw_uid
        except (KeyError, ValueError):
            shown = text[:100].encode("ascii", "replace").decode()
            raise Forbidden(
                f"{shown!r} has no account on this machine; ask an admin for one."
            ) from None
        if uid == 0:
            message = Message.of(
                "Root does not sign in through a proxy; open the link of ", code("berth web"), "."
            )
            raise Forbidden(message)
        return Caller(uid, user_name(uid), "proxy")

    def _trusts(self, peer: End, own: End) -> bool:
        address, own_address = _address(peer[0]), _address(own[0])
        if address is None or own_address is None:
            return False
        here, uid = _owner((address, peer[1]), (own_address, own[1]))
        if here or address.is_loopback or address == own_address:
            return uid in self.uids
        return any(address in network for network in self.networks)


def parse(header: str, trusted: str) -> Proxies | None:
    """
    Read the two settings; None where they are empty.

    Raises ValueError with a sentence that names the fix.
    """
    words = trusted.replace(",", " ").split()
    if not header and not words:
        return None
    if not header or not words:
        raise ValueError(
            "trusted_header and trusted_proxies belong together; set both, or neither."
        )
    uids: set[int] = set()
    networks: list[Network] = []
    for word in words:
        network = _network(word)
        if network is None:
            uids.add(_uid(word))
        elif network.is_loopback:
            raise ValueError(
                f"{word} would trust every user of this machine; name the account that the proxy "
                "runs as, like caddy."
            )
        else:
            networks.append(network)
    return Proxies(header.lower().encode("latin-1"), frozenset(uids), tuple(networks))


def _network(word: str) -> Network | None:
    try:
        return ipaddress.ip_network(word)
    except ValueError:
        return None


def _uid(name: str) -> int:
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        raise ValueError(
            f"{name!r} in trusted_proxies is neither an address nor an account of this machine; "
            "name one, like 10.0.0.5 or caddy."
        ) from None


def _address(text: str) -> Address | None:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = getattr(found, "ipv4_mapped", None)
    return found if mapped is None else mapped


def _owner(
    peer: tuple[Address, int], own: tuple[Address, int], proc: Path = Path("/proc/self/net")
) -> tuple[bool, int | None]:
    """Return whether the other end of a connection is on this machine, and whose it is."""
    here = False
    for table in _TABLES:
        try:
            lines = (proc / table).read_text(encoding="ascii").splitlines()
        except OSError:
            continue
        for local, remote, state, uid in _rows(lines, peer[1]):
            if local == peer and remote == own:
                if state == _ESTABLISHED:
                    return True, uid
                here = True
    return here, None


def _rows(
    lines: Iterable[str], port: int
) -> Iterable[tuple[tuple[Address | None, int], tuple[Address | None, int], str, int]]:
    """Yield local end, remote end, state and owner of the connections from a port."""
    wanted = f":{port:04X}"
    for line in lines:
        fields = line.split()
        if len(fields) > 7 and fields[1].endswith(wanted):
            yield _end(fields[1]), _end(fields[2]), fields[3], int(fields[7])


def _end(text: str) -> tuple[Address | None, int]:
    """Read `0100007F:1F90`: words of four bytes in the machine's order."""
    digits, _, port = text.partition(":")
    words = [int(digits[at : at + 8], 16) for at in range(0, len(digits), 8)]
    packed = b"".join(word.to_bytes(4, "little") for word in words)
    return _address(str(ipaddress.ip_address(packed))), int(port, 16)
