"""`Devices` through NVML: quick, and responsive when the driver hangs."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Literal, TypeVar

import psutil
import structlog

from berth.protocol.base import utc_now
from berth.protocol.gpus import BoxSnapshot, GpuHealth, GpuProcess, GpuSnapshot
from berth_worker.devices.nvml.driver import Driver, DriverSnapshot
from berth_worker.devices.nvml.gpu import Gpu
from berth_worker.devices.nvml.holders import DeviceHolders, HarmlessPrograms, is_gone
from berth_worker.devices.nvml.pids import DriverPids
from berth_worker.devices.nvml.readings import ProcessUse
from berth_worker.devices.processes import ProcessBook
from berth_worker.devices.protocol import AttemptProcesses

_T = TypeVar("_T")
_PATIENCE_S = 2.0
_OPEN_PATIENCE_S = 60.0
_AFTER_FAILURE_S = 5.0
_log = structlog.get_logger(__name__)


class NvmlDevices:
    """
    The GPUs that NVML shows.

    One thread owns the driver. It answers requests first and reads expensive values between
    them, so a snapshot costs about 0.1 ms for each GPU. When the driver does not answer within
    two seconds, every GPU is unhealthy until it does.
    """

    def __init__(
        self,
        home: Path,
        on_change: Callable[[], None] | None = None,
        harmless: Sequence[str] = (),
    ) -> None:
        """
        `on_change` is called from another thread when an Xid event has come in; `harmless` names
        programs that occupy nothing of a GPU but their memory.
        """
        self._on_change = on_change
        self._book = ProcessBook(home)
        self._pids = DriverPids()
        self._programs = HarmlessPrograms(harmless)
        self._holders = DeviceHolders()
        self._driver = Driver(self._on_xid, self._pids.trusted, self._is_harmless)
        self._requests: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._pending: Future[DriverSnapshot] | None = None
        self._working_since: float | None = None
        self._last = DriverSnapshot((), (), None)
        self._thread = threading.Thread(target=self._work, name="berth-nvml", daemon=True)
        self._thread.start()

    @property
    def source(self) -> Literal["nvml"]:
        """Always `nvml`."""
        return "nvml"

    def open(self) -> int:
        """Open the driver and return its number of GPUs. Raises DriverGoneError."""

        def opened() -> int:
            self._driver.open()
            return len(self._driver.snapshot().gpus)

        return self._request(opened).result(timeout=_OPEN_PATIENCE_S)

    def snapshot(self, attempts: Mapping[str, AttemptProcesses]) -> BoxSnapshot:
        """Return the present state of the box; see `Devices.snapshot`."""
        stuck = self._refresh()
        known = {pid: a.attempt for a in attempts.values() for pid in a.pids}
        uids = {a.attempt: a.uid for a in attempts.values() if a.uid is not None}
        holders: dict[str, list[str]] = {}
        for attempt in attempts.values():
            for uuid in attempt.gpu_uuids:
                holders.setdefault(uuid, []).append(attempt.attempt)
        memory = psutil.virtual_memory()
        return BoxSnapshot(
            taken_at=utc_now(),
            source=self.source,
            driver_version=self._last.driver_version,
            gpus=tuple(
                _gpu(
                    gpu,
                    stuck,
                    self._processes(gpu, known, uids, holders.get(gpu.uuid, ())),
                )
                for gpu in self._last.gpus
            ),
            links=self._last.links,
            host_memory_total_bytes=memory.total,
            host_memory_available_bytes=memory.available,
        )

    def clear(self, uuids: Collection[str], pids: Collection[int]) -> bool:
        """Return whether the GPUs have been left; see `Devices.clear`."""
        if self._stuck_s() > _PATIENCE_S:
            return False
        uuids, pids = frozenset(uuids), frozenset(pids)
        answer = self._request(lambda: self._driver.clear(uuids, pids))
        try:
            return answer.result(timeout=_PATIENCE_S)
        except TimeoutError:
            return False

    def close(self) -> None:
        """Close the driver; a thread blocked in the driver is abandoned."""
        self._requests.put(None)
        self._thread.join(timeout=_PATIENCE_S)

    def _refresh(self) -> str | None:
        """Take a new snapshot; return a sentence when the driver does not answer."""
        if self._pending is None:
            self._pending = self._request(self._driver.snapshot)
            patience_s = _PATIENCE_S
        else:
            patience_s = 0.0
        try:
            self._last = self._pending.result(timeout=patience_s)
        except TimeoutError:
            return (
                f"The NVIDIA driver has not answered for {self._stuck_s():.0f} s; see dmesg; "
                "a reboot may be needed."
            )
        self._pending = None
        return None

    def _stuck_s(self) -> float:
        """Return for how long the driver's thread has been in the same call."""
        since = self._working_since
        return 0.0 if since is None else time.monotonic() - since

    def _request(self, function: Callable[[], _T]) -> Future[_T]:
        future: Future[_T] = Future()

        def run() -> None:
            try:
                future.set_result(function())
            except BaseException as error:  # noqa: BLE001 - handed to the caller
                future.set_exception(error)

        self._requests.put(run)
        return future

    def _work(self) -> None:
        # Chores begin with the first request, after the driver was opened.
        wait_s: float | None = None
        while True:
            self._working_since = None
            try:
                request = self._requests.get(timeout=wait_s)
            except queue.Empty:
                self._working_since = time.monotonic()
                wait_s = self._chore()
                continue
            self._working_since = time.monotonic()
            if request is None:
                self._driver.close()
                return
            request()
            wait_s = 0.0

    def _chore(self) -> float:
        try:
            return self._driver.chore()
        except Exception:  # noqa: BLE001 - logged; see below
            # Without its thread the box would be blind until the worker starts again.
            _log.exception("a GPU could not be read", action="nvml.chore")
            return _AFTER_FAILURE_S

    def _on_xid(self, uuid: str, number: int) -> None:
        self._requests.put(lambda: self._driver.note_xid(uuid, number))
        if self._on_change is not None:
            self._on_change()

    def _processes(
        self,
        gpu: Gpu,
        known: Mapping[int, str],
        uids: Mapping[str, int],
        holders: Sequence[str],
    ) -> tuple[GpuProcess, ...]:
        """
        Return the processes on a GPU, without displays and harmless programs of no attempt.

        The driver goes on listing a process that has ended while a child that it never lists holds
        the memory: the child stands in its place.
        """
        users = gpu.users
        found: list[GpuProcess] = []
        for use in gpu.uses:
            if use in users and self._pids.trusted(use.pid) and is_gone(use.pid):
                found += self._heirs(gpu, use, known, uids)
                continue
            process = self._process(use, known, uids, holders)
            if use in users or (process.attempt and self._pids.trusted(use.pid)):
                found.append(process)
        seen: set[int] = set()
        return tuple(p for p in found if not (p.pid in seen or seen.add(p.pid)))

    def _heirs(
        self, gpu: Gpu, use: ProcessUse, known: Mapping[int, str], uids: Mapping[str, int]
    ) -> list[GpuProcess]:
        """Return who holds the GPU in the place of a listed process that has ended."""
        listed = {one.pid for other in self._last.gpus for one in other.uses}
        pids = [] if gpu.minor is None else self._holders.of(gpu.minor, listed)
        heirs = [pid for pid in pids if not self._programs(pid, 0)]
        if not heirs:
            return [GpuProcess(pid=use.pid, memory_bytes=use.memory_bytes, ended_pid=use.pid)]
        # Who of several holds how much cannot be told.
        memory = use.memory_bytes if len(heirs) == 1 else None
        return [
            self._process(ProcessUse(pid, memory), known, uids, ()).model_copy(
                update={"ended_pid": use.pid}
            )
            for pid in heirs
        ]

    def _is_harmless(self, pid: int, memory_bytes: int | None) -> bool:
        return self._pids.trusted(pid) and self._programs(pid, memory_bytes)

    def _process(
        self,
        use: ProcessUse,
        known: Mapping[int, str],
        uids: Mapping[str, int],
        holders: Sequence[str],
    ) -> GpuProcess:
        if not self._pids.trusted(use.pid):
            # The pid may name another process here. A process on a leased GPU is attributed to
            # the holder; with several holders it cannot be attributed.
            holder = holders[0] if len(holders) == 1 else None
            return GpuProcess(pid=use.pid, memory_bytes=use.memory_bytes, attempt=holder)
        description = self._book.describe(use.pid)
        return GpuProcess(
            pid=use.pid,
            user=description.user if description else None,
            command=description.command if description else None,
            memory_bytes=use.memory_bytes,
            started_at=description.started_at if description else None,
            attempt=self._book.attempt_of(use.pid, known, uids),
        )


def _gpu(gpu: Gpu, stuck: str | None, processes: tuple[GpuProcess, ...]) -> GpuSnapshot:
    problems = gpu.problems if stuck is None else (stuck, *gpu.problems)
    return GpuSnapshot(
        uuid=gpu.uuid,
        index=gpu.index,
        minor=gpu.minor,
        pci_bus_id=gpu.pci_bus_id,
        name=gpu.name,
        memory_total_bytes=gpu.memory_total_bytes,
        memory_used_bytes=gpu.memory_used_bytes,
        utilization_percent=gpu.readings.utilization_percent,
        temperature_c=gpu.readings.temperature_c,
        power_w=gpu.readings.power_w,
        power_limit_w=gpu.readings.power_limit_w,
        numa_node=gpu.numa_node,
        mig=gpu.readings.mig,
        health=GpuHealth(ok=not problems, problems=problems),
        processes=processes,
    )
