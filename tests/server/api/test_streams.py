"""Streams of events and logs, from a daemon that runs."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from tests.server.daemons import SPEC, Stream, started, submit


def test_events_stream_as_they_happen_and_resume_without_loss(daemon, until):
    """The second stream goes on after the last id of the first: none missed, none twice."""
    first = Stream(daemon, "/api/v1/events/stream")
    job_id = submit(daemon, hold=True)
    until(lambda: first.messages, "the event came")
    kind, last, data, _ = first.messages[-1]
    assert (kind, data["kind"], data["job_id"]) == ("message", "job.submitted", job_id)
    assert str(data["id"]) == last
    more = [
        job["id"]
        for job in daemon.http.post("/api/v1/jobs", json=[SPEC | {"hold": True}] * 30).json()
    ]
    again = Stream(daemon, "/api/v1/events/stream", {"Last-Event-ID": last})
    until(lambda: len(again.messages) == 30, "everything since came")
    assert [data["job_id"] for _, _, data, _ in again.messages] == more
    other = Stream(daemon, f"/api/v1/events/stream?after=0&job={more[6]}")
    until(lambda: other.messages, "one job's events came")
    assert {data["job_id"] for _, _, data, _ in other.messages} == {more[6]}


@pytest.mark.parametrize("told", ["9" * 5000, "-1", "1e9", "1_0", ""])
def test_an_event_id_that_is_none_begins_with_now(daemon, until, told):
    """Whatever a client sends as the last id that it saw."""
    stream = Stream(daemon, "/api/v1/events/stream", {"Last-Event-ID": told})
    job_id = submit(daemon, hold=True)
    until(lambda: stream.messages, "the event came")
    assert stream.messages[0][2]["job_id"] == job_id
    Stream(daemon, f"/api/v1/jobs/{job_id}/log/stream", {"Last-Event-ID": told})


def test_an_event_id_of_another_database_begins_with_now(daemon, until):
    """A client that remembers more than there ever was is not left waiting for it."""
    stream = Stream(daemon, "/api/v1/events/stream", {"Last-Event-ID": "999999"})
    submit(daemon, hold=True)
    until(lambda: stream.messages, "the event came")


def test_a_log_is_followed_from_before_its_start_to_its_end(daemon, until):
    """Pieces join to the whole; each tells its offset; the end tells how it went."""
    job_id = submit(daemon, gpus=0, hold=True)
    attempt = f"{job_id}.1"
    stream = Stream(daemon, f"/api/v1/jobs/{job_id}/log/stream")
    daemon.report()
    daemon.http.post(f"/api/v1/jobs/{job_id}/release")
    (wanted,) = (one for one in daemon.desired() if one["attempt"] == attempt)
    log = Path(wanted["run_dir"], "output.log")
    log.parent.mkdir(parents=True)
    text = "größe 東京 🚢\n"
    with log.open("wb", buffering=0) as out:
        for byte in text.encode():
            out.write(bytes([byte]))
    until(lambda: "".join(d["text"] for d in stream.named("log")) == text, "the line came")
    daemon.report(daemon.seen(attempt, "running"))
    with log.open("ab", buffering=0) as out:
        out.write(b"last \xf0\x9f")  # a character that never becomes whole
    daemon.end(attempt, 3)
    until(stream.closed.is_set, "the stream ended")
    pieces = stream.named("log")
    assert "".join(d["text"] for d in pieces) == f"{text}last \ufffd"
    place = 0
    for piece in pieces[:-1]:
        assert piece["offset"] == place
        place += len(piece["text"].encode())
    (end,) = stream.named("end")
    assert (end["attempt"], end["exit_code"], end["job_state"]) == (attempt, 3, "failed")
    assert end["size_bytes"] == log.stat().st_size


def test_a_log_stream_resumes_where_it_was(daemon, until):
    """Last-Event-ID is the offset; a negative offset counts from the end."""
    attempt, log = started(daemon)
    log.write_bytes(b"0123456789")
    path = f"/api/v1/jobs/{attempt[:-2]}/log/stream"
    resumed = Stream(daemon, path, {"Last-Event-ID": "4"})
    tail = Stream(daemon, f"{path}?offset=-3")
    until(lambda: resumed.messages and tail.messages, "both came")
    assert resumed.named("log") == [{"attempt": attempt, "offset": 4, "text": "456789"}]
    assert tail.named("log") == [{"attempt": attempt, "offset": 7, "text": "789"}]
    assert resumed.messages[0][1] == "10"


def test_a_followed_line_comes_at_once(daemon, until):
    """Well under the 100 ms that are promised, for a line now and then."""
    attempt, log = started(daemon)
    log.touch()
    stream = Stream(daemon, f"/api/v1/jobs/{attempt[:-2]}/log/stream")
    delays = []
    for i in range(20):
        written = time.monotonic()
        with log.open("a") as out:
            out.write(f"line {i}\n")
        until(lambda i=i: len(stream.named("log")) > i, "the line came", 5)
        delays.append(stream.messages[i][3] - written)
    assert sorted(delays)[10] < 0.1


def test_a_job_that_ends_without_an_attempt_ends_its_stream(daemon, until):
    """A cancelled queued job has no log to wait for."""
    job_id = submit(daemon, hold=True)
    stream = Stream(daemon, f"/api/v1/jobs/{job_id}/log/stream")
    daemon.http.post(f"/api/v1/jobs/{job_id}/cancel")
    until(stream.closed.is_set, "the stream ended")
    assert stream.named("end")[0]["job_state"] == "cancelled"
