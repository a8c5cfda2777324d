"""`berth submit` and `berth run`: from what people type to the spec that is sent."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from berth.protocol.message import FieldRef, Message, quoted

JOBS = "/api/v1/jobs"


@pytest.fixture
def sent(fake, wire, berth, monkeypatch, tmp_path):
    """Submit, and return the spec that was sent, without the folder."""
    monkeypatch.chdir(tmp_path)
    fake.answer("POST", JOBS, (201, wire.job()))

    def submit(*words: str, stdin: str | None = None):
        result = berth("submit", *words, stdin=stdin)
        assert result.exit_code == 0, result.output
        spec = fake.bodies(JOBS)[-1]
        assert spec.pop("workdir") == str(tmp_path)
        return spec

    return submit


@pytest.mark.parametrize(
    ("words", "spec"),
    [
        (
            ["--", "deepspeed", "--num_gpus=4", "train.py"],
            ["deepspeed", "--num_gpus=4", "train.py"],
        ),
        (["deepspeed", "--num_gpus=4", "train.py"], ["deepspeed", "--num_gpus=4", "train.py"]),
        (
            ["python", "train.py", "--name", "x", "-g", "2"],
            ["python", "train.py", "--name", "x", "-g", "2"],
        ),
        (
            ["CUDA_VISIBLE_DEVICES=4,5 accelerate launch t.py"],
            "CUDA_VISIBLE_DEVICES=4,5 accelerate launch t.py",
        ),
    ],
)
def test_the_command_goes_as_it_was_typed(sent, words, spec):
    """The command's own options stay the command's, with and without `--`."""
    assert sent(*words) == {"command": spec}


def test_every_option_finds_its_field(sent, monkeypatch):
    """Options are the fields of a spec under the names of the command line."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    spec = sent(
        *("--gpus", "4", "--name", "x", "--time-limit", "12h", "--gpu-memory", "40GiB"),
        *("--priority", "-3", "--python", "/envs/twin", "-e", "A=1=2", "--env-pass", "WANDB_MODE"),
        *("--depends-on", "40,41", "--depends-on", "50", "-l", "ablation=full", "--hold"),
        *("--retries", "2", "--on-oom", "halve_micro_batch,offload", "--grace", "90s"),
        *("--warn-before", "5m", "--preemptible", "--notify", "https://x/y", "--", "true"),
    )

    assert spec == {
        "command": ["true"] if isinstance(spec["command"], list) else "true",
        "gpus": 4,
        "name": "x",
        "time_limit": "12h",
        "gpu_memory": "40GiB",
        "priority": -3,
        "python": "/envs/twin",
        "env": {"A": "1=2", "WANDB_MODE": "offline"},
        "depends_on": [40, 41, 50],
        "labels": {"ablation": "full"},
        "hold": True,
        "retries": 2,
        "on_oom": {"steps": ["halve_micro_batch", "offload"]},
        "grace": "90s",
        "warn_before": "5m",
        "preemptible": True,
        "notify": ["https://x/y"],
    }


def test_a_users_defaults_for_notices(sent, monkeypatch):
    """From the shell; what is typed stands before them, `none` takes them away."""
    monkeypatch.setenv("BERTH_NOTIFY", "https://chat/a, https://chat/b")
    monkeypatch.setenv("BERTH_NOTIFY_ON", "failure waiting:2h")
    spec = sent("true")
    assert spec["notify"] == ["https://chat/a", "https://chat/b"]
    assert spec["notify_on"] == ["failure", "waiting:2h"]
    typed = sent("--notify", "https://own", "--notify-on", "start", "true")
    assert (typed["notify"], typed["notify_on"]) == (["https://own"], ["start"])
    assert not sent("--notify", "none", "true").get("notify")


def test_a_line_that_ends_with_a_config_file_is_a_command(sent):
    """`train.py --config config.json` quoted as one line is no job file, options behind or not."""
    line = "deepspeed --num_gpus=4 train.py --config config.json"

    assert sent(line)["command"] == line
    assert sent(line, "--name", "x")["name"] == "x"


