"""GPU count of one call, settled between its launcher, its environment and its script."""

from __future__ import annotations

from berth.commands.call import Call
from berth.commands.gpu_request import GpuRequest
from berth.commands.python import script_request
from berth.protocol.states import Launcher

RANKED = frozenset({Launcher.DEEPSPEED, Launcher.ACCELERATE, Launcher.TORCHRUN})
"""Launchers that start one rank per GPU."""


def decide(call: Call, flag: GpuRequest, environment: GpuRequest) -> tuple[GpuRequest, list[str]]:
    """
    Return what one call asks for, with warnings where its parts disagree.

    The launcher's own flag counts first: it is what decides how many ranks start. Without
    one, CUDA_VISIBLE_DEVICES and the script's own flags: the smaller of the two.
    """
    script = script_request(call.parsed.arguments)
    warnings: list[str] = []
    if flag.count is not None:
        warnings.extend(
            f"{flag.said} and {other.said or 'CUDA_VISIBLE_DEVICES'} disagree about the number "
            f"of GPUs; Berth uses {flag.said}."
            for other in (environment, script)
            if other.count not in {None, flag.count}
        )
        same = (flag, environment, script)
        indices = next((w.indices for w in same if w.indices and w.count == flag.count), None)
        return GpuRequest(flag.count, indices, flag.said), warnings
    known = [request for request in (environment, script) if request.count is not None]
    if known:
        return min(known, key=lambda request: request.count or 0), warnings
    if call.launcher in RANKED and call.parsed.script is not None:
        name = call.launcher.value
        warnings.append(
            f"The {name} command does not say how many GPUs it needs; "
            "it gets one unless the job sets `gpus`."
        )
    return GpuRequest(), warnings
