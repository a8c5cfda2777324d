"""Leases that move: on a cluster Slurm has the last word on which GPUs an attempt gets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from berth_server.store.attempts import get, hold_others, lease
from berth_server.store.database import Transaction
from berth_server.store.records import AttemptRecord


@dataclass(slots=True, frozen=True)
class HeldGpu:
    """A GPU as an attempt's record names it."""

    uuid: str
    index: int
    minor: int | None


def move(tx: Transaction, record: AttemptRecord, gpus: Sequence[HeldGpu]) -> bool:
    """
    Let an attempt hold these GPUs in place of those that it was planned for.

    Attempts that were planned for them get what it leaves. Returns False, and changes nothing,
    where one of those has been launched there itself: its end is still to be reported.
    """
    planned = _planned(record)
    wanted = {gpu.uuid: gpu for gpu in gpus}
    left = [gpu for gpu in planned if gpu.uuid not in wanted]
    taken = [gpu for gpu in gpus if gpu.uuid not in {one.uuid for one in planned}]
    holders: dict[tuple[int, int], list[HeldGpu]] = {}
    for gpu in taken:
        row = tx.one(
            "SELECT job_id, number FROM leases WHERE gpu_uuid = ? AND released_at IS NULL",
            (gpu.uuid,),
        )
        if row is not None:
            holders.setdefault((row[0], row[1]), []).append(gpu)
    others = [(get(tx, *key), lost) for key, lost in holders.items()]
    if any(other is None or other.launch is not None for other, _ in others):
        return False
    changed = [(record, list(gpus))]
    for other, lost in others:
        assert other is not None
        gone = {gpu.uuid for gpu in lost}
        kept = [gpu for gpu in _planned(other) if gpu.uuid not in gone]
        given, left = left[: len(lost)], left[len(lost) :]
        changed.append((other, [*kept, *given]))
    for each, _ in changed:
        _give_up(tx, each)
    for each, held in changed:
        _hold(tx, each, held)
    return True


def _planned(record: AttemptRecord) -> list[HeldGpu]:
    return [HeldGpu(*gpu) for gpu in json.loads(record.gpus)]


def _give_up(tx: Transaction, record: AttemptRecord) -> None:
    tx.execute(
        "UPDATE leases SET released_at = ? WHERE job_id = ? AND number = ? AND released_at IS NULL",
        (tx.now, record.job_id, record.number),
    )


def _hold(tx: Transaction, record: AttemptRecord, gpus: Sequence[HeldGpu]) -> None:
    held = sorted(gpus, key=lambda gpu: gpu.index)
    named = json.dumps([[gpu.uuid, gpu.index, gpu.minor] for gpu in held])
    hold_others(tx, record.job_id, record.number, named)
    lease(tx, replace(record, created_at=tx.now), [gpu.uuid for gpu in held], None)
