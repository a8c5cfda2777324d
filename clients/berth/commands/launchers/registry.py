"""Table of the launchers that Berth knows."""

from __future__ import annotations

from collections.abc import Sequence

from berth.commands.call import Call
from berth.commands.launchers import (
    accelerate,
    axolotl,
    colossalai,
    composer,
    deepspeed,
    docker,
    fabric,
    llamafactory,
    mpi,
    ray,
    serving,
    swift,
    torchrun,
    torchtune,
    trl,
    ultralytics,
)
from berth.commands.launchers.known import KnownLauncher
from berth.commands.words import Word
from berth.protocol.states import Launcher

ALL: tuple[KnownLauncher, ...] = (
    deepspeed.KNOWN,
    accelerate.KNOWN,
    torchrun.KNOWN,
    llamafactory.KNOWN,
    axolotl.KNOWN,
    torchtune.KNOWN,
    trl.KNOWN,
    fabric.KNOWN,
    composer.KNOWN,
    swift.KNOWN,
    colossalai.KNOWN,
    ultralytics.KNOWN,
    serving.VLLM,
    serving.SGLANG,
    mpi.MPI,
    mpi.HOROVOD,
    ray.KNOWN,
    docker.KNOWN,
)
KNOWN: dict[Launcher, KnownLauncher] = {each.launcher: each for each in ALL}
_PROGRAMS = {name: each for each in ALL for name in each.programs}
_WITHOUT_VERB = serving.SGLANG.modules | serving.VLLM.modules
_MODULES = {name: each for each in ALL for name in each.modules}


def by_program(name: str, rest: Sequence[Word]) -> KnownLauncher | None:
    """The launcher that a program with these words behind it is."""
    return _fitting(_PROGRAMS.get(name), rest)


def by_module(name: str, rest: Sequence[Word]) -> KnownLauncher | None:
    """The launcher that `python -m NAME` with these words behind it is."""
    known = _MODULES.get(name)
    if known and name in _WITHOUT_VERB:
        return known
    return _fitting(known, rest)


def config_files(call: Call) -> tuple[str, ...]:
    """The files in which a call's launcher says more about the number of ranks."""
    known = KNOWN.get(call.launcher)
    return known.files(call) if known else ()


def takes_verb(known: KnownLauncher, rest: Sequence[Word]) -> bool:
    """True if the first word behind the program is the launcher's verb."""
    return bool(known.verbs) and bool(rest) and rest[0].text.replace("_", "-") in _hyphened(known)


def _fitting(known: KnownLauncher | None, rest: Sequence[Word]) -> KnownLauncher | None:
    if known is None or (known.verbs and not takes_verb(known, rest)):
        return None
    behind = tuple(rest[1:] if known.verbs else rest)
    return known if known.accepts(behind) else None


def _hyphened(known: KnownLauncher) -> set[str]:
    return {verb.replace("_", "-") for verb in known.verbs}
