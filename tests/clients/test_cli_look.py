"""The verbs that look at jobs: ls, show, why. What they show, and to pipes."""

from __future__ import annotations

import json

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
    """The request, the start with its changes, the end."""
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
            "summary": "It waits for 4 GPUs; 2 are free.",
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


def test_why_says_nothing_twice(fake, berth):
    """A reason that the summary repeats has no line of its own."""
    reason = {"kind": "ended", "sentence": "Exited with code 3."}
    summary = {"summary": "It has failed: Exited with code 3.", "summary_reason": 0}
    shown = {"job_id": 42, "state": "failed", **summary}
    fake.answer("GET", f"{JOBS}/42/explain", {**shown, "reasons": [reason]})

    assert berth("why", "42").output == "It has failed: Exited with code 3.\n"


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
        shown = {"job_id": 41, "state": "queued", "position": 2, "summary": "It waits."}
        other = int(request.url.params.get("against", 42))
        sentence = f"Job {other} of ada is before job 41: its score is 1.00 higher."
        compared = {"standing": standing(other, length=1), "ahead": True, "sentence": sentence}
        return {**shown, "standing": standing(41), "compared": compared if other != 7 else None}

    fake.answer("GET", f"{JOBS}/41/explain", answer)

    assert "a job other" in berth("why", "41", "--against", "41").output
    short = berth("why", "41").output
    assert "score: -7.37 (length -8.20, fit +0.83)" in short
    assert "Job 42 of ada is before job 41: its score is 1.00 higher." in short
    lines = berth("why", "41", "--against", "42").output.splitlines()
    assert ["length", "-8.20", "-7.20", "length."] in [line.split() for line in lines]
    assert ["score", "-7.37", "-6.37"] in [line.split() for line in lines]
    assert "not both queued" in berth("why", "41", "--against", "7").output


class TestProgress:
    """A running job's own progress, in the list and in full."""

    def told(self, wire, **changes):
        found = {"step": 1650, "total": 5000, "fraction": 0.33, "source": "log"}
        left = {"seconds_left": 7800.0, "seconds_left_p90": 9000.0, "at": wire.time(-2)}
        started = {"state": "running", "started_at": wire.time(-3600), "reason": None}
        return wire.job(7, progress={**found, **left, **changes}, **started)

    def test_ls_shows_the_part_done_and_the_time_left(self, fake, wire, berth):
        """In place of what the time limit leaves."""
        page = {"jobs": [self.told(wire)], "next_cursor": None}
        fake.answer("GET", JOBS, lambda _: page)
        assert "33 %, about 2h10m left" in berth("ls", "--all").output

    def test_a_run_that_steps_stopped_coming_from_shows_its_place_alone(self, fake, wire, berth):
        """No time left is made up."""
        job = self.told(wire, seconds_left=None, seconds_left_p90=None)
        fake.answer("GET", JOBS, lambda _: {"jobs": [job], "next_cursor": None})
        shown = berth("ls", "--all").output
        assert "33 %" in shown
        assert "left" not in shown

    def test_show_names_steps_source_and_certainty(self, fake, wire, berth):
        """`progress  1,650 of 5,000 (33 %), about 2h10m left, …`"""
        fake.answer("GET", f"{JOBS}/7", lambda _: self.told(wire))
        shown = berth("show", "7").output
        assert (
            "1,650 of 5,000 (33 %), about 2h10m left, at 90 % certainty 2h30m; from its log"
            in shown
        )
