"""doctor, ablate, compare, plan and top: the verbs around the queue."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from berth import home as homes
from berth.cli.checks import daemons, disk, job_environment, software
from berth.daemons import identity
from berth.home import Home
from berth.sdk.address import Address

BERTH = [sys.executable, "-m", "berth.cli.main"]


class TestDoctor:
    def test_each_line_is_judged_and_bad_ones_name_the_fix(self, fake, berth, monkeypatch):
        """Without a server: a warning that names `berth up`; the code is 1 only when something fails."""
        monkeypatch.setenv("BERTH_GPUS", "sim:2")
        result = berth("doctor", "--json")

        found = json.loads(result.stdout)
        assert {"python", "home", "file system", "gpus", "fence", "socket"} <= {
            line["what"] for line in found
        }
        assert all(line["mend"] for line in found if line["level"] != "ok")
        assert "2 GPUs" in next(line["sentence"] for line in found if line["what"] == "gpus")
        assert result.exit_code == int(any(line["level"] == "fail" for line in found))

    def test_a_wrong_setting_is_found(self, fake, berth, monkeypatch):
        """The worker's own sentence is shown, and the code is 1."""
        monkeypatch.setenv("BERTH_GPUS", "toaster")
        result = berth("doctor")

        assert result.exit_code == 1
        assert "BERTH_GPUS=toaster" in result.stdout

    def test_the_old_binding_is_a_fault(self, monkeypatch):
        """Pynvml installed together with nvidia-ml-py breaks the worker's reading of GPUs."""
        versions = {"pynvml": "12.0", "nvidia-ml-py": "13.6"}
        monkeypatch.setattr(software, "_version", versions.get)

        assert next(f for f in software.findings() if f.what == "nvml binding").level == "fail"

    @pytest.mark.parametrize(
        ("kind", "level"),
        [("nfs4", "fail"), ("fuse.sshfs", "fail"), ("tmpfs", "warn"), ("ext4", "ok")],
    )
    def test_a_network_file_system_is_a_fault(self, monkeypatch, tmp_path, kind, level):
        """SQLite cannot keep its promises there."""
        monkeypatch.setattr(disk, "file_system", lambda _: kind)

        assert next(f for f in disk.findings(tmp_path) if f.what == "file system").level == level

    def test_the_file_system_is_the_one_that_holds_the_folder(self):
        """The longest mount point that contains it counts."""
        assert disk.file_system(Path("/proc/self")) == "proc"

    def test_what_jobs_inherit_is_named(self, tmp_path):
        """By the names of the running worker's variables; values, which may be secrets, stay out."""
        home = Home(tmp_path)
        home.config.write_text('[worker]\npass_environment = ["HF_HOME"]\n')
        own = {"LANG": "C.UTF-8", "HF_HOME": "/data/hf", "MY_TOKEN": "hush"}
        # Its first output says that its environment can be read.
        with subprocess.Popen(
            [sys.executable, "-c", "print(1, flush=True); input()"],
            env=own, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        ) as process:  # fmt: skip
            assert process.stdout.readline()
            sentence = job_environment.finding(home, process.pid).sentence
            process.kill()

        assert sentence.startswith("Jobs inherit HF_HOME, LANG of")
        assert "not MY_TOKEN" in sentence
        assert "hush" not in sentence

    def test_a_path_too_long_for_a_socket_is_found(self, tmp_path):
        """Before the server dies of it."""
        address = Address("http://berth", socket=tmp_path / ("x" * 120) / "run/berth.sock")

        assert next(iter(daemons.findings(address))).level == "fail"


def test_compare_puts_runs_side_by_side(fake, wire, berth):
    """Varying parameters, progress, the last or least value of each metric."""
    runs = [
        {"job": wire.job(i, labels={"lr": lr}, state="running"), "last": {"loss": loss}, "best": {"loss": loss / 2}, "step": 10}
        for i, lr, loss in ((4, "1e-4", 2.5), (5, "5e-5", 1.5))
    ]  # fmt: skip
    facts = {"id": "study", "varies": ["lr"], "metrics": ["loss"], "runs": runs, "total": 2}
    fake.answer("GET", "/api/v1/ablations/study", facts)
    fake.answer("GET", "/api/v1/ablations", {"ablations": []})

    lines = berth("compare", "study").stdout.splitlines()

    assert lines[1].split() == ["JOB", "LR", "STATE", "STEP", "LOSS"]
    assert lines[3].split() == ["5", "5e-5", "running", "10", "1.5"]
    assert berth("compare", "study", "--best").stdout.splitlines()[3].endswith("0.75")
    assert "berth ablate" in berth("compare").stdout


