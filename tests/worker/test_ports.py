"""Rendezvous ports are tried at the moment of the start, and claimed against other Berths."""

from __future__ import annotations

import socket
import sys

import pytest

from berth_worker.shim import ports


@pytest.fixture(name="worker")
def _worker(shared_worker):
    return shared_worker


@pytest.mark.parametrize("address", ["", "127.0.0.1", "::1"])
def test_a_port_in_use_is_not_started_on(worker, free_port, address):
    """Whichever address the stranger listens at: launchers listen at all of them."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as stranger:
        stranger.bind((address, free_port))
        stranger.listen()
        attempt = worker.run("echo started", gpus=(0,), master_port=free_port)
        ended = worker.until_clear(attempt)

    assert (ended.outcome, ended.port_taken) == ("launch_error", True)
    assert str(free_port) in ended.message
    assert "started\n" not in worker.output(attempt)


def test_a_port_that_another_berth_leased_is_not_started_on(worker, free_port):
    """Its launcher does not listen yet; the claim of its shim is there from the start."""
    first = worker.run(["sleep", "60"], gpus=(0,), master_port=free_port)
    worker.until_phase(first, "running")

    second = worker.run("true", gpus=(1,), master_port=free_port)

    assert worker.until_clear(second).port_taken
    worker.stop(first, grace="0s")
    worker.until_clear(first)
    third = worker.run("true", gpus=(1,), master_port=free_port)
    assert worker.until_clear(third).outcome == "exit"


def test_the_job_itself_can_open_its_port(worker, free_port):
    """The claim is no listener: launchers bind without any option."""
    code = f"import socket; socket.create_server(('', {free_port}), reuse_port=False).accept"
    attempt = worker.run([sys.executable, "-c", code], gpus=(0,), master_port=free_port)

    assert worker.until_clear(attempt).exit.exit_code == 0


def test_a_port_lost_between_start_and_use_is_told_apart(worker, free_port):
    """A stranger who came after the start is reported, so that another port is tried."""
    stranger = socket.socket()
    code = (
        "import pathlib, socket, time\n"
        "while not pathlib.Path('go').exists(): time.sleep(0.01)\n"
        f"try: socket.create_server(('', {free_port}))\n"
        f"except OSError as e: raise SystemExit(f'port: {free_port}, {{e}}')\n"
    )
    attempt = worker.run([sys.executable, "-c", code], gpus=(0,), master_port=free_port)
    worker.until_phase(attempt, "running")
    with stranger:
        stranger.bind(("", free_port))
        stranger.listen()
        (worker.work / "go").touch()
        ended = worker.until_clear(attempt)

    assert (ended.outcome, ended.port_taken) == ("launch_error", True)


def test_lingering_connections_are_no_listener(free_port):
    """A job's own ended connections do not make a stranger of it."""
    with socket.create_server(("127.0.0.1", free_port)) as server:
        near = socket.create_connection(("127.0.0.1", free_port))
        far, _ = server.accept()
        far.close()
        near.recv(1)
        near.close()

    assert not ports.is_used(free_port, lingering=False)