def test_a_script_is_sent_as_text(sent, tmp_path):
    """--script reads the file, and its name is the job's."""
    (tmp_path / "nightly.sh").write_text("#!/bin/bash\necho hi\n")

    assert sent("--script", "nightly.sh") == {
        "script": "#!/bin/bash\necho hi\n",
        "name": "nightly",
        "script_file": str(tmp_path / "nightly.sh"),
    }
    assert sent("--script", "-", stdin="echo hi\n") == {"script": "echo hi\n"}


def test_the_active_environment_is_taken_and_shown(sent, fake, wire, berth, monkeypatch, tmp_path):
    """A job runs in the user's active environment, and the answer says so."""
    python = tmp_path / "env/bin/python"
    python.parent.mkdir(parents=True)
    python.touch()
    monkeypatch.setenv("VIRTUAL_ENV", str(tmp_path / "env"))
    fake.answer("POST", JOBS, (201, wire.job(python=str(python))))

    assert sent("--", "python", "t.py")["python"] == str(python)
    assert "active environment" in berth("submit", "--", "python", "t.py").output
    assert sent("--python", "/other", "--", "python", "t.py")["python"] == "/other"


def test_after_time_is_a_moment_to_come(sent):
    """Durations count from now, clocks are the next such time on the local clock."""
    soon = datetime.fromisoformat(sent("--after-time", "2h", "--", "true")["not_before"])
    assert timedelta(hours=1.9) < soon - datetime.now(UTC) < timedelta(hours=2.1)
    night = datetime.fromisoformat(sent("--after-time", "22:00", "--", "true")["not_before"])
    assert timedelta(0) < night - datetime.now(UTC) <= timedelta(days=1)


class TestJobFile:
    def test_one_job_with_options_above_it(self, sent, tmp_path):
        """Options win over the file, before or behind its name; maps are put together."""
        (tmp_path / "job.yaml").write_text(
            "command: python train.py --lr 1e-4\ngpus: 2\nenv: {LR: 1e-4, ON: no}\nlabels: {seed: 07}\n"
        )
        expected = {
            "command": "python train.py --lr 1e-4",
            "gpus": 4,
            "env": {"LR": "1e-4", "ON": "no", "X": "1"},
            "labels": {"seed": "07"},
        }

        assert sent("--gpus", "4", "-e", "X=1", "job.yaml") == expected
        assert sent("job.yaml", "--gpus", "4", "-e", "X=1") == expected

    def test_options_may_stand_behind_a_quoted_line(self, sent):
        """They are Berth's, since the command is whole; behind `--` all words are the job's."""
        line = "torchrun --nproc-per-node=2 train.py"

        assert sent(line, "--gpus", "4") == {"command": line, "gpus": 4}
        assert sent("--", line, "--gpus")["command"] == [line, "--gpus"]

    def test_a_list_is_sent_in_one(self, fake, berth, tmp_path):
        """All jobs of a file are taken or none."""
        (tmp_path / "jobs.yaml").write_text("- command: a\n- command: b\n")
        fake.answer("POST", JOBS, (201, {"ids": [7, 8], "warnings": ["Slow disk."]}))

        result = berth("submit", str(tmp_path / "jobs.yaml"))

        assert result.exit_code == 0
        assert "2 jobs submitted: 7,8." in result.output
        assert "Slow disk." in result.output
        assert [spec["command"] for spec in fake.bodies(JOBS)[0]] == ["a", "b"]

    def test_standard_input(self, sent):
        """`-` reads the file from standard input."""
        assert sent("-", stdin="command: hostname\n")["command"] == "hostname"


