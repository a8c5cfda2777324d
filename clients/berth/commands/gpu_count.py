"""GPU count of one call, settled between its launcher, its environment and its script."""

from __future__ import annotations

from berth.commands.call import Call
from berth.commands.gpu_request import GpuRequest
from berth.commands.launchers import registry
from berth.commands.python import script_request
from berth.protocol.states import Launcher

RANKED = frozenset({Launcher.DEEPSPEED, Launcher.ACCELERATE, Launcher.TORCHRUN})
"""Launchers that start a training script, one rank per GPU."""
STARTERS = frozenset(registry.KNOWN)
"""Every launcher that Berth knows."""


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
    return GpuRequest(), warnings


def unsettled(call: Call, request: GpuRequest) -> list[str]:
    """The note for a launcher whose number of ranks cannot be read: with the flag that settles it."""
    known = registry.KNOWN.get(call.launcher)
    if known is None or request.count is not None or known.alone(call) or _asks_help(call):
        return []
    sentence = (
        f"The {known.name} command does not say how many GPUs it needs; it gets one unless the "
        f"job sets `gpus` (--gpus N) or the command says {known.settles}."
    )
    return [sentence]


def _asks_help(call: Call) -> bool:
    last = call.parsed.arguments[:1]
    return call.parsed.has("help", "version") or bool(last and last[0].text in {"--help", "-h"})
