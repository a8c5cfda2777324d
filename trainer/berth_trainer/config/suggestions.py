"""Suggestions for misspelt names."""

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name most similar to `name`, or None."""
    by_folded = {_folded(candidate): candidate for candidate in known}
    found = get_close_matches(_folded(name), list(by_folded), n=1, cutoff=0.6)
    return by_folded[found[0]] if found else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ` (did you mean X?)`, or an empty string."""
    near = nearest(name, known)
    return f" (did you mean {near}?)" if near else ""


def _folded(name: str) -> str:
    return name.lower().replace("-", "_").lstrip("_")
