"""How many GPUs one call asks for when launcher, environment and script all say something."""

from __future__ import annotations

from berth.commands.call import Call
from berth.commands.cards import Wish
from berth.commands.python import script_wish
from berth.protocol.states import Launcher

RANKED = frozenset({Launcher.DEEPSPEED, Launcher.ACCELERATE, Launcher.TORCHRUN})
"""Launchers that start one rank per GPU."""


def decide(call: Call, flag: Wish, environment: Wish) -> tuple[Wish, list[str]]:
    """
    Settle what one call asks for, with a warning where its parts disagree.

    The launcher's own flag counts first: it is what decides how many ranks start. Without
    one, CUDA_VISIBLE_DEVICES and the script's own flags: the smaller of the two.
    """
    script = script_wish(call.given.arguments)
    warnings: list[str] = []
    if flag.count is not None:
        warnings.extend(
            f"{flag.said} and {other.said or 'CUDA_VISIBLE_DEVICES'} disagree about the number "
            f"of GPUs; Berth goes by {flag.said}."
            for other in (environment, script)
            if other.count not in {None, flag.count}
        )
        same = (flag, environment, script)
        indices = next((w.indices for w in same if w.indices and w.count == flag.count), None)
        return Wish(flag.count, indices, flag.said), warnings
    known = [wish for wish in (environment, script) if wish.count is not None]
    if known:
        return min(known, key=lambda wish: wish.count or 0), warnings
    if call.launcher in RANKED and call.given.script is not None:
        name = call.launcher.value
        warnings.append(
            f"The {name} command does not say how many GPUs it wants; "
            "it gets one unless the job says `gpus`."
        )
    return Wish(), warnings
