"""Sign-in by a trusted header, over real connections from this and other accounts."""

from __future__ import annotations

import ipaddress
import os
import pwd
import subprocess
import sys

import httpx2
import pytest
from tests.ports import free_port
from tests.server.daemons import START_S, Daemon, new_home

from berth_server.service.auth import proxies
from berth_server.service.errors import Forbidden

ME = pwd.getpwuid(os.getuid()).pw_name
ADA = next(one for one in pwd.getpwall() if one.pw_uid not in {0, os.getuid()})
HEADER = "X-Forwarded-User"
HERE = {HEADER: ADA.pw_name}


@pytest.fixture(scope="module")
def servers():
    """Servers by the proxies that they trust, each started when it is first wanted."""
    started: dict[str, Daemon] = {}
    homes = []

    def trusting(accounts: str) -> str:
        if accounts not in started:
            home = new_home()
            homes.append(home)
            made = Daemon(
                home.__enter__(),
                f"127.0.0.1:{free_port()}",
                trusted_header=HEADER,
                trusted_proxies=accounts,
            )
            made.start()
            _await(made)
            started[accounts] = made
        return f"http://{started[accounts].listen}/api/v1"

    yield trusting
    for daemon in started.values():
        daemon.close()
    for home in homes:
        home.__exit__(None, None, None)


def _await(daemon: Daemon) -> None:
    from tests.conftest import until

    until(daemon.ready, "the server", START_S)


def test_a_proxy_of_this_machine_names_the_user(servers):
    """Known by its account; the user has no more rights than with a cookie."""
    base = servers(ME)
    me = httpx2.get(f"{base}/me", headers=HERE).json()
    assert (me["user"], me["uid"], me["via"]) == (ADA.pw_name, ADA.pw_uid, "proxy")
    assert httpx2.get(f"{base}/me").status_code == 401


def test_changes_must_come_from_the_dashboards_pages(servers):
    """The proxy's own cookie goes along with a forged request too."""
    url = f"{servers(ME)}/jobs"
    spec = {"command": "true", "workdir": "/", "hold": True}
    forged = {**HERE, "Sec-Fetch-Site": "cross-site"}
    assert httpx2.post(url, json=spec, headers=forged).status_code == 403
    own = {**HERE, "Sec-Fetch-Site": "same-origin"}
    answer = httpx2.post(url, json=spec, headers=own)
    assert answer.status_code in {201, 403}  # 403: a server that is not root runs only its own
    assert answer.status_code == 201 or "own pages" not in answer.text


@pytest.mark.parametrize("value", ["root", "no-such-user", "", "ada@lab.example.org"])
def test_a_name_that_is_no_user_is_refused(servers, value):
    """Root signs in on the box itself."""
    assert httpx2.get(f"{servers(ME)}/me", headers={HEADER: value}).status_code == 403


def test_two_names_are_refused(servers):
    """A client's own header, to which a careless proxy has added its own."""
    twice = [(HEADER, ADA.pw_name), (HEADER, ME)]
    assert httpx2.get(f"{servers(ME)}/me", headers=twice).status_code == 403


def test_nobody_else_is_believed(servers):
    """The header of another account, and of an address that is this machine's, is ignored."""
    for trusted in (ADA.pw_name, "10.1.2.3"):
        assert httpx2.get(f"{servers(trusted)}/me", headers=HERE).status_code == 401


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_another_user_of_this_machine_is_not_believed(servers):
    """Though the connection comes from the same address as the proxy's."""
    script = (
        "import encodings.idna, os, socket, sys\n"
        f"os.setgid({ADA.pw_gid}); os.setuid({ADA.pw_uid})\n"
        "line = socket.create_connection((sys.argv[1], int(sys.argv[2])))\n"
        "line.sendall(sys.argv[3].encode()); print(line.recv(100).split()[1].decode())\n"
    )
    host, _, port = servers(ME).split("/")[2].partition(":")
    request = f"GET /api/v1/me HTTP/1.1\r\nHost: berth\r\n{HEADER}: {ADA.pw_name}\r\n\r\n"
    command = [sys.executable, "-c", script, host, port, request]
    done = subprocess.run(command, capture_output=True, check=True)
    assert done.stdout.strip() == b"401"


def test_a_closing_connection_is_nobodys(tmp_path):
    """The kernel says of one that it is root's."""
    head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n"
    row = "   0: 0100007F:D431 0100007F:1F90 {} 00000000:00000000 00:00000000 00000000     0  0 1\n"
    loopback = ipaddress.ip_address("127.0.0.1")
    ends = ((loopback, 0xD431), (loopback, 0x1F90))
    for state, expected in (("01", (True, 0)), ("05", (True, None)), ("06", (True, None))):
        (tmp_path / "tcp").write_text(head + row.format(state))
        assert proxies._owner(*ends, proc=tmp_path) == expected
    assert proxies._owner((loopback, 1), ends[1], proc=tmp_path) == (False, None)


def test_a_proxy_elsewhere_is_known_by_its_address():
    """Also in a network, and mapped into IPv6; its neighbour is not."""
    found = proxies.parse(HEADER, "10.0.0.0/30, fd00::7")
    assert found is not None
    headers = [(HEADER.lower().encode(), ADA.pw_name.encode())]
    own = ("10.9.9.9", 8787)
    for peer in ("10.0.0.2", "::ffff:10.0.0.2", "fd00::7"):
        caller = found.caller(headers, (peer, 1), own)
        assert caller is not None
        assert caller.uid == ADA.pw_uid
    for peer in ("10.0.0.4", "fd00::8", "10.9.9.9", "127.0.0.1", "not an address"):
        assert found.caller(headers, (peer, 1), own) is None
    with pytest.raises(Forbidden):
        found.caller([(HEADER.lower().encode(), b"root")], ("10.0.0.2", 1), own)


@pytest.mark.parametrize(
    ("header", "trusted", "said"),
    [
        (HEADER, "", "belong together"),
        ("", "10.0.0.5", "belong together"),
        (HEADER, "127.0.0.1", "every user of this machine"),
        (HEADER, "::1", "every user of this machine"),
        (HEADER, "no-such-account", "neither an address nor an account"),
    ],
)
def test_settings_that_would_trust_everybody_are_refused(header, trusted, said):
    """Each with the fix."""
    with pytest.raises(ValueError, match=said):
        proxies.parse(header, trusted)
