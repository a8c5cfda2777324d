"""Guard against what pages do unseen: console errors, requests to other hosts."""

from __future__ import annotations

from playwright.sync_api import BrowserContext, ConsoleMessage


class Guard:
    """Over all pages of one browser context."""

    def __init__(self, context: BrowserContext, *origins: str) -> None:
        self.errors: list[str] = []
        self.strangers: list[str] = []
        self.origins = origins
        self.lenient = False
        """While a test breaks things on purpose, errors on the console are expected."""
        context.on("console", self._console)
        context.on("weberror", lambda found: self.errors.append(str(found.error)))
        context.on("request", lambda request: self._request(request.url))

    def check(self) -> None:
        """Fail when something was said on the console or asked of another host."""
        assert self.errors == [], self.errors
        assert self.strangers == [], self.strangers

    def _console(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not self.lenient:
            self.errors.append(message.text)

    def _request(self, url: str) -> None:
        if not url.startswith((*self.origins, "data:", "blob:")):
            self.strangers.append(url)
