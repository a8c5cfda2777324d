"""`berth top` on a real terminal: its keys act on the queue."""

from __future__ import annotations


def test_keys_choose_and_cancel_a_job(queue, sit_at):
    """With a question between; `q` leaves."""
    job = queue.submit(command=["sleep", "600"], gpus=1, name="unwanted", grace="1s")
    queue.wait(job, state={"running"})
    terminal = sit_at("top", "--every", "1m")
    terminal.see("unwanted")
    terminal.type("\x1b[B")
    terminal.type("k")
    terminal.see(rf"Cancel job {job}\?")
    terminal.type("n")
    terminal.see("q quit")
    assert queue.job(job)["state"] == "running"
    terminal.type("ky")
    terminal.see(f"Job {job} is cancelled")
    assert queue.wait(job)[0]["state"] == "cancelled"
    terminal.type("q")
    assert terminal.leave() == 0
