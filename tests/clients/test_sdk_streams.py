"""Following and waiting: every byte once, across breaks, restarts and attempts."""

from __future__ import annotations

import time

import httpx2
import pytest

import berth

LOG = "/api/v1/jobs/42/log"
STREAM = f"{LOG}/stream"
JOB = "/api/v1/jobs/42"
EVENTS = "/api/v1/events/stream"


@pytest.fixture
def client(fake, wire):
    fake.answer("GET", JOB, wire.job(state="running", attempts=[wire.attempt()]))
    with berth.Client(patience=2.0) as client:
        yield client


def chunk(offset: int, text: str, attempt: str = "42.1", size: int | None = None):
    end = offset + (len(text.encode()) if size is None else size)
    return ("log", str(end), {"attempt": attempt, "offset": offset, "text": text})


def end(size: int, state: str = "succeeded", attempt: str | None = "42.1"):
    return ("end", "", {"attempt": attempt, "size_bytes": size, "job_state": state})


def event(number: int, job_id: int = 42, kind: str = "job.succeeded"):
    moment = "2026-11-24T03:00:00Z"
    facts = {"id": number, "time": moment, "kind": kind, "actor": "system", "message": "."}
    return ("", str(number), {**facts, "job_id": job_id})


class TestFollowLog:
    def test_every_byte_until_the_end(self, client, fake, wire):
        """The pieces put together are the log."""
        fake.answer("GET", STREAM, wire.sse(chunk(0, "one\n"), chunk(4, "zwölf\n"), end(11)))

        pieces = list(client.follow_log(42))

        assert b"".join(piece.data for piece in pieces) == "one\nzwölf\n".encode()
        assert [piece.offset for piece in pieces] == [0, 4]
        assert pieces[-1].end == 11

    def test_a_break_goes_on_at_the_byte(self, client, fake, wire):
        """After a lost connection the very same attempt goes on where it was."""
        fake.answer(
            "GET",
            STREAM,
            wire.sse(chunk(0, "one\n"), broken=True),
            httpx2.ConnectError("restarting"),
            wire.sse(chunk(4, "two\n"), ("bye", "", {})),
            wire.sse(end(8)),
        )

        assert b"".join(piece.data for piece in client.follow_log(42)) == b"one\ntwo\n"
        asked = [dict(request.url.params) for request in fake.sent(STREAM)]
        assert asked == [
            {"offset": "0"},
            {"offset": "4", "attempt": "1"},
            {"offset": "4", "attempt": "1"},
            {"offset": "8", "attempt": "1"},
        ]

    def test_bytes_that_are_no_text_come_as_they_are(self, client, fake, wire):
        """The stream carries text; what that cannot carry is fetched."""
        fake.answer(
            "GET", STREAM, wire.sse(chunk(0, "a\N{REPLACEMENT CHARACTER}b", size=3), end(3))
        )
        fake.answer("GET", LOG, httpx2.Response(200, content=b"a\xffb"))

        assert b"".join(piece.data for piece in client.follow_log(42)) == b"a\xffb"
        params = fake.sent(LOG)[0].url.params
        assert (params["offset"], params["limit"], params["attempt"]) == ("0", "3", "1")

    def test_it_goes_on_with_the_next_attempt(self, client, fake, wire):
        """A job that is tried again is followed through all of its attempts."""
        first, second = wire.attempt(), wire.attempt(number=2)
        fake.answer(
            "GET",
            JOB,
            wire.job(state="running", attempts=[first]),
            wire.job(state="queued", attempts=[first]),
            wire.job(state="running", attempts=[first, second]),
        )
        fake.answer("GET", EVENTS, wire.sse(event(8, kind="job.running")))
        fake.answer(
            "GET",
            STREAM,
            wire.sse(chunk(0, "bad\n"), end(4, "queued")),
            wire.sse(chunk(0, "good\n", "42.2"), end(5, attempt="42.2")),
        )

        pieces = list(client.follow_log(42))

        assert [(piece.attempt, piece.data) for piece in pieces] == [
            ("42.1", b"bad\n"),
            ("42.2", b"good\n"),
        ]
        assert fake.sent(STREAM)[1].url.params["attempt"] == "2"

    def test_one_attempt_alone(self, client, fake, wire):
        """With `until="attempt"` what follows is left alone."""
        fake.answer("GET", STREAM, wire.sse(chunk(4, "bad\n"), end(8, "queued")))

        pieces = list(client.follow_log(42, attempt=1, offset=4, until="attempt"))

        assert [piece.data for piece in pieces] == [b"bad\n"]

    def test_a_job_that_never_started_ends_it(self, client, fake, wire):
        """A job cancelled in the queue has no log, and following it comes to an end."""
        fake.answer("GET", STREAM, wire.sse(end(0, "cancelled", attempt=None)))

        assert list(client.follow_log(42)) == []

    def test_patience_ends(self, fake, wire):
        """A server that does not come back is reported."""
        fake.answer("GET", JOB, wire.job())
        fake.answer("GET", STREAM, httpx2.ConnectError("gone"))

        with berth.Client(patience=0.2) as client, pytest.raises(berth.Unreachable):
            list(client.follow_log(42))

    def test_no_such_job_is_reported_at_once(self, client, fake, wire):
        """A wrong id is not waited for."""
        fake.answer("GET", JOB, wire.problem(404, "There is no job 42."))

        with pytest.raises(berth.NotFound, match="no job 42"):
            list(client.follow_log(42))


