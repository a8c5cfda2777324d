"""Routes of reservations: GPUs set aside for a user or a group."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path

from berth.protocol.reservations import Reservation, ReservationList, ReservationRequest
from berth_server.api import routing
from berth_server.api.bodies import JsonBody
from berth_server.api.context import By, Server
from berth_server.api.routes.jobs import MAX_ID
from berth_server.service.gpus.reservations import on_reserve, on_unreserve, show_reservations

router = routing.router(prefix="/api/v1/reservations", tag="gpus")


@router.get("", summary="List the reservations that are not over")
async def list_reservations(server: Server) -> ReservationList:
    """The earliest first."""
    return show_reservations(server)


@router.post("", status_code=201, summary="Reserve GPUs")
async def reserve(server: Server, caller: By, wish: JsonBody[ReservationRequest]) -> Reservation:
    """
    Jobs of others start there only if their time limit ends before the reservation begins; what
    runs there goes on. For admins.
    """
    return on_reserve(server, caller, wish)


@router.delete("/{reservation_id}", summary="Cancel a reservation")
async def unreserve(
    server: Server,
    caller: By,
    reservation_id: Annotated[
        int, Path(ge=1, le=MAX_ID, description="Id of the reservation.", examples=[3])
    ],
) -> Reservation:
    """The GPUs are free for all at once. Answers with what it was. For admins."""
    return on_unreserve(server, caller, reservation_id)
