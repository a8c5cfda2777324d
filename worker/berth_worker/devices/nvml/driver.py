"""The driver and its GPUs, as one thread sees them."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Collection
from typing import Any

import pynvml
import structlog

from berth_worker.devices.nvml import card as cards
from berth_worker.devices.nvml import links, xids
from berth_worker.devices.nvml.calls import (
    DriverGoneError,
    GpuLostError,
    ask,
    close_driver,
    demand,
    open_driver,
)
from berth_worker.devices.nvml.card import Card
from berth_worker.devices.nvml.readings import Readings

_BUSY_S = 1.0
_IDLE_S = 30.0
_HEALTH_S = 30.0
_AGAIN_S = 5.0
_VANISHED = "The driver no longer lists the GPU; reboot the box."
_log = structlog.get_logger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Look:
    """The GPUs at one moment, taken out of the driver's thread."""

    cards: tuple[Card, ...]
    """Copies, in index order."""
    links: tuple[tuple[str, ...], ...]
    driver_version: str | None


class Driver:
    """
    Opens the driver, keeps it open, opens it again when it was gone.

    Only its own thread calls it, because a sick driver holds its caller for seconds.
    """

    def __init__(self, on_xid: Callable[[str, int], None], believed: Callable[[int], bool]) -> None:
        """
        `on_xid` gets UUID and number, in the listener's thread.

        `believed` tells whether a pid names the process that is on the GPU.
        """
        self._believed = believed
        self._on_xid = on_xid
        self._cards: list[Card] = []
        self._links: tuple[tuple[str, ...], ...] = ()
        self._version: str | None = None
        self._listener: xids.XidListener | None = None
        self._gone: str | None = "The NVIDIA driver has not been opened yet."
        self._open_due = 0.0

    def open(self) -> None:
        """Open the driver and take stock. Raises DriverGoneError."""
        self._open_due = time.monotonic() + _AGAIN_S
        open_driver()
        try:
            version = ask(pynvml.nvmlSystemGetDriverVersion)
            present = [cards.find(index) for index in range(demand(pynvml.nvmlDeviceGetCount))]
            for card in present:
                if card.handle is not None:
                    card.look()
                    card.read_dear()
                    card.read_health()
                self._plan_next(card)
            self._recognise(present)
            known = {card.uuid for card in present}
            vanished = [
                card for card in self._cards if card.uuid not in known and not card.is_nameless
            ]
            everyone = present + vanished
            handles = [None if card in vanished else card.handle for card in everyone]
            matrix = links.matrix(handles, [card.pci_bus_id for card in everyone])
        except (DriverGoneError, GpuLostError) as error:
            close_driver()
            raise DriverGoneError(str(error)) from None
        # CUDA counts without the GPUs that have vanished, so they stand at the end.
        for offset, card in enumerate(vanished):
            card.index, card.handle, card.lost = len(present) + offset, None, _VANISHED
        self._cards, self._links, self._version = everyone, matrix, version
        self._gone = None
        self._listen()

    def close(self) -> None:
        """Let go of the driver."""
        if self._listener is not None:
            self._listener.stop()
            self._listener = None
        if self._gone is None:
            close_driver()

    def look(self) -> Look:
        """Read what is cheap of every GPU."""
        try:
            if self._gone is None:
                for card in self._cards:
                    if card.handle is not None and card.lost is None:
                        was_busy = card.busy
                        card.look()
                        if card.lost is not None:
                            self._plan_next(card, after_s=_AGAIN_S)
                        elif card.busy and not was_busy:
                            card.readings_due = 0.0
        except DriverGoneError as error:
            self._lose(str(error))
        if self._gone is not None:
            self._reopen()
        return self._copy()

    def clear(self, uuids: Collection[str], pids: Collection[int]) -> bool:
        """Whether `pids` have left the GPUs and nothing unexplained is in use there."""
        try:
            for card in self._cards:
                if card.uuid not in uuids or card.handle is None or self._gone is not None:
                    continue
                card.look()
                card.read_graphics()
                if card.lost is not None:
                    continue
                if card.leftover_bytes or not set(pids).isdisjoint(u.pid for u in card.uses):
                    return False
                # Of a pid of another namespace nobody can say whose process it is.
                if not all(self._believed(use.pid) for use in card.users):
                    return False
        except DriverGoneError as error:
            self._lose(str(error))
        return True

    def chore(self) -> float:
        """
        Do the one thing that is most overdue, at most a few milliseconds.

        Returns the seconds until the next thing is due; 0 when one is due now.
        """
        now = time.monotonic()
        if self._gone is not None:
            self._reopen()
            return max(0.0, self._open_due - time.monotonic())
        try:
            due = [card for card in self._cards if card.lost != _VANISHED]
            if not due:
                return _IDLE_S
            card = min(due, key=lambda c: min(c.readings_due, c.health_due))
            if card.lost is not None and min(card.readings_due, card.health_due) <= now:
                self._try_again(card)
            elif card.readings_due <= now:
                card.read_dear()
                card.readings_due = now + _until_next(card)
            elif card.health_due <= now:
                card.read_health()
                card.health_due = now + _HEALTH_S
        except DriverGoneError as error:
            self._lose(str(error))
            return _AGAIN_S
        soonest = min(min(c.readings_due, c.health_due) for c in due)
        return max(0.0, soonest - time.monotonic())

    def note_xid(self, uuid: str, number: int) -> None:
        """Take an Xid event in, and have the GPU asked for its health at once."""
        for card in self._cards:
            if card.uuid == uuid:
                sentence = xids.sentence(number)
                if sentence is not None:
                    card.xids[number] = sentence
                card.health_due = 0.0

    def _try_again(self, card: Card) -> None:
        """See whether a lost GPU is back (it was reset)."""
        self._plan_next(card, after_s=_AGAIN_S)
        found = cards.find(card.index)
        if found.lost is None and found.handle is not None:
            found.look()
        if found.lost is not None:
            card.lost = found.lost
            return
        if found.uuid != card.uuid and not card.is_nameless:
            return
        # A fresh card: a reset is what serious Xid errors ask for.
        found.floor_bytes = card.floor_bytes
        self._cards[self._cards.index(card)] = found
        self._listen()
        _log.info("a lost GPU is back", action="gpu.back", gpu_uuid=found.uuid)

    def _recognise(self, present: list[Card]) -> None:
        """Give a GPU that does not even tell its name the one that it had in this place."""
        named = {card.uuid for card in present}
        for at, card in enumerate(present):
            for before in self._cards:
                if card.is_nameless and before.index == card.index and before.uuid not in named:
                    present[at] = dataclasses.replace(before, handle=None, lost=card.lost)

    def _listen(self) -> None:
        if self._listener is not None:
            self._listener.stop()
        handles: dict[str, Any] = {
            card.uuid: card.handle for card in self._cards if card.handle is not None
        }
        try:
            self._listener = xids.XidListener(handles, self._on_xid)
        except (DriverGoneError, GpuLostError):
            # Without events the health readings still tell, half a minute later.
            self._listener = None

    def _plan_next(self, card: Card, after_s: float | None = None) -> None:
        now = time.monotonic()
        card.readings_due = now + (_until_next(card) if after_s is None else after_s)
        card.health_due = now + (_HEALTH_S if after_s is None else after_s)

    def _lose(self, sentence: str) -> None:
        _log.warning("the NVIDIA driver is gone", action="nvml.gone", reason=sentence)
        self._gone = sentence
        self._open_due = time.monotonic() + _AGAIN_S
        if self._listener is not None:
            self._listener.stop()
            self._listener = None
        close_driver()
        for card in self._cards:
            card.compute = ()
            card.readings = Readings(power_limit_w=card.readings.power_limit_w)

    def _reopen(self) -> None:
        if time.monotonic() < self._open_due:
            return
        try:
            self.open()
        except DriverGoneError as error:
            self._gone = str(error)
        else:
            _log.info("the NVIDIA driver is back", action="nvml.back", gpus=len(self._cards))

    def _copy(self) -> Look:
        copies = tuple(
            dataclasses.replace(card, xids=dict(card.xids), lost=self._gone or card.lost)
            for card in self._cards
        )
        return Look(copies, self._links, self._version)


def _until_next(card: Card) -> float:
    """Seconds between two readings of the dear values."""
    # The last kernels of a job that has just ended still show: once more, then seldom.
    return _BUSY_S if card.busy or card.readings.utilization_percent else _IDLE_S
