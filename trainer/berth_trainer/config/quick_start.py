"""
Quick start: what a run does not use is not imported, and what it waits for begins early.

transformers imports packages because they are installed. Of those in a usual environment a run
uses none, and they take seconds.
"""

import contextlib
import ctypes
import os
import sys
import threading
from collections.abc import Generator
from pathlib import Path

from berth_trainer.config.settings import Settings

UNUSED = ("sklearn", "scipy", "pandas", "datasets", "pyarrow", "torchvision", "torchaudio", "peft")
"""Packages that a run does not use, but peft for an adapter and scipy for quantized states."""
_CHUNK = 1 << 24


@contextlib.contextmanager
def without_unused(settings: Settings) -> Generator[None]:
    """Let the packages that this run does not use look as if they were not installed."""
    used = {"peft"} if settings.lora.r else set[str]()
    if settings.lora.quantize != "none" or settings.training.optimizer_states == "8bit":
        used.add("scipy")  # some versions of bitsandbytes look for it
    hidden = [name for name in UNUSED if name not in used and name not in sys.modules]
    # None is Python's own mark of a module that must not be found, for find_spec as well.
    sys.modules.update(dict.fromkeys(hidden))  # pyright: ignore[reportArgumentType, reportCallIssue]
    try:
        yield
    finally:
        for name in hidden:
            if sys.modules.get(name) is None:
                sys.modules.pop(name, None)


def begin(model_folder: Path | None, gpu: int | None) -> None:
    """
    Begin what takes long and needs no Python: the GPU's context, and reading the weights.

    `model_folder`: None where another rank of this machine reads it. `gpu`: of those that are
    visible; None without one. Both are done again where they are needed, so that an error is
    reported there.
    """
    if gpu is not None:
        threading.Thread(target=_open_context, args=(gpu,), daemon=True).start()
    if model_folder is not None:
        threading.Thread(target=_read, args=(model_folder,), daemon=True).start()


def _open_context(gpu: int) -> None:
    """Make the context that torch will find: it takes a second or two, mostly within the driver."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return
    device, context = ctypes.c_int(), ctypes.c_void_p()
    if driver.cuInit(0) == 0 and driver.cuDeviceGet(ctypes.byref(device), gpu) == 0:
        driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device)


def _read(folder: Path) -> None:
    """Read the weights into the page cache, from which every rank of this machine takes them."""
    with contextlib.suppress(OSError):
        for file in sorted(folder.glob("*.safetensors")):
            descriptor = os.open(file, os.O_RDONLY)
            try:
                while os.read(descriptor, _CHUNK):
                    pass
            finally:
                os.close(descriptor)
