"""GPU requests: the counts and lists that users write, `4,5`, `localhost:4,5`, `GPU-uuid`, `gpu`."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import cast

from berth.commands.errors import CommandError


@dataclass(frozen=True)
class GpuRequest:
    """The GPUs that one flag or variable asks for."""

    count: int | None = None
    indices: tuple[int, ...] | None = None
    said: str = ""
    """The flag or variable, as the user wrote it."""


def visible_devices(value: str, said: str) -> GpuRequest:
    """Read CUDA_VISIBLE_DEVICES: indices, UUIDs or MIG names; empty or -1 means none."""
    names = [name.strip() for name in value.split(",") if name.strip()]
    if value.strip() == "-1" or not names:
        return GpuRequest(0, (), said)
    if all(name.isdecimal() for name in names):
        indices = tuple(dict.fromkeys(_index(name) for name in names))
        return GpuRequest(len(indices), indices, said)
    if all(name.startswith(("GPU-", "MIG-")) for name in names):
        return GpuRequest(len(set(names)), None, said)
    return GpuRequest(None, None, said)


def index_list(value: str, said: str) -> GpuRequest:
    """Read a plain list, `4,5`; anything else (`all`, `auto`, a variable) says nothing."""
    names = [name.strip() for name in value.replace(" ", ",").split(",") if name.strip()]
    if names and all(name.isdecimal() for name in names):
        indices = tuple(dict.fromkeys(_index(name) for name in names))
        return GpuRequest(len(indices), indices, said)
    return GpuRequest(None, None, said)


def count(value: str, said: str) -> GpuRequest:
    """Read a number; anything else (`gpu`, `auto`, -1, a variable) says nothing."""
    text = value.strip()
    if text.isdecimal() and 0 < _index(text) <= 1024:
        return GpuRequest(_index(text), None, said)
    return GpuRequest(None, None, said)


def inclusion(value: str, said: str) -> GpuRequest:
    """
    Read deepspeed's `--include localhost:4,5`.

    Raises CommandError for other hosts and for what deepspeed itself cannot read.
    """
    if "@" in value:
        raise CommandError(
            f"{said} names several machines, but Berth runs on this box only; "
            "write the GPUs as localhost:0,1."
        )
    host, colon, slots = value.partition(":")
    if host.strip() not in {"localhost", "127.0.0.1"}:
        raise CommandError(
            f"{said} names the machine {host!r}, but Berth runs on this box only; "
            "write localhost instead."
        )
    if not colon:
        return GpuRequest(None, None, said)
    request = index_list(slots, said)
    if request.count is None:
        raise CommandError(
            f"{said} is not a list of GPUs; write it with commas, localhost:4,5,6,7."
        )
    return request


def world_info(value: str, said: str) -> GpuRequest:
    """Read the --world_info of `deepspeed.launcher.launch`; unreadable says nothing."""
    try:
        decoded: object = json.loads(base64.urlsafe_b64decode(value))
    except (ValueError, binascii.Error, RecursionError):
        return GpuRequest(None, None, said)
    if not isinstance(decoded, dict):
        return GpuRequest(None, None, said)
    hosts = list(cast("dict[str, object]", decoded).values())
    slots: object = hosts[0] if len(hosts) == 1 else None
    if not isinstance(slots, list):
        return GpuRequest(None, None, said)
    return index_list(",".join(str(slot) for slot in cast("list[object]", slots)), said)


def encode_world_info(visible: tuple[int, ...], nodes: int = 1) -> str:
    """
    Write the --world_info that starts one rank on each of these GPUs.

    Of the other nodes a node needs to know only how many ranks they have, and all have as many.
    """
    names = ["localhost"] if nodes == 1 else [f"node{n}" for n in range(nodes)]
    return base64.urlsafe_b64encode(
        json.dumps({name: list(visible) for name in names}).encode()
    ).decode()


def joined(indices: tuple[int, ...]) -> str:
    """Write a list the way launchers read it: 4,5,6,7."""
    return ",".join(str(index) for index in indices)


def _index(text: str) -> int:
    # int() refuses more than 4,300 digits with an error of its own.
    return int(text[:9])
