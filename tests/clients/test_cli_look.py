"""The verbs that look: ls, show, why, gpus, status, logs. What they show, and to pipes."""

from __future__ import annotations

import json

import httpx2
import pytest

JOBS = "/api/v1/jobs"


@pytest.fixture
def jobs(fake, wire):
    """Jobs by state, answered as the server filters them."""
    everything = [
        wire.job(5, state="queued", position=2, name="later", expected_start=wire.time(3600)),
        wire.job(4, state="queued", position=1, name="next"),
        wire.job(3, state="running", started_at=wire.time(-60), time_limit="1h", gpu_indices=[0, 1, 2, 3, 6], reason=None),
        wire.job(2, state="failed", outcome="oom_gpu", message="Out of GPU memory.", ended_at=wire.time(-30), reason=None),
        wire.job(1, state="succeeded", outcome="exit", exit_code=0, started_at=wire.time(-500), ended_at=wire.time(-100), reason=None),
    ]  # fmt: skip

    def answer(request):
        states = request.url.params.get_list("state")
        limit = int(request.url.params["limit"])
        found = [job for job in everything if not states or job["state"] in states]
        return {"jobs": found[:limit], "next_cursor": None}

    fake.answer("GET", JOBS, answer)
    return everything


class TestLs:
    def test_the_living_in_the_order_they_start_then_the_ended(self, jobs, berth):
        """Running, then the queue by position, then what ended last."""
        lines = berth("ls").output.splitlines()

        assert [line.split()[0] for line in lines] == ["ID", "3", "4", "5", "2", "1"]
        assert "4 (0\N{EN DASH}3, 6)" in lines[1]
        assert "left" in lines[1]
        assert "in about" in lines[3]
        assert "Out of GPU memory." in lines[4]

    def test_filters_go_to_the_server(self, jobs, fake, berth):
        """State, user and labels are asked for, not sifted here."""
        fake.answer("GET", "/api/v1/me", {"user": "ada", "uid": 1, "admin": False, "via": "socket"})

        berth("ls", "-s", "queued,held", "--mine", "-l", "a=b", "-n", "3")

        params = fake.sent(JOBS)[0].url.params
        assert params.get_list("state") == ["queued", "held"]
        assert (params["user"], params["label"], params["limit"]) == ("ada", "a=b", "3")

    def test_json_is_a_list_of_jobs(self, jobs, berth):
        """--json gives the jobs themselves."""
        assert [job["id"] for job in json.loads(berth("ls", "--all", "--json").stdout)] == [
            5,
            4,
            3,
            2,
            1,
        ]

    def test_a_narrow_terminal_is_not_overrun(self, jobs, berth, monkeypatch):
        """Names and reasons give way, ids and states never."""
        monkeypatch.setattr("berth.cli.text.terminal_width", lambda: 60)
        lines = berth("ls").output.splitlines()

        assert max(map(len, lines)) <= 60
        assert "running" in lines[1]

    def test_a_name_cannot_steer_the_terminal(self, fake, wire, berth):
        """Control characters of a name are shown as what they are."""
        fake.answer(
            "GET", JOBS, {"jobs": [wire.job(1, name="a\x1b]0;x\x07\nb")], "next_cursor": None}
        )

        output = berth("ls", "--all").output

        assert "\x1b" not in output
        assert len(output.splitlines()) == 2

    def test_an_unknown_state_names_the_known(self, fake, berth):
        """A typing error gets the list."""
        result = berth("ls", "--state", "runing")

        assert result.exit_code == 2
        assert "running" in result.stderr


def test_show_tells_all(fake, wire, berth):
    """What was asked, how it was started and what was changed, how it ended."""
    change = {"what": "--num_gpus=4", "became": "", "why": "The lease says which."}
    launch = {
        "launcher": "deepspeed",
        "before": "deepspeed --num_gpus=4 train.py",
        "after": "python -m deepspeed.launcher.launch train.py",
        "changes": [change],
        "cuda_visible_devices": "0,1,2,3",
        "fence": "namespace",
    }
    attempt = wire.attempt(
        state="ended",
        outcome="exit",
        exit_code=3,
        ended_at=wire.time(-10),
        launch=launch,
        max_rss_bytes=5 << 30,
        message="Exited with code 3.",
        placement={
            "free_indices": [0, 1, 2, 3],
            "rule": "no_choice",
            "sentence": "Only these 4 were free.",
        },
    )
    fake.answer(
        "GET",
        f"{JOBS}/42",
        wire.job(state="failed", outcome="exit", exit_code=3, attempts=[attempt], env={"A": "1"}),
    )

    output = berth("show", "42").output

    for words in (
        "Job 42 persona-history: failed",
        "exit code 3",
        "A=1",
        "42.1 ended",
        "29600",
        "5.0 GiB",
        "--num_gpus=4 -> (taken out): The lease says which.",
        "CUDA_VISIBLE_DEVICES=0,1,2,3",
        "deepspeed.launcher.launch",
        "why these    Only these 4 were free.",
    ):
        assert words in output


