"""
Axolotl, `axolotl train x.yaml -- …`.

It starts `accelerate launch`, or torchrun with `--launcher torchrun`, with what stands after `--`.
"""

from __future__ import annotations

from dataclasses import replace

from berth.commands.call import Call, FlagReading, LeaseSlice
from berth.commands.launchers import accelerate, flags, torchrun
from berth.commands.launchers.known import KnownLauncher, Surroundings, program, ranks_note
from berth.commands.options import ParsedArgs
from berth.commands.words import Word, word
from berth.protocol.states import Launcher

_OWN_RANKS = ("--num-processes", "--main-process-port")


def _parts(call: Call) -> tuple[tuple[Word, ...], tuple[Word, ...]]:
    """Axolotl's own words, and its launcher's behind `--`."""
    words = call.parsed.arguments
    at = next((n for n, each in enumerate(words) if each.text == "--"), len(words))
    return words[:at], words[at + 1 :]


def _inner(call: Call) -> Call | None:
    """The call of the launcher that axolotl will start; None where it starts none."""
    own, behind = _parts(call)
    chosen = flags.find(own, "--launcher")
    name = chosen.value if chosen else "accelerate"
    if name not in {"accelerate", "torchrun"} or flags.has(own, "--use-ray", "--cloud"):
        return None
    options = accelerate.OPTIONS if name == "accelerate" else torchrun.OPTIONS
    launcher = Launcher.ACCELERATE if name == "accelerate" else Launcher.TORCHRUN
    found = options.parse(behind).flags
    return replace(call, launcher=launcher, parsed=ParsedArgs(found, word("-m"), ()))


def _read(call: Call, around: Surroundings) -> FlagReading:
    inner = _inner(call)
    if inner is None:
        return FlagReading(
            warnings=("This axolotl command starts no ranks of its own: one process trains.",)
        )
    reader = accelerate if inner.launcher is Launcher.ACCELERATE else torchrun
    reading = reader.read_flags(inner, around)
    legacy = flags.count(_parts(call)[0], "--num-processes")
    return reading if reading.request.count is not None else replace(reading, request=legacy)


def _rewrite(call: Call, leased: LeaseSlice, around: Surroundings) -> list[Word]:
    inner = _inner(call)
    own, _ = _parts(call)
    if inner is None or flags.has(own, "--help"):
        return [*program(call, leased), *call.parsed.arguments]
    kept, taken = flags.without(own, _OWN_RANKS)
    if taken:
        number = len(leased.visible) or _read(call, around).request.count or 1
        leased.note(" ".join(taken), "", ranks_note(number, leased))
    launcher = accelerate if inner.launcher is Launcher.ACCELERATE else torchrun
    if not leased.visible:
        inner = _with_number(inner, _read(call, around).request.count)
    return [*program(call, leased), *kept, word("--"), *launcher.own_flags(inner, leased)]


def _with_number(inner: Call, number: int | None) -> Call:
    """Keep the number that axolotl's own flag said, for a job without a GPU."""
    name = "--num_processes" if inner.launcher is Launcher.ACCELERATE else "--nproc_per_node"
    options = accelerate.OPTIONS if inner.launcher is Launcher.ACCELERATE else torchrun.OPTIONS
    said = options.parse([word(f"{name}={number or 1}")]).flags
    return replace(inner, parsed=replace(inner.parsed, flags=(*inner.flags, *said)))


def _files(call: Call) -> tuple[str, ...]:
    inner = _inner(call)
    return () if inner is None else accelerate.config_files(inner)


KNOWN = KnownLauncher(
    launcher=Launcher.AXOLOTL,
    name="axolotl",
    programs=frozenset({"axolotl"}),
    verbs=frozenset({"train", "evaluate", "inference", "merge-sharded-fsdp-weights"}),
    modules=frozenset({"axolotl.cli.main"}),
    settles="-- --num_processes=N",
    count="its launcher's flag after `--`, else `--num-processes`",
    port="its launcher's flag after `--`, set to the leased one",
    ends="it becomes its launcher: as accelerate, or as torchrun",
    read=_read,
    rewrite=_rewrite,
    files=_files,
    alone=lambda call: _inner(call) is None,
)
