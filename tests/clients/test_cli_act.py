"""The verbs that change jobs or wait for them, and those that let a user in."""

from __future__ import annotations

import httpx2
import pytest

JOBS = "/api/v1/jobs"


class TestActs:
    def test_cancel_says_what_happens(self, fake, wire, berth):
        """A running job has its grace, a queued one is gone at once."""
        fake.answer("POST", f"{JOBS}/1/cancel", wire.job(1, state="stopping"))
        fake.answer("POST", f"{JOBS}/2/cancel", wire.job(2, state="cancelled"))

        output = berth("cancel", "1-2").output

        assert "Job 1 is being stopped; it has 1m to exit by itself." in output
        assert "Job 2 is cancelled." in output

    def test_one_refusal_does_not_keep_the_others(self, fake, wire, berth):
        """Each job is tried; the code tells that one was refused."""
        fake.answer("POST", f"{JOBS}/1/hold", wire.problem(409, "Job 1 has ended."))
        fake.answer("POST", f"{JOBS}/2/hold", wire.job(2, state="held"))

        result = berth("hold", "1", "2")

        assert result.exit_code == 4
        assert "Job 1 has ended." in result.stderr
        assert "Job 2 is held" in result.stdout

    def test_a_range_beyond_the_last_job_is_one_sentence(self, fake, wire, berth):
        """Not a line for each of a thousand jobs that are not there."""
        fake.answer("POST", f"{JOBS}/8/cancel", wire.job(8, state="cancelled"))

        result = berth("cancel", "8-30")

        assert result.exit_code == 4
        assert result.stdout == "Job 8 is cancelled.\n"
        assert result.stderr == "berth: There are no jobs 9-30; `berth ls` lists the jobs.\n"
        assert "There is no job 9;" in berth("cancel", "8-9").stderr

    @pytest.mark.parametrize("verb", ["release", "retry"])
    def test_release_and_retry(self, fake, wire, berth, verb):
        """They tell where the job is now."""
        fake.answer("POST", f"{JOBS}/42/{verb}", wire.job())

        assert "Job 42 is queued. All 8 GPUs are held." in berth(verb, "42").output
        starts = wire.job(state="starting", gpu_indices=[0, 1])
        fake.answer("POST", f"{JOBS}/42/{verb}", starts)
        assert "Job 42 starts now on GPUs 0\N{EN DASH}1." in berth(verb, "42").output

    @pytest.mark.parametrize("word", ["x", "4-2", "1-99999999", "", "-1"])
    def test_ids_that_are_none(self, fake, berth, word):
        """A wrong id is a usage mistake, and nothing is sent."""
        assert berth("cancel", "--", word).exit_code == 2
        assert not fake.requests


class TestWait:
    def test_one_job_gives_its_code(self, fake, wire, berth):
        """`wait` of one job leaves as the job did."""
        fake.answer("GET", f"{JOBS}/42", wire.job(state="failed", exit_code=9, message="It broke."))

        result = berth("wait", "42")

        assert result.exit_code == 9
        assert "Job 42 failed: It broke." in result.stdout

    def test_several_give_one_when_any_failed(self, fake, wire, berth):
        """With several the code only says whether all succeeded."""
        fake.answer("GET", f"{JOBS}/1", wire.job(1, state="succeeded"))
        fake.answer("GET", f"{JOBS}/2", wire.job(2, state="failed", exit_code=9))

        assert berth("wait", "1", "2").exit_code == 1
        assert berth("wait", "1", "1").exit_code == 0

    def test_a_timeout_has_a_code_of_its_own(self, fake, wire, berth):
        """124, as timeout(1) has it."""
        fake.answer("GET", f"{JOBS}/42", wire.job())
        fake.answer("GET", "/api/v1/events/stream", wire.sse())

        result = berth("wait", "42", "--timeout", "0.1s")

        assert result.exit_code == 124
        assert "keeps running" in result.stderr


class TestAccess:
    def test_a_token_is_shown_once_and_alone_on_stdout(self, fake, wire, berth):
        """It can be put into a variable by the shell."""
        token = {"id": 1, "name": "laptop", "user": "ada", "created_at": wire.time(0)}
        fake.answer("POST", "/api/v1/tokens", (201, {"token": token, "secret": "berth_s3"}))
        fake.answer("GET", "/api/v1/tokens", {"tokens": [token]})
        fake.answer("DELETE", "/api/v1/tokens/1", httpx2.Response(204))

        assert berth("token", "create", "laptop", "--expires-in", "90d").stdout == "berth_s3\n"
        assert "laptop" in berth("token", "ls").output
        assert "is revoked" in berth("token", "revoke", "1").output

    def test_web_prints_the_link(self, fake, wire, berth):
        """The link is the first line."""
        link = {"url": "http://127.0.0.1:8787/login?code=x", "expires_at": wire.time(300)}
        fake.answer("POST", "/api/v1/login-links", (201, link))

        assert berth("web").stdout.splitlines()[0] == link["url"]


def test_retry_takes_ids_in_any_order(fake, wire, berth):
    """A job that depends on another is retried after it, however they are typed."""
    for job_id in (47, 48):
        fake.answer("POST", f"/api/v1/jobs/{job_id}/retry", wire.job(job_id))

    assert berth("retry", "48", "47").exit_code == 0
    assert [r.url.path.split("/")[-2] for r in fake.requests if r.method == "POST"] == ["47", "48"]
