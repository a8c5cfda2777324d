"""GPUs of this machine, by the driver: a CUDA context in this process would take memory."""

from __future__ import annotations

import os


def count() -> int:
    """Return the number of GPUs; 0 without a driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
        return int(pynvml.nvmlDeviceGetCount())
    except pynvml.NVMLError:
        return 0


def size() -> int:
    """Return the bytes of the first GPU as CUDA has them; 80 GiB without one."""
    import pynvml

    try:
        pynvml.nvmlInit()
        gpu = pynvml.nvmlDeviceGetHandleByIndex(0)
        memory = pynvml.nvmlDeviceGetMemoryInfo(gpu, version=pynvml.nvmlMemory_v2)
    except pynvml.NVMLError:
        return 80 << 30
    return int(memory.total) - int(memory.reserved)


def layers_that_fit(shape: str, *, gpus: int) -> int:
    """
    Return how many layers of the shape so many GPUs hold by the plan, with fp32 states: the whole model
    on one, divided by stage 3 on several.
    """
    from shapes import config_of

    from berth_trainer.memory import Budget, Setup, estimate, read_shape

    budget = Budget(gpu=size(), host=1 << 50)
    setup = Setup(
        gpus=gpus,
        stage=1 if gpus == 1 else 3,
        loss="chunked",
        chunk_tokens=512,
        fused=True,
        tokens=4096,
    )
    fitting = [
        depth
        for depth in range(1, config_of(shape).num_hidden_layers + 1)
        if budget.fits(estimate(read_shape(config_of(shape, depth).to_dict()), setup))
    ]
    return max(fitting, default=1)


def own_device(*, cuda: bool) -> str:
    """Return the torch device of this rank."""
    from berth_trainer.training.ranks import ranks_from

    return f"cuda:{ranks_from(os.environ).local_rank}" if cuda else "cpu"
