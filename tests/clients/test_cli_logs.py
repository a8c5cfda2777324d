"""`berth logs`, and following a job through its attempts."""

from __future__ import annotations

import json

import httpx2
import pytest

JOBS = "/api/v1/jobs"


class TestLogs:
    @pytest.fixture(autouse=True)
    def _log(self, fake, wire):
        done = wire.job(state="succeeded", attempts=[wire.attempt(), wire.attempt(number=2)])
        fake.answer("GET", f"{JOBS}/42", done)

        def log(request):
            content = (
                b"\x1b[31mred\x00\n\xff\n" if request.url.params["attempt"] == "2" else b"first\n"
            )
            offset = int(request.url.params["offset"])
            first = max(0, len(content) + offset) if offset < 0 else offset
            return httpx2.Response(
                200, content=content[first:], headers={"Berth-Log-Offset": str(first)}
            )

        fake.answer("GET", f"{JOBS}/42/log", log)

    def test_bytes_as_the_job_wrote_them(self, berth):
        """A pipe gets every byte of the last attempt."""
        assert berth("logs", "42").stdout_bytes == b"\x1b[31mred\x00\n\xff\n"

    def test_an_attempt_and_a_tail(self, berth):
        """42.1 is the first attempt, -n the last lines."""
        assert berth("logs", "42.1").stdout_bytes == b"first\n"
        assert berth("logs", "42", "-n", "1").stdout_bytes == b"\xff\n"

    def test_following_goes_on_where_reading_stopped(self, fake, wire, berth):
        """Printed output is not requested again."""
        fake.answer(
            "GET", f"{JOBS}/42", wire.job(state="running", attempts=[wire.attempt(number=2)])
        )
        chunk = {"attempt": "42.2", "offset": 12, "text": "more\n"}
        done = {"attempt": "42.2", "size_bytes": 17, "job_state": "succeeded"}
        fake.answer(
            "GET",
            f"{JOBS}/42/log/stream",
            wire.sse(("log", "17", chunk), ("end", "", done)),
        )

        result = berth("logs", "-f", "42")

        assert result.stdout_bytes == b"\x1b[31mred\x00\n\xff\nmore\n"
        assert dict(fake.sent(f"{JOBS}/42/log/stream")[0].url.params) == {
            "offset": "12",
            "attempt": "2",
        }

    def test_a_job_that_has_not_started_says_why(self, fake, wire, berth):
        """Instead of nothing there is a reason."""
        fake.answer("GET", f"{JOBS}/42", wire.job())

        result = berth("logs", "42")

        assert result.exit_code == 0
        assert "All 8 GPUs are held." in result.stderr

    def test_json_lines(self, berth):
        """Pieces with their place."""
        assert json.loads(berth("logs", "42.1", "--json").stdout)["text"] == "first\n"


