"""HTTPS from files, over a real connection; the unix socket stays as it is."""

from __future__ import annotations

import os
import socket
import ssl
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trustme
from tests.ports import free_port
from tests.server.daemons import START_S, Daemon, new_home

AUTHORITY = trustme.CA()


def certificate(folder: Path, name: str) -> None:
    """Write a certificate for 127.0.0.1 with its key, each in the place of a former one."""
    made = AUTHORITY.issue_cert("127.0.0.1", common_name=name)
    for path in (folder / "key.pem", folder / "cert.pem"):
        path.unlink(missing_ok=True)
    made.private_key_pem.write_to_path(folder / "key.pem")
    made.cert_chain_pems[0].write_to_path(folder / "cert.pem")


@pytest.fixture
def files(tmp_path):
    certificate(tmp_path, "first")
    return tmp_path


@pytest.fixture
def daemon(files, until):
    """A server with HTTPS on a free port."""
    with new_home() as home:
        listen = f"127.0.0.1:{free_port()}"
        made = Daemon(home, listen, tls_certificate=files / "cert.pem", tls_key=files / "key.pem")
        made.start()
        until(made.ready, "the server", START_S)
        yield made
        made.close()


def trusting() -> ssl.SSLContext:
    """What a client has that knows the authority."""
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


def name_of(daemon: Daemon) -> str:
    """Name in the certificate that a new connection gets."""
    host, port = daemon.listen.split(":")
    with (
        socket.create_connection((host, int(port)), timeout=20) as plain,
        trusting().wrap_socket(plain, server_hostname=host) as encrypted,
    ):
        subject: Any = (encrypted.getpeercert() or {})["subject"]
        return dict(pair for pairs in subject for pair in pairs)["commonName"]


def test_the_address_speaks_https_and_the_socket_http(daemon):
    """A client that trusts the certificate gets answers, links begin with https."""
    base = f"https://{daemon.listen}"
    with httpx2.Client(verify=trusting(), base_url=base) as http:
        assert http.get("/healthz").status_code == 200
        assert http.get("/api/v1/me").status_code == 401
        link = daemon.http.post("/api/v1/login-links").json()["url"]
        assert link.startswith(base)
        signed_in = http.get(link.removeprefix(base))
        assert "Secure" in signed_in.headers["set-cookie"]
    with pytest.raises(httpx2.TransportError):
        httpx2.get(f"http://{daemon.listen}/healthz")


def test_renewed_files_are_taken_without_a_restart(daemon, files):
    """The next connection has the new certificate; one that is broken leaves the former."""
    assert name_of(daemon) == "first"
    certificate(files, "second")
    assert name_of(daemon) == "second"
    (files / "cert.pem").write_text("no certificate\n")
    assert name_of(daemon) == "second"
    (files / "key.pem").unlink()
    assert name_of(daemon) == "second"
    certificate(files, "third")
    assert name_of(daemon) == "third"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"tls_key": None}, "belong together"),
        ({"tls_key": "/no/such/key.pem"}, "cannot be read"),
        ({"tls_key": "cert.pem"}, "not a certificate and its key"),
    ],
)
def test_files_that_cannot_be_used_are_told_at_the_start(files, settings, said):
    """In one sentence, and no server starts without encryption instead."""
    paths = {"tls_certificate": "cert.pem"} | settings
    given = {k: files / v for k, v in paths.items() if v is not None}
    with new_home() as home:
        daemon = Daemon(home, f"127.0.0.1:{free_port()}", **given)
        process = daemon.start()
        _, errors = process.communicate(timeout=START_S)
        daemon.close()
    assert process.returncode == 2
    assert said in errors.decode()
    assert os.linesep not in errors.decode().strip()
