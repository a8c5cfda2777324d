"""A real server and worker with simulated GPUs, and a real Chromium that looks at them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parent))
from box import Box
from browser import find_chromium, launch
from guard import Guard

ROOT = Path(__file__).resolve().parents[2]


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
    if find_chromium() is None:
        pytest.skip("no Chromium here: apt-get install chromium, or set BERTH_CHROMIUM")
    browser = launch(playwright)
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


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    """A browser profile of its own."""
    context = chromium.new_context(viewport={"width": 1440, "height": 900})
    context.set_default_timeout(15_000)
    yield context
    context.close()


@pytest.fixture
def guard(context: BrowserContext, box: Box) -> Guard:
    """The watch over every page, to make lenient where a test breaks things on purpose."""
    return Guard(context, box.url)


@pytest.fixture
def page(context: BrowserContext, box: Box, guard: Guard) -> Iterator[Page]:
    """A signed-in page on the overview; fails on console errors and foreign requests."""
    page = context.new_page()
    page.goto(box.login_link())
    page.locator("[data-stream=live]").wait_for()
    yield page
    guard.check()
