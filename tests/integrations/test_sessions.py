"""Terminals on GPUs: real pseudo-terminals on both sides, a real server and worker between."""

from __future__ import annotations

import os
import time


def test_a_shell_on_a_gpu_outlives_terminal_and_daemons(queue, sit_at):
    """It has a terminal and the lease; detached it goes on, attached it is as it was."""
    first = sit_at("shell", "--gpus", "1", "--", "/bin/bash", "--norc", "-i")
    job = first.attached()
    first.type("tty; echo seen=$CUDA_VISIBLE_DEVICES; stty size; X=kept\n")
    first.see(r"/dev/pts/\d+")
    first.see(r"seen=0")
    first.see(r"40 100")
    first.type("\x1d")
    first.see("Detached")
    assert first.leave() == 0
    queue.kill("server", "worker")
    queue.start()
    assert queue.job(job)["state"] == "running"

    second = sit_at("attach", str(job))
    assert second.attached() == job
    second.see(r"seen=0")  # the end of what was there
    second.type("echo still=$X; exit 7\n")
    second.see("still=kept")
    assert second.leave() == 7
    ended = queue.wait(job)[0]
    assert (ended["state"], ended["exit_code"], ended["gpus"]) == ("failed", 7, 1)
    assert "seen=0" in queue.log(job)


def test_a_lost_connection_ends_nothing(queue, sit_at):
    """As when ssh breaks; then the program sees the new terminal's size."""
    first = sit_at("shell", "--gpus", "0", "--", "/bin/bash", "--norc", "-i")
    job = first.attached()
    os.kill(first.pid, 9)
    first.leave()
    assert queue.job(job)["state"] == "running"
    second = sit_at("attach", str(job))
    second.resize(24, 80)
    second.attached()
    second.resize(30, 90)
    second.type("stty size\n")
    second.see("30 90")
    second.type("exit\n")
    assert second.leave() == 0


def test_a_cancel_ends_a_shell(queue, sit_at):
    """Which ignores SIGTERM: it is hung up, long before its grace is over."""
    terminal = sit_at("shell", "--gpus", "0", "--grace", "1h", "--", "/bin/bash", "--norc", "-i")
    job = terminal.attached()
    terminal.type("echo ready\n")
    terminal.see("ready\r")
    queue.post(f"/jobs/{job}/cancel")
    terminal.see("is being stopped")
    terminal.leave()
    assert queue.wait(job)[0]["state"] == "cancelled"


def test_an_idle_session_is_told_and_ended(queue, sit_at):
    """Beforehand, and in the log."""
    terminal = sit_at("shell", "--gpus", "0", "--idle", "2s", "--", "/bin/bash", "--norc", "-i")
    job = terminal.attached()
    terminal.see("the session ends in 1 s")
    terminal.see("so the session ends")
    terminal.leave()
    queue.wait(job)
    assert "nothing happened for 2 s" in queue.log(job)


def test_ctrl_c_goes_to_the_program(queue, sit_at):
    """And not to the queue."""
    terminal = sit_at("shell", "--gpus", "0", "--", "sleep", "600")
    job = terminal.attached()
    time.sleep(0.2)
    terminal.type("\x03")
    assert terminal.leave() == 130
    assert queue.wait(job)[0]["exit_code"] == 130


def test_a_session_that_waits_is_cancelled_by_ctrl_c(queue, sit_at):
    """It says what it waits for; nobody would be there when it starts."""
    holder = queue.submit(command=["sleep", "600"], gpus=2)
    queue.wait(holder, state={"running"})
    terminal = sit_at("shell", "--gpus", "1")
    terminal.see("is queued")
    time.sleep(0.3)
    terminal.type("\x03")
    terminal.see("was cancelled")
    assert terminal.leave() == 130
    queue.post(f"/jobs/{holder}/cancel")
    queue.wait(holder)


def test_other_jobs_have_no_terminal(queue, sit_at):
    """A sentence says what there is."""
    job = queue.submit(command=["true"], gpus=0)
    queue.wait(job)
    terminal = sit_at("attach", str(job))
    terminal.see(f"Job {job} succeeded")
    assert terminal.leave() == 0
