"""The daemon: `python -m berth_server`."""

from __future__ import annotations

import gc
import importlib.metadata
import os
import sys
import time
from pathlib import Path

import structlog

from berth import home as homes
from berth.home import Home
from berth.units import parse_size
from berth_server import logs, settings
from berth_server.api.app import create_app
from berth_server.api.connections import raise_descriptor_limit
from berth_server.api.context import Context
from berth_server.core.progress.idleness import IdlePolicy
from berth_server.home import HomeError, claim, probe, tcp_socket, unix_socket
from berth_server.serve import Listeners, serve
from berth_server.service.gpus.use import Rates
from berth_server.service.restore.adopt import take_in
from berth_server.service.scheduling.timers import on_start
from berth_server.service.state import Options, ServerState
from berth_server.settings import Settings
from berth_server.store import migrate, ownership
from berth_server.store.database import Database, StoreError
from berth_server.store.migrate import SchemaError
from berth_server.store.ownership import OwnershipError
from berth_server.tls import Certificate, TlsError

log = structlog.get_logger()
_REFUSED = 2
_OWN_MODE = 0o600
_SWITCH_S = 0.001


def main() -> int:
    """Run until a signal ends it; return 2 with one sentence when it cannot start."""
    home = homes.resolve()
    if sys.argv[1:] == ["--check"]:
        return _check(home)
    try:
        chosen = settings.load(home.folder)
        logs.configure(chosen.log_level)
        lock = claim(home)
    except (settings.SettingsError, HomeError) as error:
        print(error, file=sys.stderr)
        return _REFUSED
    raise_descriptor_limit()
    # A thread that parses holds the interpreter for so long at a time, while requests wait.
    sys.setswitchinterval(_SWITCH_S)
    try:
        _run(home, chosen)
    except (HomeError, StoreError, SchemaError, OwnershipError, TlsError) as error:
        print(error, file=sys.stderr)
        return _REFUSED
    finally:
        lock.release()
    return 0


def _check(home: Home) -> int:
    """Say in one sentence why a server would not start here, changing nothing; 2 if it would not."""
    try:
        chosen = settings.load(home.folder)
        _certificate(chosen)
        probe(home)
        migrate.check(home.database)
    except (settings.SettingsError, HomeError, StoreError, SchemaError, TlsError) as error:
        print(error, file=sys.stderr)
        return _REFUSED
    return 0


def _certificate(chosen: Settings) -> Certificate | None:
    """The certificate for HTTPS; None for HTTP. Raises TlsError."""
    if not chosen.tls_certificate or chosen.listen == "off":
        return None
    return Certificate(Path(chosen.tls_certificate), Path(chosen.tls_key))


def version() -> str:
    """Berth's version."""
    try:
        return importlib.metadata.version("gpuberth")
    except importlib.metadata.PackageNotFoundError:
        return "0"


def _run(home: Home, chosen: Settings) -> None:
    ownership.refuse_emptied(home.database, home.runs)
    db = Database(home.database)
    try:
        highest = ownership.take(home.database, home.runs)
        take_in(db, home.runs, time.time())
        first, last = chosen.port_range
        options = Options(
            home=home.folder,
            first_port=first,
            last_port=last,
            allow_other_users=chosen.allow_other_users,
            snapshot_most_bytes=parse_size(chosen.snapshot_max),
            policy=chosen.policy,
            notify_schemas=frozenset(chosen.notify_schemas.replace(",", " ").split()),
            idle=IdlePolicy(chosen.idle_tell_after, chosen.idle_stop_after),
            rates=Rates(
                per_gpu_hour=chosen.price_per_gpu_hour,
                per_kwh=chosen.price_per_kwh,
                co2_g_per_kwh=chosen.co2_per_kwh,
                currency=chosen.currency,
            ),
        )
        server = ServerState(db, options)
        context = Context(server=server, settings=chosen, home=home.folder, version=version())
        on_start(server, context.version, highest)
        certificate = _certificate(chosen)
        public = [unix_socket(home.socket, int(chosen.socket_mode, 8))]
        if chosen.listen != "off":
            public.append(tcp_socket(*settings.split_address(chosen.listen)))
        listeners = Listeners(
            unix_socket(home.worker_socket, _OWN_MODE), tuple(public), certificate
        )
        app = create_app(context)
        # What is there now stays: later collections need not look at it again.
        gc.collect()
        gc.freeze()
        # A long queue is a hundred thousand objects that all stay: looking them all over for
        # cycles takes 0.1 s, in which no request is answered, and finds nothing.
        gc.set_threshold(2000, 10, 1000)
        log.info("server.up", home=str(home.folder), listen=chosen.listen, pid=os.getpid())
        serve(app, context, listeners)
        log.info("server.down")
    finally:
        db.close()


if __name__ == "__main__":
    sys.exit(main())
