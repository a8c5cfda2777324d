"""Verb `berth status`: daemons, GPUs and queue on one screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from berth.cli import failure, text
from berth.cli.session import AsJson, connect, note, print_json
from berth.cli.verbs.box import gpus

if TYPE_CHECKING:
    from berth.sdk.address import Address

_ORDER = ("running", "starting", "stopping", "queued", "waiting", "held")


def status(*, as_json: AsJson = False) -> None:
    """
    Show daemons, GPUs and queue on one screen.

    Exits with 3 when the server does not answer.
    """
    from berth.sdk.errors import Unreachable

    with connect(patience=0.0) as client:
        daemons = _daemons(client.address)
        try:
            box = client.gpus()
            counts = {state.value: n for state, n in client.counts().counts.items()}
        except Unreachable as error:
            if as_json:
                print_json({"address": client.address.text, "daemons": daemons, "up": False})
            else:
                _print_daemons(client.address, daemons)
                note(f"berth: {text.refusal(error)}")
            raise typer.Exit(failure.UNREACHABLE) from None
    if as_json:
        facts = {"address": client.address.text, "daemons": daemons, "up": True}
        print_json({**facts, "counts": counts, "box": box.model_dump(mode="json")})
        return
    _print_daemons(client.address, daemons)
    print()
    print(gpus.rendered(box))
    print()
    parts = [f"{counts.get(state, 0)} {state}" for state in _ORDER if counts.get(state)]
    print(f"Jobs: {', '.join(parts) or 'none queued or running'}. `berth ls` lists them.")


def _daemons(address: Address) -> dict[str, Any]:
    """Return the daemons' pids from a local home; nothing for a remote server."""
    if address.socket is None:
        return {}
    from berth.daemons import identity
    from berth.home import DAEMONS, Home

    home = Home(address.socket.parent.parent)
    found = {name: identity.alive(home.pid(name)) for name in DAEMONS}
    found["keeper"] = identity.alive(home.supervisor_pid)
    return {name: {"pid": who.pid if who else None} for name, who in found.items()}


def _print_daemons(address: Address, daemons: dict[str, Any]) -> None:
    print(f"Berth at {address.text}")
    for name in ("server", "worker"):
        if name in daemons:
            pid = daemons[name]["pid"]
            kept = "" if daemons["keeper"]["pid"] else ", not supervised by `berth up`"
            running = text.style(f"running as pid {pid}", "green") + kept
            print(f"  {name:<7} {running if pid else text.style('down', 'red')}")
