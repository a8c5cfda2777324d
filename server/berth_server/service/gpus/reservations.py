"""Reservations: an admin sets GPUs aside for users or groups for some time."""

from __future__ import annotations

from berth.protocol.message import GpuRef, Message, UserRef
from berth.protocol.reservations import Reservation, ReservationList, ReservationRequest
from berth_server.core.explain.phrases import because, clock_at, code, user_list
from berth_server.service.auth.callers import Caller
from berth_server.service.errors import Conflict, Forbidden, Invalid, NotFound
from berth_server.service.gpus.drain import find_gpu
from berth_server.service.scheduling.views import moment
from berth_server.service.state import ServerState
from berth_server.service.transaction import change
from berth_server.store import events, jobs, reservations
from berth_server.store.database import Transaction
from berth_server.store.gpus import KnownGpu
from berth_server.store.reservations import ReservationRecord


def on_reserve(server: ServerState, caller: Caller, wish: ReservationRequest) -> Reservation:
    """
    Set GPUs aside; jobs that run there already go on.

    Raises Forbidden, NotFound for an unknown GPU, Invalid for unknown names and times that are
    over, Conflict where one of the GPUs is reserved for others in that time.
    """
    _may_reserve(caller)
    found = {gpu.uuid: gpu for gpu in (find_gpu(server, name) for name in wish.gpus)}
    gpus = sorted(found.values(), key=lambda gpu: gpu.index)
    _check_names(server, wish)
    now = server.clock()
    starts_at = now if wish.starts_at is None else wish.starts_at.timestamp()
    ends_at = wish.ends_at.timestamp()
    if ends_at <= max(now, starts_at):
        over = ("The reservation would be over already (", clock_at(ends_at))
        raise Invalid(Message.of(*over, "); give a later end."), "ends_at")
    users, groups = tuple(sorted(set(wish.users))), tuple(sorted(set(wish.groups)))
    for other in server.reservations:
        meets = starts_at < other.ends_at and other.starts_at < ends_at
        shared = [gpu for gpu in gpus if gpu.uuid in other.gpus]
        if meets and shared and (other.users, other.groups) != (users, groups):
            message = Message.of(
                *(_named(shared), f" {'is' if len(shared) == 1 else 'are'} reserved for "),
                *(_whom(other), " from ", clock_at(other.starts_at), " to "),
                *(clock_at(other.ends_at), f" (reservation {other.id}); choose other GPUs or "),
                "times, or delete that one first.",
            )
            raise Conflict(message, "gpus")
    with change(server, caller.user) as tx:
        made = reservations.insert(
            tx,
            gpus=tuple(gpu.uuid for gpu in gpus),
            users=users,
            groups=groups,
            starts_at=starts_at,
            ends_at=ends_at,
            reason=wish.reason,
        )
        message = Message.of(
            *(UserRef(name=caller.user), " reserves ", _named(gpus), " for "),
            *(user_list([*users, *groups]), " from ", clock_at(starts_at), " to "),
            *(clock_at(ends_at), because(wish.reason), "."),
        )
        events.write(tx, "reservation.made", message, data={"reservation": made})
        _reload(server, tx)
    server.on_due.send()
    return _shown(server, next(one for one in server.reservations if one.id == made))


def on_unreserve(server: ServerState, caller: Caller, reservation_id: int) -> Reservation:
    """Take a reservation back. Raises Forbidden and NotFound."""
    _may_reserve(caller)
    record = next((one for one in server.reservations if one.id == reservation_id), None)
    if record is None:
        raise NotFound(
            Message.of(
                f"There is no reservation {reservation_id}, or it is over; ",
                code("berth gpus reservations"),
                " shows which there are.",
            )
        )
    with change(server, caller.user) as tx:
        reservations.delete(tx, reservation_id)
        deleted = f" deleted reservation {reservation_id} for "
        message = Message.of(UserRef(name=caller.user), deleted, _whom(record), ".")
        events.write(tx, "reservation.deleted", message, data={"reservation": reservation_id})
        _reload(server, tx)
    return _shown(server, record)


def on_reservations_over(server: ServerState) -> None:
    """Forget the reservations that have come to their end."""
    now = server.clock()
    over = [one for one in server.reservations if one.ends_at <= now]
    if not over:
        return
    with change(server) as tx:
        for record in over:
            reservations.delete(tx, record.id)
            message = Message.of(f"Reservation {record.id} for ", _whom(record), " is over.")
            events.write(tx, "reservation.over", message, data={"reservation": record.id})
        _reload(server, tx)


def show_reservations(server: ServerState) -> ReservationList:
    """All that are not over, soonest first."""
    return ReservationList(reservations=_current(server, None))


def on_gpu(server: ServerState, uuid: str) -> list[Reservation]:
    """Those of one GPU that are not over, soonest first."""
    return _current(server, uuid) if server.reservations else []


def _current(server: ServerState, uuid: str | None) -> list[Reservation]:
    now = server.clock()
    return [
        _shown(server, one)
        for one in server.reservations
        if one.ends_at > now and (uuid is None or uuid in one.gpus)
    ]


def _shown(server: ServerState, record: ReservationRecord) -> Reservation:
    return Reservation(
        id=record.id,
        gpu_uuids=list(record.gpus),
        gpu_indices=[gpu.index for gpu in server.known_gpus if gpu.uuid in record.gpus],
        users=list(record.users),
        groups=list(record.groups),
        starts_at=moment(record.starts_at),
        ends_at=moment(record.ends_at),
        reason=record.reason,
        made_by=record.actor,
        active=record.starts_at <= server.clock(),
    )


def _check_names(server: ServerState, wish: ReservationRequest) -> None:
    """A reservation for an unknown name would keep the GPUs from all users."""
    for user in wish.users:
        if not server.groups.knows_user(user) and not jobs.has_user(server.db.read, user):
            sentence = f"There is no user {user!r} on this box; check the name."
            raise Invalid(sentence, "users")
    for group in wish.groups:
        if not server.groups.knows(group):
            sentence = f"There is no group {group!r} on this box; check the name."
            raise Invalid(sentence, "groups")


def _whom(record: ReservationRecord) -> Message:
    return user_list([*record.users, *record.groups])


def _named(gpus: list[KnownGpu]) -> GpuRef:
    return GpuRef(indices=tuple(gpu.index for gpu in gpus))


def _reload(server: ServerState, tx: Transaction) -> None:
    server.reservations = reservations.all_of(tx)
    server.cache.version += 1


def _may_reserve(caller: Caller) -> None:
    if not caller.admin:
        raise Forbidden("Only an admin may reserve GPUs; ask an admin of this box.")
