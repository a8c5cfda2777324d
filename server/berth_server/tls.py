"""HTTPS from files, which are read anew when they change."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import structlog

log = structlog.get_logger()


class TlsError(Exception):
    """The files cannot be used; the message names the fix."""


class Certificate:
    """A certificate with its key, as two files that something else renews."""

    def __init__(self, certificate: Path, key: Path) -> None:
        """Read both. Raises TlsError."""
        self._files = (certificate, key)
        self._stamp = self._changed()
        self._current = self._load()
        self.context = self._load()
        """For a listener: each new connection gets the files as they are then."""
        self.context.sni_callback = self._choose  # pyright: ignore[reportAttributeAccessIssue] - set, not read

    def _choose(self, connection: ssl.SSLObject, _name: str | None, _context: Any) -> None:
        """Give a connection that begins the present certificate."""
        stamp = self._changed()
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._current = self._load()
                log.info("tls.read_again", certificate=str(self._files[0]))
            except TlsError as error:
                log.warning("tls.kept_the_former", reason=str(error))
        connection.context = self._current

    def _changed(self) -> tuple[tuple[int, int], ...] | None:
        try:
            return tuple((s.st_mtime_ns, s.st_ino) for s in (f.stat() for f in self._files))
        except OSError:
            return None

    def _load(self) -> ssl.SSLContext:
        certificate, key = self._files
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        for path, name in ((certificate, "tls_certificate"), (key, "tls_key")):
            try:
                path.read_bytes()
            except OSError as error:
                raise TlsError(
                    f"{name}: {path} cannot be read ({error.strerror}); name a PEM file that the "
                    "server's user may read."
                ) from None
        try:
            # A key with a password would ask for it at the terminal.
            context.load_cert_chain(certificate, key, password=lambda: b"")
        except (ssl.SSLError, ValueError) as error:
            reason = getattr(error, "reason", None) or str(error)
            raise TlsError(
                f"{certificate} and {key} are not a certificate and its key without a password "
                f"({reason}); give two PEM files that belong together, chain first."
            ) from None
        return context