def test_compare_says_which_runs_differ_in_more(fake, wire, berth):
    """Marked in the table, and below it a line with what differs; parts go before the sentence."""
    parts = [{"kind": "code", "text": "data"}, {"kind": "text", "text": " is another."}]
    differs = [
        {"kind": "setting", "what": "data", "value": "2", "usual": "1", "sentence": "old", "sentence_parts": parts},
        {"kind": "steps_made", "what": "steps_made", "value": "8", "usual": "9", "sentence": "It made 8 steps; most runs made 9."},
    ]  # fmt: skip
    shortened = {"samples": 0.9, "left_out": {}, "sentence": "90% of the training samples leave something out."}  # fmt: skip
    runs = [
        {"job": wire.job(4), "last": {}, "best": {}, "differences": differs},
        {"job": wire.job(5), "last": {}, "best": {}, "shortened": shortened},
    ]
    fake.answer("GET", "/api/v1/ablations/study", {"id": "study", "varies": [], "metrics": [], "runs": runs, "total": 2})  # fmt: skip

    lines = berth("compare", "study").stdout.splitlines()

    assert [line.split()[:2] for line in lines[2:4]] == [["4", "!"], ["5", "queued"]]
    assert lines[4:] == [
        "! job 4 is not comparable: `data` is another. It made 8 steps; most runs made 9.",
        "  job 5: 90% of the training samples leave something out.",
    ]


def test_compare_marks_the_better_of_each_metric(fake, wire, berth, monkeypatch):
    """The least loss and the greatest BLEU; those of the answers are next to the loss."""
    runs = [
        {"job": wire.job(i, state="succeeded"), "last": last, "best": last, "step": 10}
        for i, last in ((4, {"eval_loss": 2.5, "bleu_4": 0.25}), (5, {"eval_loss": 1.5, "bleu_4": 0.5}))
    ]  # fmt: skip
    facts = {
        "id": "study",
        "varies": [],
        "metrics": ["bleu_4", "eval_loss", "x"],
        "runs": runs,
        "total": 2,
    }
    fake.answer("GET", "/api/v1/ablations/study", facts)

    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("FORCE_COLOR", "1")
    shown = berth("compare", "study").stdout

    green = [part.split("\x1b")[0] for part in shown.split("\x1b[32m")[1:]]
    assert {"1.5", "0.5"} <= {word.strip() for word in green}
    assert not {"2.5", "0.25"} & {word.strip() for word in green}
    assert shown.index("EVAL_LOSS") < shown.index("BLEU_4")


def test_plan_asks_the_trainer_in_its_own_process(tmp_path):
    """Bad input leaves with 2 and a sentence, and nothing of the trainer is imported here."""
    done = subprocess.run([*BERTH, "plan", str(tmp_path / "none")], capture_output=True, text=True)

    assert done.returncode == 2
    assert "none" in done.stderr
    assert "Traceback" not in done.stderr


def test_plan_passes_every_word_to_the_trainer(berth, monkeypatch):
    """Sizes, options and --help are the trainer's to read: here nothing is declared twice."""
    asked: list[list[str]] = []

    def exec_(_program: str, words: list[str]) -> None:
        asked.append(words)

    monkeypatch.setattr(os, "execv", exec_)
    words = ["model", "--gpu-memory", "80GB", "-g", "4", "--json", "--help"]
    assert berth("plan", *words).exit_code == 0

    assert asked[0][-len(words) - 1 :] == ["berth_trainer.memory", *words]


@pytest.mark.parametrize(
    ("verb", "code", "sentence"),
    [("up", 0, "already up for this box"), ("down", 4, "only root can stop it")],
)
def test_a_user_does_not_start_a_second_berth_on_the_box(
    fake, berth, monkeypatch, tmp_path, verb, code, sentence
):
    """If root runs one, `up` says that it can be used, and `down` that it is not theirs."""
    there = Home(tmp_path / "box")
    there.make()
    there.pid("server").write_text(identity.of(os.getpid()).line())
    monkeypatch.setattr(homes, "BOX_HOME", there)
    monkeypatch.setattr(homes.os, "geteuid", lambda: 1000)
    monkeypatch.delenv("BERTH_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))

    result = berth(verb)

    assert result.exit_code == code
    assert sentence in result.output


class TestTop:
    def test_it_needs_a_terminal(self, fake, berth):
        """In a pipe it names what to use instead."""
        result = berth("top")

        assert result.exit_code == 2
        assert "berth gpus --json" in result.stderr

    def test_it_shows_and_ends_quietly(self, tmp_path):
        """On a terminal it draws at once, says what is amiss, and Ctrl-C ends it."""
        screen, terminal = pty.openpty()
        env = {
            **os.environ,
            "BERTH_HOME": str(tmp_path),
            "TERM": "xterm-256color",
            "COLUMNS": "100",
        }
        env.pop("BERTH_URL", None)
        process = subprocess.Popen([*BERTH, "top"], stdin=terminal, stdout=terminal, stderr=terminal, env=env, start_new_session=True)  # fmt: skip
        os.close(terminal)
        said = b""
        try:
            while b"Trying again" not in said:
                said += os.read(screen, 4096)
            process.send_signal(2)
            assert process.wait(timeout=20) == 130
        finally:
            process.kill()
            process.wait()
            os.close(screen)
