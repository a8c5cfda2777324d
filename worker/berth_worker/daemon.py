"""The worker daemon: one per home; exits at once on SIGTERM and leaves jobs running."""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Protocol

import anyio
import anyio.abc
import anyio.from_thread
import anyio.lowlevel
import structlog

from berth.daemons import identity, readiness
from berth.daemons.lock import Lock
from berth.daemons.log_stream import LogStream
from berth.masking import masked_values
from berth.protocol.internal import WorkerReport
from berth.protocol.states import FenceKind
from berth_worker.attempts.boot import BootNote
from berth_worker.attempts.migration import migrate
from berth_worker.attempts.supervision import Supervision
from berth_worker.attempts.supervisor import Supervisor
from berth_worker.devices import Devices, DevicesError, detect_devices
from berth_worker.devices.lease_audit import LeaseAudit
from berth_worker.devices.sampling import Sampler
from berth_worker.fence import probe
from berth_worker.launch import HostContext, ShimLauncher
from berth_worker.launch.hooks import Hooks
from berth_worker.server_link.link import Link
from berth_worker.server_link.report import Reporter
from berth_worker.settings import Settings, SettingsError, load

ALREADY_RUNS = 75
_log = structlog.get_logger(__name__)
_SAMPLE_EVERY_S = 1.0


def main() -> int:
    """Run the daemon and return its exit code."""
    os.umask(0o022)  # other users' jobs must reach their run directories
    try:
        settings = load()
        settings.home.make()
    except (SettingsError, OSError) as error:
        print(f"berth worker: {error}", file=sys.stderr)
        return 2
    log = LogStream(sys.stderr.fileno())
    sys.stderr = log
    _log_to_stderr(settings.log_level)
    pid_file = settings.home.pid("worker")
    lock = Lock(pid_file)
    if not lock.take():
        other = identity.read(pid_file)
        who = f" (pid {other.pid})" if other else ""
        print(f"berth worker: one already runs for {settings.home.folder}{who}.", file=sys.stderr)
        return ALREADY_RUNS
    try:
        moved = migrate(settings.home.runs)
        if moved:
            _log.info("run directories migrated", action="rundir.migrated", count=moved)
        return _run(settings)
    finally:
        lock.release()


def _run(settings: Settings) -> int:
    if settings.executor == "slurm":
        return _run_on_cluster(settings)
    wake: list[Callable[[], None]] = []

    def on_change() -> None:
        for call in tuple(wake):
            call()

    try:
        devices = detect_devices(
            settings.gpus, settings.home.folder, on_change, settings.harmless_programs
        )
    except DevicesError as error:
        print(f"berth worker: {error}", file=sys.stderr)
        return 1
    fence = probe(simulated=devices.source == "simulated")
    notify = readiness.take()
    _log.info("worker starts", action="worker.start", devices=devices.source, fence=fence.sentence)
    # Loaded modules stay: scanning them in every collection is most of the idle cost.
    gc.collect()
    gc.freeze()
    shim_launcher = ShimLauncher()
    own = dict(os.environ)
    hooks = Hooks(settings.prologue, settings.epilogue, settings.hook_timeout, own)

    def supervise(
        tasks: anyio.abc.TaskGroup, sampler: Sampler, link: Link, *, rebooted: bool
    ) -> Supervision:
        shim_launcher.warm()
        return Supervisor(
            tasks,
            lambda: HostContext(
                settings.home.folder,
                fence,
                sampler.gpus,
                own,
                settings.pass_environment,
                hooks,
            ),
            sampler,
            shim_launcher,
            link,
            rebooted=rebooted,
        )

    try:
        readiness.tell(notify)
        anyio.run(_serve, settings, devices, fence.kind, supervise, wake)
    finally:
        devices.close()
        shim_launcher.close()
    _log.info("worker leaves, jobs stay", action="worker.end")
    return 0