class TestReadLog:
    @pytest.fixture
    def log(self, fake):
        def serve(content: bytes) -> None:
            def answer(request: httpx2.Request) -> httpx2.Response:
                offset = int(request.url.params["offset"])
                first = max(0, len(content) + offset) if offset < 0 else offset
                data = content[first : first + int(request.url.params["limit"])]
                headers = {"Berth-Log-Offset": str(first), "Berth-Attempt": "42.1"}
                return httpx2.Response(200, content=data, headers=headers)

            fake.answer("GET", LOG, answer)

        return serve

    @pytest.mark.parametrize(
        ("content", "lines", "expected"),
        [
            (b"a\nb\nc\n", 2, b"b\nc\n"),
            (b"a\nb\nc", 2, b"b\nc"),
            (b"a\nb\nc\n", 3, b"a\nb\nc\n"),
            (b"a\nb\nc\n", 9, b"a\nb\nc\n"),
            (b"a\nb\n", 0, b""),
            (b"", 5, b""),
            (b"\n\n\n", 2, b"\n\n"),
            (b"x" * 5000 + b"\n" + b"y" * 3000 + b"\nz\n", 2, b"y" * 3000 + b"\nz\n"),
        ],
    )
    def test_the_last_lines(self, client, log, content, lines, expected):
        """The tail is exactly the last lines, wherever they begin, and ends at the end."""
        log(content)

        pieces = list(client.read_log(42, lines=lines))

        assert b"".join(piece.data for piece in pieces) == expected
        assert pieces[-1].end == len(content)

    def test_the_whole_log_comes_in_pieces(self, client, log):
        """A log of any size is read without holding it whole."""
        content = bytes(range(256)) * 10_000
        log(content)

        pieces = list(client.read_log(42))

        assert b"".join(piece.data for piece in pieces) == content
        assert len(pieces) == 3
        assert client.log(42, offset=-10, limit=4) == content[-10:-6]


class TestWait:
    def test_it_ends_when_an_event_tells_the_end(self, client, fake, wire):
        """Jobs are looked at when something happened to them, and not otherwise."""
        running, done = wire.job(state="running"), wire.job(state="succeeded")
        fake.answer("GET", JOB, running, done)
        fake.answer("GET", EVENTS, wire.sse(event(8, job_id=1), event(9, job_id=2), event(10)))

        (job,) = client.wait(42)

        assert job.state == "succeeded"
        assert len(fake.sent(JOB)) == 2
        assert fake.sent(EVENTS)[0].url.params["after"] == "7"

    def test_what_happened_during_a_break_is_not_missed(self, client, fake, wire):
        """After a break the stream goes on after the last event, and jobs are looked at again."""
        running, done = wire.job(state="running"), wire.job(state="failed", exit_code=3)
        fake.answer("GET", JOB, running, running, done)
        fake.answer("GET", EVENTS, wire.sse(event(8, job_id=1), broken=True), wire.sse())

        (job,) = client.wait([42])

        assert job.exit_code == 3

    def test_several_in_the_order_asked_for(self, client, fake, wire):
        """Jobs that ended before are not waited for."""
        fake.answer("GET", "/api/v1/jobs/1", wire.job(1, state="succeeded"))
        fake.answer("GET", "/api/v1/jobs/2", wire.job(2, state="cancelled"))

        assert [job.id for job in client.wait([2, 1, 2])] == [2, 1, 2]

    def test_the_timeout_is_kept_and_names_what_is_left(self, client, fake, wire):
        """A wait with a timeout ends on time with the jobs that go on."""
        fake.answer("GET", "/api/v1/jobs/1", wire.job(1, state="succeeded"))
        fake.answer("GET", EVENTS, wire.sse())

        began = time.monotonic()
        with pytest.raises(berth.WaitTimeout, match=r"Job 42 has not ended after 0\.3 s"):
            client.wait([1, 42], timeout=0.3)
        assert 0.25 < time.monotonic() - began < 3


def test_events_are_followed_without_gap_or_repetition(client, fake, wire):
    """Across breaks each event comes once, in order."""
    fake.answer(
        "GET",
        EVENTS,
        wire.sse(event(8), event(9), broken=True),
        wire.sse(event(9), event(10), ("bye", "", {})),
        wire.sse(event(11)),
    )

    events = client.follow_events(after=7)

    assert [next(events).id for _ in range(4)] == [8, 9, 10, 11]
    assert [request.url.params["after"] for request in fake.sent(EVENTS)] == ["7", "9", "10"]


def test_a_drain_names_the_gpu_and_the_reason(client, fake, wire):
    """Index and UUID both name a GPU."""
    fake.answer("POST", "/api/v1/gpus/3/drain", wire.gpu(3, draining=True))

    assert client.drain(3, "fan is loud").draining
    assert fake.bodies("/api/v1/gpus/3/drain") == [{"reason": "fan is loud"}]
