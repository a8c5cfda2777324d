"""Shared by the trainer's tests: the demo workspace, a corpus, and ways to start the trainer."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

# Before torch is imported: its idle threads spin, and tests run side by side.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from berth_trainer import demo_workspace
from berth_trainer.config.config_file import settings_from

TRAINER = Path(demo_workspace.__file__).with_name("train_deepspeed.py")


@pytest.fixture(scope="session", autouse=True)
def cache_of_their_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The data cache of the tests is no one's; runs that a test starts inherit it."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo workspace: tiny model, sample corpora, two config files."""
    folder = tmp_path_factory.mktemp("workspace")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    demo_workspace.make(folder)
    return folder


def real_corpus() -> Path | None:
    """RealPersonaChat itself: BERTH_TEST_CORPUS, else `../shared` next to the checkout."""
    named = os.environ.get("BERTH_TEST_CORPUS")
    beside = Path(__file__).resolve().parents[3] / "shared" / "data" / "real_persona_chat"
    found = Path(named) if named else beside
    return found if (found / "interlocutors.json").is_file() else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what the corpus tests ran on: the sample passes where the real one might not."""
    found = real_corpus()
    reported = f"RealPersonaChat in {found}" if found else "the demo's own sample (BERTH_TEST_CORPUS names a real one)"  # fmt: skip
    terminalreporter.write_line(f"trainer tests ran on {reported}")


@pytest.fixture(scope="session")
def corpus_folder(workspace: Path) -> Path:
    """RealPersonaChat itself where it is, else the sample in its format; the end says which."""
    return real_corpus() or workspace / "data" / "realpersonachat"


@pytest.fixture(scope="session")
def tokenizer(workspace: Path):
    """The demo model's tokenizer, which has a Gemma-like chat template."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(workspace / "model")


@pytest.fixture
def settings_of(tmp_path: Path) -> Callable:
    """Settings from section dictionaries, as if they stood in a config file."""

    def make(*, train_path: Path | str = "data", **sections):
        document = {"model": {"path": "model"}, "data": {"train_path": str(train_path)}}
        for name, section in sections.items():
            document.setdefault(name, {}).update(section)
        return settings_from(document, source=tmp_path / "config.json")

    return make


@pytest.fixture
def started_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    """No rank variables, no queue: as typed into a shell."""
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name in [name for name in os.environ if name.startswith("BERTH_")]:
        monkeypatch.delenv(name)


def environment(**extra: str) -> dict[str, str]:
    """A job's environment on a box with simulated GPUs, without what this shell may hold."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("BERTH_", "ACCELERATE_", "PYTEST_"))
        and name not in {"RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT", "MASTER_ADDR"}
    }
    scripts = str(Path(sys.executable).parent)
    kept["PATH"] = f"{scripts}{os.pathsep}{kept.get('PATH', '')}"
    return {
        **kept,
        "BERTH_DEVICES": "simulated",
        "DS_ACCELERATOR": "cpu",
        "OMP_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": "ignore::FutureWarning",
        **extra,
    }


@pytest.fixture
def launch() -> Iterator[Callable[..., SimpleNamespace]]:
    """
    Start the trainer, output in a file; `start` returns a handle with process and log.

    Whatever still runs at the end of the test is killed with its whole process group.
    """
    running: list[subprocess.Popen] = []

    def start(argv: list, *, cwd: Path, log: Path, **extra: str) -> SimpleNamespace:
        with log.open("wb") as output:
            process = subprocess.Popen(
                [str(word) for word in argv],
                cwd=cwd,
                env=environment(**extra),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        running.append(process)
        return SimpleNamespace(
            process=process,
            read=lambda: log.read_text("utf-8", "replace"),
            wait=lambda: process.wait(timeout=240),
        )

    yield start
    for process in running:
        if process.poll() is None:
            # SIGTERM first: torchrun's ranks are in sessions of their own, only it reaches them.
            process.terminate()
            try:
                process.wait(timeout=40)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, 9)
                process.wait()


@pytest.fixture
def tuned(workspace: Path, tmp_path: Path) -> Callable[..., Path]:
    """A copy of the demo's RealPersonaChat config with other training settings."""

    def make(**training) -> Path:
        from berth_trainer.config import lenient_json

        text = (workspace / "config_realpersonachat.json").read_text("utf-8")
        document = lenient_json.parse(text, "demo config")
        document["model"]["path"] = str(workspace / "model")
        document["data"]["train_path"] = str(workspace / "data" / "realpersonachat")
        document["data"]["max_eval_samples"] = 6
        document["training"].update({"max_length": 128, "batch_size": 1, **training})
        path = tmp_path / "config.json"
        path.write_text(json.dumps(document), "utf-8")
        return path

    return make


@pytest.fixture(scope="session")
def imported(cache_of_their_own: None) -> Iterator[subprocess.Popen]:
    """The process that runs of `chain` are forked from, with everything imported."""
    script = Path(__file__).with_name("chained.py")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(
        [sys.executable, script], env=environment(), text=True, start_new_session=True, **pipes
    )
    yield process
    process.stdin.close()
    process.wait(timeout=60)


@pytest.fixture
def chain(tuned: Callable[..., Path], imported: subprocess.Popen, tmp_path: Path):
    """
    A run of the trainer, each in a process of its own, without waiting for imports.

    Sections are keywords, `training` settings among them. Returns its exit code, what it printed,
    and its output folder.
    """
    count = 0

    def run(out: str, *words: object, env: dict[str, str] | None = None, **sections):
        nonlocal count
        count += 1
        path = tuned(**{"logging_steps": 1, "eval_steps": 0, "save_steps": 0, "warmup_steps": 0,
                        **sections.pop("training", {})})  # fmt: skip
        document = json.loads(path.read_text("utf-8"))
        zero = {"stage": 2, "offload_optimizer": "none", "offload_param": "none"}
        for name, section in {"deepspeed": zero, **sections}.items():
            document.setdefault(name, {}).update(section)
        config, log = tmp_path / f"config-{count}.json", tmp_path / f"chained-{count}"
        config.write_text(json.dumps(document), "utf-8")
        argv = [str(word) for word in ("--config", config, "--output_dir", tmp_path / out, *words)]
        spec = {"argv": argv, "log": str(log), "env": env or {}}
        imported.stdin.write(f"{json.dumps(spec)}\n")
        imported.stdin.flush()
        for line in imported.stdout:  # a library may print at its import
            if line.startswith("exit code "):
                code = int(line.removeprefix("exit code "))
                text = log.read_text("utf-8", "replace")
                return SimpleNamespace(code=code, text=text, out=tmp_path / out)
        raise AssertionError(f"{script_died(imported)}")

    return run


def script_died(process: subprocess.Popen) -> str:
    return f"the process that runs are forked from ended with {process.wait(timeout=10)}"


@pytest.fixture
def trainer_script() -> Path:
    """The script as users type its path."""
    return TRAINER