def _run_on_cluster(settings: Settings) -> int:
    # A worker of one box never needs them.
    from berth_worker.slurm.client import SlurmClient, UnansweredError
    from berth_worker.slurm.devices import SlurmDevices, fence_of
    from berth_worker.slurm.executor import SlurmExecutor
    from berth_worker.slurm.submission import home_name

    client = SlurmClient()
    name = home_name(settings.home)
    devices = SlurmDevices(client, settings.slurm, name)
    try:
        cluster = devices.open()
        fence = fence_of(client.settings())
    except UnansweredError as error:
        print(
            f"berth worker: Slurm does not answer ({error}); run the worker where `sinfo` works.",
            file=sys.stderr,
        )
        return 1
    notify = readiness.take()
    _log.info("worker starts", action="worker.start", devices="slurm", nodes=len(cluster.nodes))

    def supervise(
        tasks: anyio.abc.TaskGroup, sampler: Sampler, link: Link, *, rebooted: bool
    ) -> Supervision:
        del sampler, rebooted
        executor = SlurmExecutor(
            tasks, client, settings.home, settings.slurm, link, lambda: devices.cluster
        )
        devices.busy = lambda: executor.has_attempts
        devices.use = executor.use
        return executor

    readiness.tell(notify)
    anyio.run(_serve, settings, devices, fence, supervise, list[Callable[[], None]]())
    _log.info("worker leaves, jobs stay", action="worker.end")
    return 0


class Supervise(Protocol):
    """Maker of the supervisor, once the worker's own parts are there."""

    def __call__(
        self, tasks: anyio.abc.TaskGroup, sampler: Sampler, link: Link, *, rebooted: bool
    ) -> Supervision:
        """Return it; `rebooted`: the last worker of this home ran before a restart of the box."""
        ...


async def _serve(
    settings: Settings,
    devices: Devices,
    fence: FenceKind,
    supervise: Supervise,
    wake: list[Callable[[], None]],
) -> None:
    async with anyio.create_task_group() as tasks:
        sampler = Sampler(
            devices,
            lambda: supervisor.processes(),  # noqa: PLW0108 - it is made below
        )
        boot = BootNote(settings.boot_file)

        def report(fresh: bool) -> bytes:  # noqa: FBT001 - by position only
            return reporter.build(whole=fresh)

        def single_reports() -> list[bytes]:
            return reporter.build_single()

        link = Link(settings.home.worker_socket, report, boot.save, single_reports)
        supervisor = supervise(tasks, sampler, link, rebooted=boot.is_new)
        reporter = Reporter(
            WorkerReport(
                worker_id=socket.gethostname(),
                boot_id=identity.boot_id(),
                fence=fence,
                version=_version(),
            ),
            sampler,
            supervisor,
        )
        audit = LeaseAudit(supervisor)
        await sampler.sample()
        tasks.start_soon(link.send_reports)
        tasks.start_soon(link.listen, supervisor.apply)
        tasks.start_soon(_keep_sampling, sampler, audit, supervisor, reporter, link, wake)
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            async for _ in signals:
                break
        tasks.cancel_scope.cancel()
        link.close()


async def _keep_sampling(
    sampler: Sampler,
    audit: LeaseAudit,
    supervisor: Supervision,
    reporter: Reporter,
    link: Link,
    wake: list[Callable[[], None]],
) -> None:
    """Sample the devices every second, and at once when they ask for it."""
    loop = anyio.lowlevel.current_token()
    while True:
        asked = anyio.Event()
        wake[:] = [lambda asked=asked: anyio.from_thread.run_sync(asked.set, token=loop)]
        with anyio.move_on_after(_SAMPLE_EVERY_S):
            await asked.wait()
        try:
            audit.check(await sampler.sample())
            supervisor.look()
        except Exception:  # noqa: BLE001 - what one process does must not end the worker
            _log.exception("the devices could not be sampled", action="sample.trouble")
        if reporter.due:
            link.report_soon()
        sys.stderr.flush()  # what a full disk did not take


def _version() -> str:
    try:
        return version("gpuberth")
    except PackageNotFoundError:
        return "0"


def _log_to_stderr(level: str) -> None:
    """Log to stderr, which `berth up` sends to log/worker.log: colours on a terminal, else JSON."""
    tty = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.set_exc_info if tty else structlog.processors.format_exc_info,
            masked_values,
            # Not rich's tracebacks: they print local variables, environments among them.
            structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
            if tty
            else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
