"""Free GPUs for the one who looks: now, and next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from berth.protocol.gpus import Gpu, Holder, NextFree
from berth.protocol.message import Message
from berth.protocol.reservations import Reservation
from berth.protocol.states import HolderKind
from berth_server.core.explain.phrases import user_list
from berth_server.service.scheduling.views import moment
from berth_server.service.state import ServerState

_TOGETHER = timedelta(seconds=1)


@dataclass
class Free:
    """The GPUs on which a user's job could start now, and the next one."""

    indices: list[int] = field(default_factory=list[int])
    reserved: list[tuple[int, Reservation]] = field(default_factory=list[tuple[int, Reservation]])
    """GPUs that nothing but a reservation for others keeps from the user."""
    next: NextFree | None = None

    def reserved_for(self) -> list[tuple[int, Message]]:
        """The number of such GPUs with the users they are for, the most first."""
        names = Counter((*one.users, *one.groups) for _, one in self.reserved)
        return [(count, Message.of(user_list(list(who)))) for who, count in names.most_common()]


@dataclass(frozen=True, order=True, slots=True)
class _End:
    """Time at which a GPU comes free."""

    at: datetime
    estimated: bool
    late: datetime
    """Nine of ten times it is free by then."""


def free_for(server: ServerState, gpus: Sequence[Gpu], user: str | None) -> Free:
    """Return what is free for jobs of a user; None sees every reservation as others'."""
    now = moment(server.clock())
    found = Free()
    ends: list[tuple[_End, int]] = []
    for gpu in gpus:
        closed = [one for one in gpu.reservations if not _admits(server, one, user)]
        active = [one for one in closed if one.starts_at <= now < one.ends_at]
        idle = gpu.holder.kind is HolderKind.FREE and gpu.blocked is None and not gpu.draining
        if idle and not active:
            found.indices.append(gpu.index)
            continue
        if idle:
            found.reserved.append((gpu.index, active[0]))
        end = _comes_free(gpu, closed, now)
        if end is not None:
            ends.append((end, gpu.index))
    if ends:
        first, _ = min(ends)
        together = {index: end for end, index in ends if end.at - first.at < _TOGETHER}
        late = max(end.late for end in together.values()) if first.estimated else None
        found.next = NextFree(
            gpu_indices=sorted(together), at=first.at, late=late, estimated=first.estimated
        )
    return found


def _admits(server: ServerState, one: Reservation, user: str | None) -> bool:
    if user is None:
        return False
    return user in one.users or any(server.groups.has(group, user) for group in one.groups)


def _comes_free(gpu: Gpu, closed: Sequence[Reservation], now: datetime) -> _End | None:
    """Return when a GPU is open for the user; None: not in sight."""
    if gpu.blocked is not None:
        return None
    free = _End(now, estimated=False, late=now)
    for holder in gpu.holders:
        end = _end(holder, now)
        if end is None:
            return None
        free = replace(max(free, end), late=max(free.late, end.late))
    if gpu.draining:
        if gpu.drain_until is None:
            return None
        if gpu.drain_until > free.at:
            free = _End(gpu.drain_until, estimated=False, late=gpu.drain_until)
    for one in sorted(closed, key=lambda each: each.starts_at):
        if one.starts_at <= free.at < one.ends_at:
            free = _End(one.ends_at, estimated=False, late=one.ends_at)
    return free


def _end(holder: Holder, now: datetime) -> _End | None:
    """Time at which a job ends by its own progress or its limit; None when it has neither."""
    if holder.kind is not HolderKind.JOB:
        return None
    until = holder.until
    progress = holder.progress
    if progress is not None and progress.seconds_left is not None:
        at = now + timedelta(seconds=progress.seconds_left)
        late = now + timedelta(seconds=progress.seconds_left_p90 or progress.seconds_left)
        if until is None or at < until:
            return _End(at, estimated=True, late=late if until is None else min(late, until))
    return None if until is None else _End(until, estimated=False, late=until)