class TestFollowing:
    """`logs -f` and `run`: what stderr tells while there is no log to show."""

    @pytest.fixture
    def retried(self, fake, wire):
        """A job whose first attempt fails, which waits for GPUs, and succeeds with the second."""
        first = wire.attempt(
            state="ended", exit_code=1, ended_at=wire.time(-5), message="It broke."
        )
        second = wire.attempt(number=2, gpu_indices=[4, 5, 6, 7])
        waits = "GPUs 0-3: held by job 7 of bob."
        again = {
            "id": 8,
            "time": wire.time(-5),
            "kind": "job.queued",
            "actor": "system",
            "job_id": 42,
            "attempt": "42.1",
            "message": "It broke; it is queued again (for the last time).",
        }
        queued = wire.job(state="queued", attempts=[first], reason=waits)
        ends = {"reason": None, "attempts": [first, second]}
        self.states = [
            wire.job(state="running", attempts=[wire.attempt()], reason=None),
            queued,
            {**queued, "expected_start": wire.time(600)},
            wire.job(state="starting", **ends),
            wire.job(state="succeeded", exit_code=0, **ends),
        ]
        fake.answer("GET", "/api/v1/events", {"events": [again], "last_id": 8})
        ids = [("", str(i), {**again, "id": i}) for i in (9, 10, 11)]
        fake.answer("GET", "/api/v1/events/stream", wire.sse(*ids))
        fake.answer("GET", f"{JOBS}/42/log", httpx2.Response(200, content=b""))
        fake.answer(
            "GET",
            f"{JOBS}/42/log/stream",
            wire.sse(log("42.1", "bad\n"), end("42.1", "queued")),
            wire.sse(log("42.2", "good\n"), end("42.2", "succeeded")),
        )
        return fake

    def test_between_attempts_it_is_reported_what_goes_on(self, retried, berth):
        """The attempt's end, the reason for the wait, the next start: each once."""
        retried.answer("GET", f"{JOBS}/42", self.states[0], *self.states)

        result = berth("logs", "-f", "42")

        assert result.stdout == "bad\ngood\n"
        assert result.stderr.splitlines() == [
            "Attempt 42.1 ended. It broke; it is queued again (for the last time).",
            "Job 42 is queued. GPUs 0-3: held by job 7 of bob.",
            "Attempt 42.2 starts on GPUs 4\N{EN DASH}7.",
            "Job 42 succeeded.",
        ]

    def test_run_does_not_repeat_what_it_said_at_submit(self, fake, wire, berth):
        """The reason for the wait is printed once; then the start."""
        waits = wire.job(state="queued", reason="GPUs 0-3: held by job 7 of bob.")
        fake.answer("POST", JOBS, (201, waits))
        attempts = {"attempts": [wire.attempt()], "reason": None}
        fake.answer(
            "GET",
            f"{JOBS}/42",
            waits,
            waits,
            wire.job(state="starting", **attempts),
            wire.job(state="succeeded", exit_code=0, **attempts),
        )
        happened = {"id": 8, "time": wire.time(0), "kind": "job.starting", "actor": "system"}
        shown = ("", "8", {**happened, "job_id": 42, "message": "."})
        fake.answer("GET", "/api/v1/events/stream", wire.sse(shown))
        fake.answer(
            "GET",
            f"{JOBS}/42/log/stream",
            wire.sse(log("42.1", "good\n"), end("42.1", "succeeded")),
        )

        result = berth("run", "--", "true")

        assert result.stdout == "good\n"
        assert result.stderr.count("held by job 7") == 1
        assert result.stderr.splitlines()[-2:] == [
            "Attempt 42.1 starts on GPUs 0\N{EN DASH}3.",
            "Job 42 succeeded.",
        ]

    def test_json_is_not_mixed_with_sentences(self, retried, berth):
        """A program reads the pieces and asks for the job itself."""
        retried.answer("GET", f"{JOBS}/42", self.states[0], *self.states)

        result = berth("logs", "-f", "--json", "42")

        assert not result.stderr
        assert [json.loads(line)["attempt"] for line in result.stdout.splitlines()][-1] == "42.2"

    def test_one_attempt_ends_with_its_own_end(self, retried, berth):
        """Whatever becomes of the job: it is not said to have failed while it is queued again."""
        retried.answer("GET", f"{JOBS}/42", self.states[0], self.states[0], self.states[1])

        result = berth("logs", "-f", "42.1")

        assert result.stdout == "bad\n"
        assert result.stderr.startswith("Attempt 42.1 ended, GPUs 0\N{EN DASH}3")
        assert "exit code 1" in result.stderr

    def test_an_ended_job_is_reported_as_well(self, fake, wire, berth):
        """Following an ended job reports its end."""
        attempt = wire.attempt(state="ended", exit_code=9)
        done = wire.job(state="failed", exit_code=9, message="It broke.", attempts=[attempt])
        fake.answer("GET", f"{JOBS}/42", done)
        fake.answer("GET", f"{JOBS}/42/log", httpx2.Response(200, content=b""))

        assert berth("logs", "-f", "42").stderr == "Job 42 failed: It broke.\n"


def log(attempt, text):
    return ("log", str(len(text)), {"attempt": attempt, "offset": 0, "text": text})


def end(attempt, state):
    return ("end", "", {"attempt": attempt, "size_bytes": 5, "job_state": state})


def test_a_progress_bar_is_one_line_of_the_last_ones(fake, wire, berth):
    """-n writes what was seen last of it, --raw and a whole log every byte."""
    log = b"start\n" + b"".join(b"\r%d %%|###" % n for n in range(101)) + b"\nloss 2\nEpoch 1\r"
    fake.answer("GET", f"{JOBS}/42", wire.job(state="succeeded", attempts=[wire.attempt()]))

    def answer(request):
        offset = int(request.url.params["offset"])
        first = max(0, len(log) + offset) if offset < 0 else offset
        return httpx2.Response(200, content=log[first:], headers={"Berth-Log-Offset": str(first)})

    fake.answer("GET", f"{JOBS}/42/log", answer)

    assert berth("logs", "42", "-n", "3").stdout_bytes == b"100 %|###\nloss 2\nEpoch 1\r"
    assert berth("logs", "42", "-n", "3", "--raw").stdout_bytes == log[6:]
    assert berth("logs", "42").stdout_bytes == log
