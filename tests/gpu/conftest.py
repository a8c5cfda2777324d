"""A box on the real GPUs, and runs of the trainer on chosen ones of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pynvml
import pytest

DEVICES = os.environ.get("BERTH_TEST_GPUS", "nvml")
"""`sim:2` rehearses test_two_gpus.py on the CPU, over gloo."""
# The runs here are killed in mid-collective; NVLink multicast of a GPU may not survive that.
ENVIRONMENT = {"NCCL_NVLS_ENABLE": "0", "TORCH_SYMM_MEM_DISABLE_MULTICAST": "1",
               "NVSHMEM_DISABLE_NVLS": "1"}  # fmt: skip


def gpu_count() -> int:
    """GPUs that the tests may use."""
    if DEVICES.startswith("sim:"):
        return int(DEVICES.removeprefix("sim:"))
    try:
        pynvml.nvmlInit()
        return int(pynvml.nvmlDeviceGetCount())
    except pynvml.NVMLError:
        return 0


collect_ignore = ["test_two_gpus.py"] if gpu_count() < 2 else []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was left out: a box of one GPU passes all the same."""
    if collect_ignore:
        terminalreporter.write_line(
            f"{gpu_count()} GPU here: {', '.join(collect_ignore)} needs two and was left out"
        )


@pytest.fixture
def gpu_box(open_box, tmp_path):
    """A running box on the GPUs."""
    logs = tmp_path / "daemons"
    logs.mkdir()
    with open_box(logs, gpus=DEVICES) as box:
        yield box


@pytest.fixture
def real() -> bool:
    """Return whether these are GPUs with a driver; False in a rehearsal."""
    return DEVICES == "nvml"


@pytest.fixture
def card_environment() -> dict[str, str]:
    """Variables that whatever lets several GPUs talk to each other is to be started with."""
    return dict(ENVIRONMENT)


@pytest.fixture
def config(workspace, tmp_path):
    """
    Write the demo's configuration with other keys; its path. Everything in fp32 and on the GPU,
    so that runs can be compared and nothing has to be built.
    """

    def make(name: str, **sections) -> Path:
        from berth_trainer.config import lenient_json

        text = (workspace / "config_realpersonachat.json").read_text("utf-8")
        document = lenient_json.parse(text, "the demo's configuration")
        document["model"] = {"path": str(workspace / "model"), "dtype": "fp32"}
        document["data"]["train_path"] = str(workspace / "data" / "realpersonachat")
        document["deepspeed"] = {"stage": 3, "offload_optimizer": "none", "offload_param": "none"}
        for section, keys in sections.items():
            document.setdefault(section, {}).update(keys)
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(document))
        return path

    return make


@pytest.fixture
def start(tmp_path):
    """
    Start the trainer without the queue on so many GPUs, with a real launcher where they are two.

    The handle has `process`, `read` for its output and `done`, which waits for a good end.
    Whatever still runs at the end of the test is stopped.
    """
    import berth_trainer

    script = Path(berth_trainer.__file__).with_name("train_deepspeed.py")
    launchers = {
        "deepspeed": ["-m", "deepspeed.launcher.runner", "--num_gpus=2"],
        "torchrun": ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"],
    }
    running: list[subprocess.Popen[bytes]] = []

    def go(
        name: str, *words, launcher: str = "", card: int = 0, more: dict[str, str] | None = None
    ) -> SimpleNamespace:
        log = tmp_path / f"{name}.log"
        argv = [sys.executable, *launchers.get(launcher, []), script, *words]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [str(word) for word in argv],
                cwd=tmp_path,
                env=_environment(tmp_path)
                | (more or {})
                | ({} if launcher else {"CUDA_VISIBLE_DEVICES": f"{card}"}),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        running.append(process)
        handle = SimpleNamespace(
            process=process, read=lambda: log.read_text("utf-8", "replace"), done=lambda: None
        )

        def done() -> None:
            assert process.wait(timeout=200) == 0, handle.read()[-6000:]

        handle.done = done
        return handle

    yield go
    for process in running:
        if process.poll() is None:
            process.terminate()  # torchrun's ranks are in sessions of their own: it ends them
            try:
                process.wait(timeout=40)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, 9)
                process.wait()


def _environment(folder: Path) -> dict[str, str]:
    ours = ("BERTH_", "ACCELERATE_", "PYTEST_", "RANK", "LOCAL_", "WORLD_SIZE", "MASTER_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    reported = {"XDG_CACHE_HOME": str(folder / "cache"), "PYTHONUNBUFFERED": "1"}
    if DEVICES.startswith("sim:"):
        reported |= {"BERTH_DEVICES": "simulated", "DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1"}
    return {**kept, **ENVIRONMENT, **reported}
