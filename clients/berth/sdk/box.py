"""Client calls for the box: GPUs, events, health."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from urllib.parse import quote

from berth.protocol.events import Event, EventPage
from berth.protocol.gpus import Box, DrainRequest, Gpu
from berth.protocol.reservations import Reservation, ReservationList
from berth.protocol.server import Health, ServerSettings, UsageReport, UserList
from berth.sdk.calls import Calls
from berth.sdk.errors import Unreachable
from berth.sdk.parse import parse
from berth.sdk.patience import Patience


class BoxCalls(Calls):
    """GPUs, events and the server itself."""

    def gpus(self) -> Box:
        """Return the box and its GPUs with their holders, as the worker last saw them."""
        return self._get(Box, "/api/v1/gpus")

    def drain(
        self, gpu: str | int, reason: str | None = None, *, until: datetime | None = None
    ) -> Gpu:
        """
        Start no new jobs on a GPU (UUID or index), until a time if one is given.

        Running jobs continue.
        """
        path = f"/api/v1/gpus/{quote(str(gpu), safe='')}/drain"
        body = {"reason": reason} if until is None else {"reason": reason, "until": until}
        return self._post(Gpu, path, DrainRequest.model_validate(body))

    def undrain(self, gpu: str | int) -> Gpu:
        """Allow new jobs on a GPU (UUID or index) again."""
        return self._post(Gpu, f"/api/v1/gpus/{quote(str(gpu), safe='')}/undrain")

    def reservations(self) -> ReservationList:
        """Return current and future reservations, soonest first."""
        return self._get(ReservationList, "/api/v1/reservations")

    def reserve(
        self,
        gpus: Sequence[str | int],
        *,
        ends_at: datetime,
        users: Sequence[str] = (),
        groups: Sequence[str] = (),
        starts_at: datetime | None = None,
        reason: str = "",
    ) -> Reservation:
        """
        Set GPUs (UUIDs or indices) aside for users or groups, from now or `starts_at` on.

        For admins. Not repeated when the connection breaks.
        """
        body = {
            "gpus": [str(gpu) for gpu in gpus],
            "users": list(users),
            "groups": list(groups),
            "starts_at": starts_at.isoformat() if starts_at is not None else None,
            "ends_at": ends_at.isoformat(),
            "reason": reason,
        }
        return self._post(Reservation, "/api/v1/reservations", body, repeatable=False)

    def unreserve(self, reservation_id: int) -> Reservation:
        """Delete a reservation; its GPUs are open to all users at once. For admins."""
        return self._delete(Reservation, f"/api/v1/reservations/{reservation_id}")

    def events(
        self,
        *,
        after: int | None = None,
        limit: int | None = None,
        job: int | None = None,
        newest: bool = False,
    ) -> EventPage:
        """Return events after the one with id `after`, oldest first; with `newest` the last `limit`."""
        params = {
            "after": after,
            "limit": limit,
            "job": job,
            "order": "newest" if newest else None,
        }
        return self._get(EventPage, "/api/v1/events", params)

    def follow_events(self, *, after: int | None = None, job: int | None = None) -> Iterator[Event]:
        """
        Yield events as they happen, none missed and none twice, across restarts of the server.

        Starts after the event with id `after`, or with the next one. Never ends by itself;
        raises `Unreachable` when the server stays away longer than the client's patience.
        """
        last = after if after is not None else self.events(limit=1, newest=True).last_id
        patience = Patience(self._channel.patience_s)
        while True:
            try:
                with self._channel.stream(
                    "/api/v1/events/stream", params={"after": last, "job": job}
                ) as stream:
                    patience.opened()
                    for message in stream:
                        if message.event != "message" or not message.data:
                            continue
                        event = parse(Event, message.data.encode())
                        if event.id > last:
                            last = event.id
                            yield event
                patience.spend(Unreachable("The server ended the stream of events."))
            except Unreachable as error:
                patience.spend(error)

    def health(self) -> Health:
        """Return the server's health. Raises `Unreachable` while it cannot start jobs."""
        return self._get(Health, "/readyz")

    def liveness(self) -> Health:
        """Return the server's health as soon as it answers, able to start jobs or not."""
        return self._get(Health, "/healthz")

    def settings(self) -> ServerSettings:
        """Return the server's settings in force and the origin of each."""
        return self._get(ServerSettings, "/api/v1/settings")

    def usage(self, month: str | None = None, *, by: str = "user") -> UsageReport:
        """
        Return a month's use of the GPUs (`2026-11`, default the present one).

        `by` is `user`, `group` or `label:KEY`. Raises `InvalidRequest`.
        """
        return self._get(UsageReport, "/api/v1/usage", {"month": month, "by": by})

    def users(self) -> UserList:
        """Return the users of the box with what each has."""
        return self._get(UserList, "/api/v1/users")
