"""The part of the client that deals with the box: GPUs, events, health."""

from __future__ import annotations

from collections.abc import Iterator

from berth.protocol.events import Event, EventPage
from berth.protocol.gpus import Box, DrainRequest
from berth.sdk.channel import Channel
from berth.sdk.errors import BerthError, Unreachable
from berth.sdk.parse import parse
from berth.sdk.patience import Patience


class BoxCalls:
    """GPUs, events and health. Mixed into `Client`."""

    _channel: Channel

    def gpus(self) -> Box:
        """The box and its GPUs with their holders, as the worker saw them last."""
        return parse(Box, self._channel.request("GET", "/api/v1/gpus", repeatable=True).content)

    def drain(self, uuid: str, reason: str | None = None) -> None:
        """Let no new job onto a GPU; what runs there goes on."""
        body = DrainRequest(reason=reason).model_dump_json().encode()
        self._channel.request("POST", f"/api/v1/gpus/{uuid}/drain", content=body, repeatable=True)

    def undrain(self, uuid: str) -> None:
        """Let jobs onto a GPU again."""
        self._channel.request("POST", f"/api/v1/gpus/{uuid}/undrain", repeatable=True)

    def events(self, after: int | None = None, limit: int | None = None) -> EventPage:
        """Events after the one with id `after`, oldest first."""
        return parse(
            EventPage,
            self._channel.request(
                "GET", "/api/v1/events", params={"after": after, "limit": limit}, repeatable=True
            ).content,
        )

    def follow_events(self, after: int | None = None) -> Iterator[Event]:
        """
        Events as they happen, none missed and none twice, across restarts of the server.

        Starts after the event with id `after`, or with the next one. Ends never; raises
        `Unreachable` when the server stays away longer than the client's patience.
        """
        last = after
        patience = Patience(self._channel.patience_s)
        while True:
            try:
                headers = {} if last is None else {"Last-Event-ID": str(last)}
                with self._channel.stream("/api/v1/events/stream", headers=headers) as stream:
                    for message in stream:
                        patience.reset()
                        if not message.data or message.event == "bye":
                            continue
                        event = parse(Event, message.data.encode())
                        if last is None or event.id > last:
                            last = event.id
                            yield event
            except Unreachable as error:
                patience.spend(error)
            else:
                patience.spend(Unreachable("The server ended the stream of events."))

    def healthy(self) -> bool:
        """Whether the server answers at all."""
        return self._up("/healthz")

    def ready(self) -> bool:
        """Whether the server can take jobs."""
        return self._up("/readyz")

    def _up(self, path: str) -> bool:
        try:
            self._channel.request("GET", path)
        except BerthError:
            return False
        return True