def test_why_renders_the_explanation(fake, wire, berth):
    """Summary, facts, place, time and what would help, from one structure."""
    fake.answer(
        "GET",
        f"{JOBS}/42/explain",
        {
            "job_id": 42,
            "state": "queued",
            "position": 2,
            "expected_start": wire.time(3600),
            "confidence": "likely",
            "summary": "It waits for 4 GPUs; 2 are free. Expected start: soon, place 2 in the queue.",
            "reasons": [
                {
                    "kind": "gpus_held",
                    "sentence": "Job 7 of bob holds GPUs 0-5.",
                    "until": wire.time(3600),
                },
                {"kind": "behind", "sentence": "Job 41 is before it.", "blocking": False},
            ],
            "would_help": ["Asking for 2 GPUs would start it now."],
        },
    )

    lines = berth("why", "42").output.splitlines()

    assert lines[0] == "It waits for 4 GPUs; 2 are free."
    assert lines[1].startswith("  * Job 7 of bob holds GPUs 0-5. (until ")
    assert lines[2] == "  - Job 41 is before it."
    assert "going by time limits and earlier runs" in lines[4]
    assert "Expected start" not in "".join(lines)
    assert lines[-1] == "  - Asking for 2 GPUs would start it now."


def test_why_puts_the_points_of_two_jobs_side_by_side(fake, berth):
    """With `--against`: part by part, with what decides; without it one line."""
    kinds = {"length": -8.2, "fit": 0.83}

    def standing(job_id, **changes):
        parts = [
            {"kind": kind, "points": points + changes.get(kind, 0), "sentence": f"{kind}."}
            for kind, points in kinds.items()
        ]
        total = sum(part["points"] for part in parts)
        place = {"position": 43 - job_id, "aged": False, "priority": 0, "points": total}
        return {"job_id": job_id, "name": "n", "user": "ada", "parts": parts, **place}

    def answer(request):
        told = {"job_id": 41, "state": "queued", "position": 2, "summary": "It waits."}
        other = int(request.url.params.get("against", 42))
        sentence = f"Job {other} of ada is before job 41: it has 1.00 points more."
        compared = {"standing": standing(other, length=1), "ahead": True, "sentence": sentence}
        return {**told, "standing": standing(41), "compared": compared if other != 7 else None}

    fake.answer("GET", f"{JOBS}/41/explain", answer)

    assert "another job" in berth("why", "41", "--against", "41").output
    short = berth("why", "41").output
    assert "points: -7.37 (length -8.20, fit +0.83)" in short
    assert "Job 42 of ada is before job 41: it has 1.00 points more." in short
    lines = berth("why", "41", "--against", "42").output.splitlines()
    assert ["length", "-8.20", "-7.20", "length."] in [line.split() for line in lines]
    assert ["points", "-7.37", "-6.37"] in [line.split() for line in lines]
    assert "not both in line" in berth("why", "41", "--against", "7").output


@pytest.fixture
def box(fake, wire):
    """A box with a job, an outsider, a drained and a free GPU."""
    job = {
        "kind": "job",
        "job_id": 42,
        "job_name": "persona",
        "user": "ada",
        "until": wire.time(7200),
        "sentence": "job 42",
    }
    outsider = {
        "kind": "outsider",
        "user": "bob",
        "sentence": "outsider: pid 4242 of bob (python train.py), 31.2 GiB",
    }
    gpus = [
        wire.gpu(0, holder=job, memory_used_bytes=60 << 30, utilization_percent=98),
        wire.gpu(1, holder=outsider),
        wire.gpu(2, draining=True, drain_reason="fan"),
        wire.gpu(3, utilization_percent=None, temperature_c=None, power_w=None),
    ]  # fmt: skip
    facts = {
        "hostname": "lab",
        "taken_at": wire.time(0),
        "source": "nvml",
        "driver_version": "575.57",
        "fence": "namespace",
        "gpus": gpus,
        "sentence": "1 of 4 GPUs free.",
    }
    fake.answer("GET", "/api/v1/gpus", facts)
    fake.answer("GET", f"{JOBS}/counts", {"counts": {"running": 1, "queued": 2}})
    return facts


