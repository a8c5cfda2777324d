"""
Static files of the dashboard: one page, and assets whose names change with their content.

Built into the wheel as `berth_server/_web`; in a source tree the build of `clients/web` is used
if there is one.
"""

from __future__ import annotations

import mimetypes
from pathlib import Path

from starlette.responses import FileResponse, HTMLResponse, Response

_PACKAGE = Path(__file__).resolve().parent.parent
_PLACES = (_PACKAGE / "_web", _PACKAGE.parent.parent / "clients" / "web" / "dist")
_HEADERS = {
    # Everything is a file from here: no other host is contacted, nothing inline runs.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "font-src 'self'; connect-src 'self'; worker-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_NO_BUILD_HEADERS = {
    **_HEADERS,
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'",
    "Cache-Control": "no-store",
}
_FOREVER = "public, max-age=31536000, immutable"

_NO_BUILD = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Berth</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:42rem;margin:4rem auto;padding:0 1rem}
code{background:#8882;padding:.1em .3em;border-radius:.2em}</style>
<h1>Berth is running</h1>
<p>The dashboard has not been built in this source tree. Build it with <code>make web</code> and
reload this page; installed releases include it.</p>
<p>Until then the command line does everything: <code>berth ls</code>, <code>berth gpus</code>,
<code>berth top</code>. The REST interface is described at
<a href="/api/v1/openapi.json">/api/v1/openapi.json</a>.</p>
</html>
"""


def folder() -> Path | None:
    """Return the build's folder; None when there is no build."""
    return next((place for place in _PLACES if (place / "index.html").is_file()), None)


class Dashboard:
    """Responses for all paths without a route."""

    def __init__(self, root: Path | None = None) -> None:
        """Serve from `root` in place of the build's folder."""
        self._fixed = root

    def respond(self, path: str, *, gzip: bool = False) -> Response | None:
        """
        Return a file of the build, or the page, which knows its own paths. None for other paths.
        `gzip`: the client accepts it; the build has compressed what gets smaller.
        """
        # Searched each time: a build made while the server runs is found.
        root = self._fixed or folder()
        if root is None:
            if not _is_page(path):
                return None
            return HTMLResponse(_NO_BUILD, headers=_NO_BUILD_HEADERS)
        if "\0" in path:
            return None
        try:
            wanted = (root / path.lstrip("/")).resolve()
            is_file = wanted.is_file()
        except OSError:  # a name that is longer than a file's may be
            return None
        if path != "/" and wanted.is_relative_to(root.resolve()) and is_file:
            kind = mimetypes.guess_type(wanted.name)[0] or "application/octet-stream"
            hashed = wanted.parent.name == "assets"
            headers = {**_HEADERS, "Cache-Control": _FOREVER if hashed else "no-cache"}
            compressed = wanted.with_name(f"{wanted.name}.gz")
            if compressed.is_file():
                headers["Vary"] = "Accept-Encoding"
                if gzip:
                    headers["Content-Encoding"] = "gzip"
                    wanted = compressed
            return FileResponse(wanted, headers=headers, media_type=kind)
        if not _is_page(path):
            return None
        headers = {**_HEADERS, "Cache-Control": "no-cache"}
        return FileResponse(root / "index.html", headers=headers, media_type="text/html")


def _is_page(path: str) -> bool:
    """Return whether a path could be a page: not an API's, not a missing file."""
    parts = path.strip("/").split("/")
    return parts[0] not in {"api", "internal"} and "." not in parts[-1]