def test_the_answer_says_what_happens_and_how_to_go_on(fake, wire, berth):
    """The id, the GPUs, the command, what was noticed, how to follow."""
    fake.answer(
        "POST",
        JOBS,
        (201, wire.job(1, state="starting", gpu_indices=[0, 1, 2, 3], warnings=["W."])),
    )
    output = berth("submit", "--", "true").output
    assert "Job 1 starts now on GPUs 0\N{EN DASH}3." in output
    assert "W." in output
    assert "berth logs -f 1" in output
    assert "berth why" not in output

    fake.answer("POST", JOBS, (201, wire.job(2)))
    output = berth("submit", "--", "true").output
    assert "Job 2 is queued. All 8 GPUs are held." in output
    assert "berth why 2" in output

    fake.answer("POST", JOBS, (201, wire.job(3, state="held")))
    assert "berth release 3" in berth("submit", "--hold", "--", "true").output


def test_json_is_the_job(fake, wire, berth):
    """--json prints what the server answered."""
    fake.answer("POST", JOBS, (201, wire.job()))

    assert json.loads(berth("submit", "--json", "--", "true").stdout)["id"] == 42


def test_a_dry_run_submits_nothing(fake, berth):
    """--dry-run shows what would be started and why it differs."""
    change = {"what": "--num_gpus=4", "became": "--world_info=…", "why": "The lease says which."}
    fake.answer(
        "POST",
        f"{JOBS}/dry-run",
        {
            "gpus": 4,
            "starts_now": True,
            "gpu_indices": [0, 1, 2, 3],
            "summary": "It would start now on GPUs 0\N{EN DASH}3.",
            "launcher": "deepspeed",
            "before": "deepspeed --num_gpus=4 t.py",
            "after": "python -m deepspeed.launcher.launch t.py",
            "changes": [change],
        },
    )

    result = berth("submit", "--dry-run", "deepspeed --num_gpus=4 t.py")

    assert result.exit_code == 0
    assert "It would start now" in result.output
    assert "--num_gpus=4 -> --world_info=…: The lease says which." in result.output
    assert not fake.sent(JOBS)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "There is no command to run"),
        (["nowhere.yaml"], "The file nowhere.yaml does not exist"),
        (["--script", "nowhere.sh"], "The script nowhere.sh does not exist"),
        (["--script", "x.sh", "--", "true"], "not both"),
        (["-e", "A", "--", "true"], "'A' is not of the form NAME=VALUE"),
        (["-l", "A", "--", "true"], "KEY=VALUE"),
        (["--env-pass", "NOT_SET_ANYWHERE", "--", "true"], "NOT_SET_ANYWHERE is not set"),
        (["--depends-on", "x", "--", "true"], "'x' is not a job id"),
        (["--after-time", "soon", "--", "true"], "'soon' is not a time"),
        (["--python", "no-such-python", "--", "true"], "No interpreter 'no-such-python'"),
        (["--gpus", "x", "--", "true"], "write a whole number"),
        (["--gpu", "4", "--", "true"], "--gpus"),
        (["job.yaml", "more"], "takes no further words"),
        (["python train.py", "more"], "one line takes no further words; remove 'more'"),
    ],
)
def test_a_wrong_command_line_is_one_sentence(fake, berth, words, sentence, tmp_path, monkeypatch):
    """Usage mistakes exit with 2 and a sentence that names the fix; nothing is sent."""
    monkeypatch.chdir(tmp_path)
    Path("job.yaml").write_text("command: true\n")

    result = berth("submit", *words)

    assert result.exit_code == 2
    assert sentence in result.stderr
    assert result.stderr.startswith("berth: ")
    assert result.stderr.count("\n") == 1
    assert not fake.requests


def _named(path: str) -> FieldRef:
    return FieldRef(path=path, text=path)