class TestGpus:
    def test_the_map_names_every_holder(self, box, berth):
        """Jobs with user and time left, outsiders by pid and command, drains with the reason."""
        lines = berth("gpus").output.splitlines()

        assert lines[0] == "1 of 4 GPUs free."
        assert "job 42 persona (ada)" in lines[2]
        assert ("60/80 GiB" in lines[2], "98%" in lines[2]) == (True, True)
        assert "pid 4242 of bob (python train.py)" in lines[3]
        assert "draining: fan" in lines[4]
        assert "free" in lines[5]
        assert "fence: namespace" in lines[-1]

    def test_a_worker_that_is_silent_is_told(self, box, berth):
        """An old picture says that it is old."""
        box["stale"] = True
        assert "does not report" in berth("gpus").output

    def test_drain_and_undrain(self, fake, wire, berth):
        """Several at once, with the reason."""
        for gpu in (2, 3):
            fake.answer("POST", f"/api/v1/gpus/{gpu}/drain", wire.gpu(gpu, draining=True))
        fake.answer("POST", "/api/v1/gpus/2/undrain", wire.gpu(2))

        assert (
            "GPU 3 takes no new job." in berth("gpus", "drain", "2", "3", "--reason", "fan").output
        )
        assert fake.bodies("/api/v1/gpus/3/drain") == [{"reason": "fan"}]
        assert "GPU 2 takes jobs again." in berth("gpus", "undrain", "2").output
        assert json.loads(berth("gpus", "--json").stderr)["error"]["exit_code"] == 4


class TestStatus:
    def test_one_screen(self, box, berth):
        """Daemons, GPUs and queue."""
        output = berth("status").output

        assert "server  down" in output
        assert "1 of 4 GPUs free." in output
        assert "1 running, 2 queued" in output

    def test_json(self, box, berth):
        """The same facts for programs."""
        facts = json.loads(berth("status", "--json").stdout)

        assert facts["up"] is True
        assert facts["counts"]["queued"] == 2


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
        """What was printed already is not asked for again."""
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


class TestActs:
    def test_cancel_says_what_happens(self, fake, wire, berth):
        """A running job has its grace, a queued one is gone at once."""
        fake.answer("POST", f"{JOBS}/1/cancel", wire.job(1, state="stopping"))
        fake.answer("POST", f"{JOBS}/2/cancel", wire.job(2, state="cancelled"))

        output = berth("cancel", "1-2").output

        assert "Job 1 is being stopped; it has 1m to end by itself." in output
        assert "Job 2 is cancelled." in output

    def test_one_refusal_does_not_keep_the_others(self, fake, wire, berth):
        """Each job is tried; the code tells that one was refused."""
        fake.answer("POST", f"{JOBS}/1/hold", wire.problem(409, "Job 1 has ended."))
        fake.answer("POST", f"{JOBS}/2/hold", wire.job(2, state="held"))

        result = berth("hold", "1", "2")

        assert result.exit_code == 4
        assert "Job 1 has ended." in result.stderr
        assert "Job 2 is held" in result.stdout

    @pytest.mark.parametrize("verb", ["release", "retry"])
    def test_release_and_retry(self, fake, wire, berth, verb):
        """They tell where the job is now."""
        fake.answer("POST", f"{JOBS}/42/{verb}", wire.job())

        assert "Job 42 is queued. All 8 GPUs are held." in berth(verb, "42").output

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
        assert "goes on" in result.stderr


class TestAccess:
    def test_a_token_is_shown_once_and_alone_on_stdout(self, fake, wire, berth):
        """It can be put into a variable by the shell."""
        token = {"id": 1, "name": "laptop", "user": "ada", "created_at": wire.time(0)}
        fake.answer("POST", "/api/v1/tokens", (201, {"token": token, "secret": "berth_s3"}))
        fake.answer("GET", "/api/v1/tokens", {"tokens": [token]})
        fake.answer("DELETE", "/api/v1/tokens/1", httpx2.Response(204))

        assert berth("token", "create", "laptop", "--expires-in", "90d").stdout == "berth_s3\n"
        assert "laptop" in berth("token", "ls").output
        assert "does not work any more" in berth("token", "revoke", "1").output

    def test_web_prints_the_link(self, fake, wire, berth):
        """The link is the first line."""
        link = {"url": "http://127.0.0.1:8787/login?code=x", "expires_at": wire.time(300)}
        fake.answer("POST", "/api/v1/login-links", (201, link))

        assert berth("web").stdout.splitlines()[0] == link["url"]
