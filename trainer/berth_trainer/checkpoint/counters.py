"""An optimizer's loaded states, in the form that this optimizer reads."""

from typing import Any


def fit(optimizer: Any) -> None:
    """
    Give each state the counter, and each group the settings, that this optimizer reads.

    DeepSpeed's Adam on the host counts in a plain number and refuses a tensor; torch's counts in
    a tensor, one of a single kernel in one on the parameter's device. A run that moves its
    optimizer to the host or back, as the out-of-memory ladder does, meets the other's. Each state
    gets a counter of its own: DeepSpeed lets all share one after a conversion. A setting that the
    other one has no name for takes this optimizer's default.
    """
    import torch
    from deepspeed.ops.adam import DeepSpeedCPUAdam

    for group in optimizer.param_groups:
        for name, value in optimizer.defaults.items():
            group.setdefault(name, value)
    on_device = optimizer.defaults.get("fused") or optimizer.defaults.get("capturable")
    for parameter, state in optimizer.state.items():
        step = state.get("step")
        if step is None:
            continue
        if isinstance(optimizer, DeepSpeedCPUAdam):
            state["step"] = int(step)
        elif isinstance(step, torch.Tensor):
            device = parameter.device if on_device else step.device
            state["step"] = step.to(device, copy=True)
        elif isinstance(optimizer, torch.optim.Adam):
            device = parameter.device if on_device else "cpu"
            state["step"] = torch.tensor(float(step), dtype=torch.float32, device=device)
