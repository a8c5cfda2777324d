"""Routes of reservations: GPUs set aside for somebody."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Request, Response

from berth.protocol.reservations import Reservation, ReservationList, ReservationRequest
from berth_server.api import routing
from berth_server.api.answers import answer
from berth_server.api.bodies import body_of, described
from berth_server.api.context import caller, context
from berth_server.service.gpus.reservations import on_reserve, on_unreserve, show_reservations

router = routing.router(prefix="/api/v1/reservations", tag="gpus")


@router.get("", response_model=ReservationList, summary="List the reservations that are not over")
async def list_reservations(request: Request) -> Response:
    """Soonest first."""
    return answer(show_reservations(context(request).server))


@router.post(
    "",
    response_model=Reservation,
    status_code=201,
    summary="Set GPUs aside for somebody",
    openapi_extra=described(ReservationRequest),
)
async def reserve(request: Request) -> Response:
    """
    Jobs of others start there only if their time limit ends before it begins; what runs there
    already goes on. For admins.
    """
    wish = await body_of(request, ReservationRequest)
    return answer(on_reserve(context(request).server, caller(request), wish), status=201)


@router.delete("/{reservation_id}", response_model=Reservation, summary="Take a reservation back")
async def unreserve(
    request: Request,
    reservation_id: Annotated[
        int, Path(ge=1, le=2**63 - 1, description="Id of the reservation.", examples=[3])
    ],
) -> Response:
    """The GPUs are everybody's again at once. Answers with what it was. For admins."""
    return answer(on_unreserve(context(request).server, caller(request), reservation_id))
