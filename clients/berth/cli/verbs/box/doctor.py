"""`berth doctor`: look for what would go wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from berth.cli import failure, text
from berth.cli.session import AsJson, print_json

if TYPE_CHECKING:
    from berth.cli.checks.finding import Finding

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


def doctor(*, as_json: AsJson = False) -> None:
    """
    Check driver, fence, disk, sockets, versions and compilers for problems.

    Exits with 1 if any check fails.
    """
    found: list[Finding] = []
    for finding in _findings():
        found.append(finding)
        if not as_json:
            level = text.style(f"{finding.level:<4}", _COLOURS[finding.level])
            print(f"{level}  {finding.what:<13} {text.clean(finding.sentence)}", flush=True)
            if finding.fix:
                print(f"      {'':<13} fix: {text.clean(finding.fix)}", flush=True)
    bad = sum(finding.level == "fail" for finding in found)
    if as_json:
        print_json([finding.facts() for finding in found])
    elif not bad:
        print("No problems that prevent jobs from running.")
    if bad:
        raise typer.Exit(failure.JOB_FAILED)


def _findings() -> Iterator[Finding]:
    from berth import home as homes
    from berth.cli.checks import cluster, daemons, devices, disk, software
    from berth.sdk import address

    server = address.resolve()
    own = homes.resolve().folder
    # A user of the box's Berth needs no home: the disk of the home in use counts.
    used = server.socket.parent.parent if server.socket else own
    yield from software.findings()
    yield from disk.findings(used, own=used == own)
    yield from cluster.findings() if cluster.is_used(used) else devices.findings()
    yield from daemons.findings(server)
