"""
Ultralytics, `yolo detect train data=x.yaml device=0,1`.

With several devices it starts torchrun on a port that it finds free; the numbers count the GPUs
that the job sees. Releases before 8.4 took them for the box's and set CUDA_VISIBLE_DEVICES.
"""

from __future__ import annotations

from berth.commands import gpu_request
from berth.commands.call import Call, FlagReading, LeaseSlice
from berth.commands.gpu_request import GpuRequest
from berth.commands.launchers.known import KnownLauncher, Surroundings, program, ranks_note
from berth.commands.words import Word, word
from berth.protocol.states import Launcher

_NAME = "device="


def _device(call: Call) -> Word | None:
    """The last `device=…`, which counts."""
    found = [each for each in call.parsed.arguments if each.text.startswith(_NAME)]
    return found[-1] if found else None


def _read(call: Call, _around: Surroundings) -> FlagReading:
    device = _device(call)
    if device is None:
        return FlagReading()
    listed = device.text.removeprefix(_NAME).strip("[]()'\" ").replace("cuda:", "")
    names = [name.strip() for name in listed.split(",") if name.strip()]
    if names == ["cpu"]:
        return FlagReading(request=GpuRequest(0, (), device.raw))
    if names and set(names) == {"-1"}:
        # -1 takes an idle GPU, `-1,-1` two of them.
        return FlagReading(request=GpuRequest(len(names), None, device.raw))
    return FlagReading(request=gpu_request.index_list(listed, device.raw))


def _rewrite(call: Call, leased: LeaseSlice, _around: Surroundings) -> list[Word]:
    device, number = _device(call), len(leased.visible)
    asked = _read(call, _around).request
    own = asked.indices is None and asked.count == number
    if not number or own or (device is None and number == 1):
        return [*program(call, leased), *call.parsed.arguments]
    became = f"{_NAME}{','.join(map(str, range(number)))}"
    leased.note(device.raw if device else "", became, ranks_note(number, leased))
    kept = [each for each in call.parsed.arguments if not each.text.startswith(_NAME)]
    return [*program(call, leased), *kept, word(became)]


KNOWN = KnownLauncher(
    launcher=Launcher.ULTRALYTICS,
    name="yolo",
    programs=frozenset({"yolo", "ultralytics"}),
    settles="device=0,1,…",
    starts="starts one rank for each device that it names",
    count="`device=`, a list; `-1,-1` for two idle ones; without it one process",
    port="one that it finds free itself",
    ends="torchrun's ranks, below a parent that does not forward TERM; Berth ends all of them; "
    "exit code 1 for any failed rank",
    read=_read,
    rewrite=_rewrite,
    alone=lambda call: _device(call) is None,
    accepts=lambda rest: any(each.text == "train" or "=" in each.text for each in rest),
)
