"""Links to the pages of trackers, found in a run's log or reported by the run itself."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

from berth import masking

MOST = 20
"""Links of one job."""
_MOST_NAME = 40
_MOST_URL = 500
_HINT = re.compile(rb"https?://", re.IGNORECASE)
# Of what a program writes without a line's end nothing longer is a tracker's sentence.
_MOST_LINE = 2000
_ADDRESS = r"(?P<url>https?://[^\s\x00-\x20\x7f<>\"']+)"
_TRACKERS = tuple(
    (name, re.compile(pattern.replace("URL", _ADDRESS), re.IGNORECASE))
    for name, pattern in (
        ("W&B", r"view run .*?at:? URL"),
        ("W&B", r"(?P<url>https?://[^\s/]*wandb\.ai/[\w.-]+/[\w.-]+/runs/[\w-]+)"),
        ("TensorBoard", r"tensorboard [\d.a-z]+ at URL"),
        ("Comet", r"experiment is live on \S+ URL"),
        ("ClearML", r"clearml results page: URL"),
        ("Neptune", r"(?P<url>https?://app\.neptune\.ai/[^\s\"'<>]+/e/[\w-]+)"),
        ("Aim", r"\baim\b.* at URL"),
    )
)
_MLFLOW = re.compile(r"/#/experiments/|mlflow", re.IGNORECASE)
_COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_TRAILING = ".,;:!?)]}>'\""


class Link(NamedTuple):
    """A page about a run."""

    name: str
    url: str


def of_log(text: bytes) -> Iterator[Link]:
    """Yield the links to trackers in a piece of a log."""
    if not _HINT.search(text):
        return
    for raw in re.split(rb"[\r\n]", text):
        if len(raw) > _MOST_LINE or not _HINT.search(raw):
            continue
        line = _COLOURS.sub("", raw.decode("utf-8", "replace"))
        for name, pattern in _TRACKERS:
            found = pattern.search(line)
            if found is None:
                continue
            url = found["url"]
            is_mlflow = _MLFLOW.search(url) is not None
            if name in {"MLflow", "W&B"}:
                name = "MLflow" if is_mlflow else "W&B"  # noqa: PLW2901 - both say "View run … at"
            link = checked(name, url)
            if link is not None:
                yield link
            break


def reported(content: bytes) -> Iterator[Link]:
    """Yield the links of a `links.json` that the run wrote; nothing for nonsense."""
    try:
        pairs = json.loads(content)
    except (ValueError, RecursionError):
        return
    if not isinstance(pairs, dict):
        return
    for name, url in list(pairs.items())[:MOST]:
        link = checked(name, url) if isinstance(url, str) else None
        if link is not None:
            yield link


def checked(name: str, url: str) -> Link | None:
    """Return a link that may be shown: to the web, short, without anything secret; else None."""
    url = url.strip().rstrip(_TRAILING)
    name = " ".join("".join(c if c.isprintable() else " " for c in name).split())[:_MOST_NAME]
    if not name or len(url) > _MOST_URL or not url.isprintable() or " " in url:
        return None
    try:
        parts = urlsplit(url)
        fields = [*parse_qsl(parts.query), *parse_qsl(parts.fragment.rpartition("?")[2])]
        host = parts.hostname
        _ = parts.port
    except ValueError:
        return None
    if parts.scheme.lower() not in {"http", "https"} or not host or "@" in parts.netloc:
        return None
    if any(masking.is_secret(field) for field, _ in fields) or masking.masked(url) != url:
        return None
    return Link(name, url)
