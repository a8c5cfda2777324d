"""Notices for people: mail, ntfy, Slack and others, through the package apprise (extra `notify`)."""

from __future__ import annotations

import json
import logging

import anyio.to_thread


async def tell(url: str, body: bytes) -> str | None:
    """Send the sentence of a notice; return what went wrong, or None. It may take seconds."""
    facts = json.loads(body)
    title = f"Berth: {facts['job']['name']} {facts['job']['state']}"
    return await anyio.to_thread.run_sync(_send, url, title, facts["text"])


def _send(url: str, title: str, sentence: str) -> str | None:
    try:
        import apprise  # late: only servers whose users ask for it pay for it
    except ModuleNotFoundError:
        return "the package apprise is not installed"
    # Its messages would name addresses, which are secrets.
    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
    sender = apprise.Apprise(asset=apprise.AppriseAsset(secure_logging=True, async_mode=False))
    if not sender.add(url):
        return "the address is not understood"
    return None if sender.notify(title=title, body=sentence) else "it was not delivered"
