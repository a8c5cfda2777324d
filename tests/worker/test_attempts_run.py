"""Attempts run once, in their own environment, and their true end is reported."""

from __future__ import annotations

import json
import sys

import pytest


@pytest.fixture(name="worker")
def _worker(shared_worker):
    return shared_worker


def test_a_command_runs_and_its_end_is_reported(worker):
    """Exit code, log and GPUs come back in one report."""
    attempt = worker.run(["sh", "-c", "echo hello; exit 3"], gpus=(0, 1))
    ended = worker.until_clear(attempt)
    assert (ended.phase, ended.outcome, ended.exit.exit_code) == ("ended", "exit", 3)
    assert ended.message == "Exited with code 3; the log says: hello"
    assert ended.started_at == ended.exit.started_at
    assert worker.output(attempt) == "hello\n"
    assert not worker.pids()


def test_success_is_quiet(worker):
    """A job that ends well has outcome exit and nothing to say."""
    ended = worker.until_clear(worker.run("true"))
    assert (ended.outcome, ended.message, ended.exit.exit_code) == ("exit", None, 0)


def test_a_signal_is_reported_by_name(worker):
    """A job killed from outside is not reported as exited."""
    ended = worker.until_clear(worker.run(script="kill -SEGV $$"))
    assert (ended.exit.exit_code, ended.exit.signal) == (None, 11)
    assert "SIGSEGV" in ended.message


def test_what_a_job_sees(worker, free_port):
    """The variables of docs/architecture.md, and nothing of the daemon's own."""
    script = "python -c 'import json, os; print(json.dumps(dict(os.environ)))'"
    attempt = worker.run(
        script=script,
        gpus=(2, 5),
        master_port=free_port,
        env={"MINE": "yes", "MASTER_PORT": "1"},
    )
    worker.until_clear(attempt)
    env = json.loads(worker.output(attempt))
    uuids = worker.gpu_uuids()
    assert env["BERTH_JOB_ID"] == attempt.split(".")[0]
    assert env["BERTH_ATTEMPT"] == attempt
    assert env["BERTH_RUN_DIR"] == str(worker.folder(attempt) / "files")
    assert env["BERTH_GPU_UUIDS"] == f"{uuids[2]},{uuids[5]}"
    assert env["BERTH_GPU_INDICES"] == env["CUDA_VISIBLE_DEVICES"] == "2,5"
    assert (env["BERTH_DEVICES"], env["DS_ACCELERATOR"]) == ("simulated", "cpu")
    assert env["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert (env["BERTH_GRACE_S"], env["BERTH_WARN_BEFORE_S"]) == ("5", "1")
    assert (env["MASTER_ADDR"], env["MASTER_PORT"]) == ("127.0.0.1", str(free_port))
    assert env["TORCH_EXTENSIONS_DIR"].startswith(str(worker.home / "cache"))
    assert (env["MINE"], env["PYTHONUNBUFFERED"]) == ("yes", "1")
    assert not {"BERTH_HOME", "BERTH_GPUS", "BERTH_TOKEN", "PWD_"} & set(env)


def test_secrets_lie_in_files_of_the_owner_alone(worker):
    """spec.json and launch.json hold the environment: no other user may read them."""
    attempt = worker.run("true", env={"HF_TOKEN": "hush"})
    worker.until_clear(attempt)
    for name in ("spec.json", "launch.json"):
        path = worker.folder(attempt) / name
        assert path.stat().st_mode & 0o777 == 0o600
        assert "hush" in path.read_text()
    assert "hush" not in worker.log.read_text()


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"command": "/nonexistent/program"}, "/nonexistent/program does not exist"),
        ({"command": "nosuchprogram --x"}, "PATH"),
        ({"command": ["./plain.txt"]}, "chmod +x"),
        ({"command": ["./no-first-line"]}, "#!"),
        ({"command": ["./bad-first-line"]}, "interpreter"),
        ({"command": "true", "workdir": "/nowhere/at/all"}, "/nowhere/at/all"),
        ({"command": "true", "python": "/no/python"}, "/no/python"),
        ({"command": "true", "python": "/etc"}, "bin/python"),
        ({"command": "deepspeed --num_gpus=2 train.py"}, "GPU"),
    ],
)
def test_a_failed_start_is_reported_in_the_jobs_own_log(worker, until, fields, word):
    """One sentence with the fix, as outcome launch_error, in report and log."""
    (worker.work / "plain.txt").write_text("echo never\n")
    for name, text in (("no-first-line", "echo never\n"), ("bad-first-line", "#!/no/such\n")):
        (worker.work / name).write_text(text)
        (worker.work / name).chmod(0o755)
    attempt = worker.run(**fields)
    ended = worker.until_clear(attempt)
    assert (ended.outcome, ended.exit.cause) == ("launch_error", "launch_error")
    assert word in ended.message
    assert worker.output(attempt) == ended.message + "\n"
    until((worker.folder(attempt) / "exit.json").exists, "the record is written")


def test_a_long_script_runs(worker):
    """Shell text beyond the kernel's longest argument is run from a file."""
    script = "\n".join(f": {'x' * 100} {i}" for i in range(2000)) + '\necho "done $0"\n'
    attempt = worker.run(script=script)
    ended = worker.until_clear(attempt)
    assert ended.exit.exit_code == 0, worker.output(attempt)
    assert worker.output(attempt).startswith("done ")


def test_a_job_inherits_nothing_but_its_log(worker):
    """No descriptor of worker, fork server or shim is open in a job."""
    attempt = worker.run(script="ls -l /proc/$$/fd; cat /proc/$$/status")
    worker.until_clear(attempt)
    said = worker.output(attempt)
    opened = [line.split(" -> ")[1] for line in said.splitlines() if " -> " in line]
    assert opened == ["/dev/null", *[str(worker.folder(attempt) / "output.log")] * 2]
    masks = dict(line.split(":\t") for line in said.splitlines() if line.startswith("Sig"))
    real = (1 << 31) - 1  # beyond are the C library's own
    assert int(masks["SigBlk"], 16) & real == int(masks["SigIgn"], 16) & real == 0


def test_a_long_script_keeps_its_name_and_options(worker):
    """What does not fit into an argument runs like a short one, with the same $0."""
    script = "#!/bin/bash -e\n" + "# filler\n" * 20_000 + 'echo "$0" $#; false; echo went on\n'
    attempt = worker.run(script=script, script_file="/home/ada/exp/go.sh")

    ended = worker.until_clear(attempt)

    assert worker.output(attempt) == "/home/ada/exp/go.sh 0\n"
    assert ended.exit.exit_code == 1


def test_a_script_for_python_is_run_by_python(worker):
    """Its first line names the job's interpreter, and its text is not read as shell."""
    attempt = worker.run(script="#!/usr/bin/env python\nimport sys\nprint(sys.executable)\n")

    worker.until_clear(attempt)

    assert worker.output(attempt) == f"{sys.executable}\n"
