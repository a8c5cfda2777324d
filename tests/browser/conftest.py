"""A real server and worker with simulated GPUs, and a real Chromium that looks at them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parent))
from box import Box

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM_FLAGS = [
    "--no-sandbox",  # tests run as root in containers
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP box.lan 127.0.0.1",
]


def find_chromium() -> str | None:
    """A Chromium or Chrome on this machine."""
    named = os.environ.get("BERTH_CHROMIUM")
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return named or next(filter(None, map(shutil.which, names)), None)


@pytest.fixture(scope="session")
def dashboard() -> None:
    """The dashboard as built from the present sources."""
    built = subprocess.run(
        [sys.executable, "clients/web/build.py"], cwd=ROOT, capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    """Playwright's driver; the browser is the machine's own."""
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="session")
def chromium(playwright: Playwright) -> Iterator[Browser]:
    """One browser for all tests."""
    binary = find_chromium()
    if binary is None:
        pytest.skip(
            "no Chromium here; install one (apt-get install chromium) or set BERTH_CHROMIUM"
        )
    browser = playwright.chromium.launch(executable_path=binary, args=CHROMIUM_FLAGS)
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def shared_box(dashboard: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """A running box with eight simulated GPUs, for tests that leave it as they found it."""
    with Box(tmp_path_factory.mktemp("box")) as box:
        yield box


@pytest.fixture
def box(shared_box: Box) -> Iterator[Box]:
    """The shared box; whatever a test left running is cancelled after it."""
    yield shared_box
    shared_box.clear()


class Guard:
    """Watches a page: console errors, and requests that leave the host."""

    def __init__(self, page: Page, origin: str) -> None:
        self.errors: list[str] = []
        self.strangers: list[str] = []
        # While a test takes the server away, failing requests are expected.
        self.lenient = False
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self._request(request.url, origin))

    def _console(self, message: object) -> None:
        if getattr(message, "type", "") == "error" and not self.lenient:
            self.errors.append(str(getattr(message, "text", message)))

    def _request(self, url: str, origin: str) -> None:
        if not url.startswith((origin, "data:", "blob:")):
            self.strangers.append(url)

    def check(self) -> None:
        """Fail when something was said on the console or asked of another host."""
        assert self.errors == []
        assert self.strangers == []


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    """A browser profile of its own."""
    context = chromium.new_context(viewport={"width": 1440, "height": 900})
    context.set_default_timeout(15_000)
    yield context
    context.close()


@pytest.fixture
def guard(page: Page, box: Box) -> Guard:
    """The watch over `page`, to make lenient where a test breaks things on purpose."""
    return page.berth_guard  # type: ignore[attr-defined]


@pytest.fixture
def page(context: BrowserContext, box: Box) -> Iterator[Page]:
    """A signed-in page on the overview; fails on console errors and foreign requests."""
    page = context.new_page()
    watch = Guard(page, box.url)
    page.berth_guard = watch  # type: ignore[attr-defined]
    page.goto(box.login_link())
    page.locator("[data-stream=live]").wait_for()
    yield page
    watch.check()
