"""Verb `berth web`: sign in to the dashboard."""

from __future__ import annotations

from berth.cli import text
from berth.cli.session import AsJson, connect, print_json


def web(*, as_json: AsJson = False) -> None:
    """Print a link that signs one browser in to the dashboard as you."""
    with connect() as client:
        link = client.login_link()
    if as_json:
        print_json(link)
    else:
        print(link.url)
        print(
            f"The link signs in one browser, once, and is valid until {text.clock(link.expires_at)}."
        )
