"""Verbs `berth gpus reserve`, `reservations`, `unreserve`: GPUs set aside for users or groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from berth.cli import text
from berth.cli.declare import Argument, Option
from berth.cli.durations import moment
from berth.cli.failure import Failure
from berth.cli.flags import fields_as_flags
from berth.cli.gpu_list import GpuNames, gpu_names
from berth.cli.session import AsJson, connect, print_json
from berth.cli.table import Cell, Column, render
from berth.gpunames import named, ranges

if TYPE_CHECKING:
    from berth.protocol.gpus import Box
    from berth.protocol.reservations import Reservation

_RESERVED = (
    Column("ID", right=True),
    Column("GPUS"),
    Column("FOR", least=8),
    Column("FROM"),
    Column("TO"),
    Column("BEGINS"),
    Column("BY"),
    Column("REASON", least=8),
)


def reserve(
    gpu: GpuNames,
    *,
    users: Annotated[
        list[str] | None,
        Option("--for", metavar="USER", help="User whose jobs may start there; may be repeated."),
    ] = None,
    group: Annotated[
        list[str] | None,
        Option(
            "--for-group",
            metavar="GROUP",
            help="Unix group whose members' jobs may; may be repeated.",
        ),
    ] = None,
    begin: Annotated[
        str | None,
        Option(
            "--from",
            metavar="WHEN",
            help="Begin: 18:00, 2026-11-26T18:00, or 2h from now; default: now.",
        ),
    ] = None,
    end: Annotated[
        str,
        Option(
            "--to",
            metavar="WHEN",
            help="End: the first 20:00 after the begin, a date, or a length like 4h.",
        ),
    ],
    reason: Annotated[str, Option(metavar="TEXT", help="Reason, shown to all users.")] = "",
    as_json: AsJson = False,
) -> None:
    """Reserve GPUs for users or groups; running jobs continue."""
    if not (users or group):
        raise Failure("Name whom the GPUs are for: --for USER or --for-group GROUP.")
    starts = moment(begin) if begin else None
    with fields_as_flags(wanted=not as_json), connect() as client:
        made = client.reserve(
            gpu_names(gpu),
            users=_words(users),
            groups=_words(group),
            starts_at=starts,
            # `--from 08:00 --to 20:00` typed in the afternoon means tomorrow evening, not today's.
            ends_at=moment(end, starts),
            reason=reason,
        )
    _print_reservation(made, "is created", as_json=as_json)


def reservations(*, as_json: AsJson = False) -> None:
    """List current and future reservations."""
    with connect() as client:
        found = client.reservations()
    if as_json:
        print_json(found)
    elif found.reservations:
        print(render(_RESERVED, [_reserved(one) for one in found.reservations]))
    else:
        print("No GPU is reserved.")


def unreserve(
    reservation: Annotated[
        int, Argument(metavar="ID", help="As `berth gpus reservations` shows it.")
    ],
    *,
    as_json: AsJson = False,
) -> None:
    """Delete a reservation; its GPUs are open to all users at once."""
    with connect() as client:
        gone = client.unreserve(reservation)
    _print_reservation(gone, "is deleted", as_json=as_json)


def reservation_lines(box: Box) -> list[str]:
    """Return one line per current or future reservation."""
    found = {one.id: one for gpu in box.gpus for one in gpu.reservations}
    return [
        text.style(text.clean(f"reservation {one.id}: {_reserved_sentence(one)}"), "dim")
        for one in sorted(found.values(), key=lambda one: (one.starts_at, one.id))
    ]


def _reserved_sentence(one: Reservation) -> str:
    reason = f" ({one.reason})" if one.reason else ""
    gpus = named(one.gpu_indices) if one.gpu_indices else "missing GPUs"
    return (
        f"{gpus} for {whom(one)} from {text.clock(one.starts_at)} to "
        f"{text.clock(one.ends_at)}{reason}"
    )


def _reserved(one: Reservation) -> list[Cell]:
    return [
        str(one.id),
        ranges(one.gpu_indices),
        whom(one),
        text.clock(one.starts_at),
        text.clock(one.ends_at),
        "now" if one.active else "later",
        one.made_by,
        one.reason,
    ]


def whom(one: Reservation) -> str:
    return ", ".join([*one.users, *(f"group {group}" for group in one.groups)])


def _words(given: list[str] | None) -> list[str]:
    return [part for word in given or [] for part in word.split(",") if part]


def _print_reservation(one: Reservation, what: str, *, as_json: bool) -> None:
    if as_json:
        print_json(one)
    else:
        print(text.clean(f"Reservation {one.id} {what}: {_reserved_sentence(one)}."))
