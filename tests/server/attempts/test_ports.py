"""Ports that attempts are given."""

from __future__ import annotations

import socket

import pytest
from tests import ports

from berth_server.service.attempts.ports import Ports


@pytest.fixture
def free_port() -> int:
    """A TCP port that was free a moment ago."""
    return ports.free_port()


def test_a_port_that_was_taken_since_is_not_given_out(free_port):
    """What was seen free longer than a second ago is tried again before it is used."""
    now = [0.0]
    ports = Ports(free_port, free_port, clock=lambda: now[0])
    ports.top_up(())

    with socket.socket() as stranger:
        stranger.bind(("", free_port))
        stranger.listen()
        now[0] += 60.0
        ports.top_up(())
        assert ports.take() is None

    ports.top_up(())
    assert ports.take() == free_port


def test_a_port_that_another_berth_has_claimed_is_passed_over(free_port):
    """Its job's launcher does not listen yet; the name that its shim holds says it."""
    ports = Ports(free_port, free_port)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as shim:
        shim.bind(f"\0berth-port-{free_port}")
        ports.top_up(())
        assert ports.take() is None

    ports.top_up(())
    assert ports.take() == free_port