@pytest.mark.parametrize(
    ("field", "pieces", "shown"),
    [
        (
            "time_limit",
            [_named("time_limit"), ": 'soon' is not a duration."],
            "--time-limit: 'soon' is not a",
        ),
        ("on_oom.steps.0", [_named("on_oom.steps.0"), ": write one of these."], "--on-oom: write"),
        (
            "workdir",
            ["Check the name, or set ", quoted("workdir"), "."],
            "Check the name, or set --workdir.",
        ),
        ("labels", [_named("labels"), ": write text."], "--label: write text."),
        ("command", ["The script x.py does not exist."], "The script x.py does not exist."),
        # Words that only look like a field stay.
        ("command", ["gpus: 'gpus' is no program."], "gpus: 'gpus' is no program."),
    ],
)
def test_a_refusal_speaks_of_options_to_those_who_typed_them(
    fake, wire, berth, tmp_path, monkeypatch, field, pieces, shown
):
    """Of fields only where these stand: in a job file, and for programs."""
    monkeypatch.chdir(tmp_path)
    Path("job.yaml").write_text("command: true\n")
    message = Message.of(*pieces)
    sentence, parts = str(message), message.model_dump(mode="json")
    fields = [{"field": field, "problem": sentence, "problem_parts": parts}]
    answer = wire.problem(422, sentence, detail_parts=parts, fields=fields)
    fake.answer("POST", JOBS, answer)

    assert berth("submit", "--", "true").stderr.startswith(f"berth: {shown}")
    assert berth("run", "--", "true").stderr.startswith(f"berth: {shown}")
    assert berth("submit", "job.yaml").stderr.startswith(f"berth: {sentence}")
    assert json.loads(berth("submit", "--json", "--", "true").stderr)["error"]["detail"] == sentence


class TestRun:
    @pytest.mark.parametrize(
        ("end", "code"),
        [
            ({"state": "succeeded", "exit_code": 0}, 0),
            ({"state": "failed", "outcome": "exit", "exit_code": 7}, 7),
            ({"state": "failed", "outcome": "oom_gpu", "exit_code": 137}, 137),
            ({"state": "failed", "outcome": "launch_error"}, 1),
            ({"state": "failed", "outcome": "stalled", "exit_code": 0}, 1),
            ({"state": "cancelled", "outcome": "cancelled"}, 1),
        ],
    )
    def test_it_leaves_with_the_jobs_code(self, fake, wire, berth, end, code):
        """Stdout is the job's alone, byte for byte; the code is the job's."""
        fake.answer("POST", JOBS, (201, wire.job()))
        fake.answer("GET", f"{JOBS}/42", wire.job(attempts=[wire.attempt()], **end))
        chunk = {"attempt": "42.1", "offset": 0, "text": "epoch 1\n"}
        done = {"attempt": "42.1", "size_bytes": 8, "job_state": end["state"]}
        fake.answer(
            "GET", f"{JOBS}/42/log/stream", wire.sse(("log", "8", chunk), ("end", "", done))
        )

        result = berth("run", "--", "true")

        assert result.exit_code == code
        assert result.stdout == "epoch 1\n"
        assert f"Job 42 {end['state']}" in result.stderr or "was cancelled" in result.stderr

    def test_ctrl_c_leaves_the_job_and_says_so(self, fake, wire, berth):
        """Interrupting the command does not end hours of training."""

        def interrupt(request):
            raise KeyboardInterrupt

        fake.answer("POST", JOBS, (201, wire.job()))
        fake.answer("GET", f"{JOBS}/42", wire.job(state="running", attempts=[wire.attempt()]))
        fake.answer("GET", f"{JOBS}/42/log/stream", interrupt)

        result = berth("run", "--", "true")

        assert result.exit_code == 130
        assert "Job 42 keeps running" in result.stderr
        assert not fake.sent(f"{JOBS}/42/cancel")


def test_a_snapshot_is_asked_for_and_shown(fake, wire, berth):
    """The field goes along; `show` names the commit and what differed from it."""
    code = {
        "commit": "9f2c1e7a0b5d4c3f8e6a7b1c2d3e4f5a6b7c8d9e",
        "branch": "main",
        "root": "/home/ada/twin",
        "changed": 2,
        "untracked": 1,
        "digest": "d",
    }
    fake.answer("POST", JOBS, (201, wire.job(snapshot=code)))
    fake.answer("GET", f"{JOBS}/42", wire.job(snapshot=code))

    berth("submit", "--snapshot", "--", "true")

    assert fake.bodies(JOBS)[0]["snapshot"] is True
    shown = berth("show", "42").stdout
    assert "9f2c1e7a0b (main) with 2 changed and 1 new files, frozen from /home/ada/twin" in shown
