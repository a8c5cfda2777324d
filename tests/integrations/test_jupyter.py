"""`berth jupyter` with the real Jupyter Server."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.error
import urllib.request

import pytest


def berth(queue, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "berth.cli.main", *words],
        env={**os.environ, "BERTH_HOME": str(queue.home)},
        cwd=queue.home,
        capture_output=True,
        text=True,
        timeout=120,
    )


# Jupyter looks once a minute whether anything happens; its own file of settings is a program.
SOONER = """
from tornado import ioloop

class Sooner(ioloop.PeriodicCallback):
    def __init__(self, callback, callback_time, *more):
        super().__init__(callback, min(callback_time, 250), *more)

ioloop.PeriodicCallback = Sooner
"""


def test_a_server_that_answers_to_its_link_alone(queue, tmp_path):
    """On the leased port; the token is in no log and not in the job. It ends when idle."""
    (tmp_path / "jupyter_server_config.py").write_text(SOONER)
    where = ("--gpus", "1", "--python", sys.executable, "--idle", "5s")
    where += ("--env", f"JUPYTER_CONFIG_DIR={tmp_path}")
    done = berth(queue, "jupyter", *where, "--", "--allow-root")
    assert done.returncode == 0, done.stderr
    link = done.stdout.strip()
    address, _, token = link.partition("?token=")
    (job,) = queue.get("/jobs", state="running")["jobs"]
    assert f":{job['attempts'][0]['master_port']}/" in link
    with urllib.request.urlopen(f"{address.rstrip('/')}/api/contents?token={token}") as answer:
        assert answer.status == 200
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(f"{address.rstrip('/')}/api/contents")
    assert token not in queue.log(job["id"]) + str(queue.job(job["id"]))
    assert queue.wait(job["id"])[0]["state"] == "succeeded"


def test_an_environment_without_jupyter_is_told(queue, tmp_path):
    """In a sentence, with the job's code."""
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True)
    done = berth(queue, "jupyter", "--gpus", "0", "--python", str(bare))

    assert done.returncode == 1
    assert "pip install jupyterlab" in done.stderr


def test_a_command_has_no_place(queue):
    """It would not be run."""
    done = berth(queue, "jupyter", "--", "python", "train.py")

    assert done.returncode == 2
    assert "starts Jupyter" in done.stderr
