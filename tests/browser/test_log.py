"""The log viewer at its limits: two million lines, colours, progress bars, many ranks."""

from __future__ import annotations

import re
import time

import pytest
from box import Box
from playwright.sync_api import Page, expect

LINES = 2_000_000

BIG = f"""python3 - <<'END'
import sys
filler = "x" * 180
out = sys.stdout
for start in range(0, {LINES}, 10_000):
    block = []
    for n in range(start, start + 10_000):
        if n % 1000 == 0:
            block.append(f"\\r 10%|#   |\\r 50%|##  |\\r\\x1b[32m100%\\x1b[0m|####| epoch {{n // 1000}}")
        elif n == 1_234_567:
            block.append("Traceback (most recent call last)")
        elif n == 1_500_000 - 1:
            block.append("needle in the haystack")
        else:
            block.append(f"[rank{{n % 4}}]: step {{n:7d}} {{filler}}{{filler if n % 3 == 0 else ''}}")
    out.write("\\n".join(block) + "\\n")
END"""


@pytest.fixture(scope="module")
def big(shared_box: Box) -> int:
    """An ended job with a log of two million lines and half a gigabyte."""
    job = shared_box.submit(BIG, name="big", gpus=0)
    shared_box.wait(
        lambda: shared_box.get(f"/jobs/{job}")["state"] == "succeeded", "the log", within_s=120
    )
    return job


@pytest.fixture
def box(shared_box: Box) -> Box:
    """The shared box, with the big log on it."""
    return shared_box


def test_it_opens_at_the_end_in_a_moment(page: Page, box: Box, big: int) -> None:
    """
    Half a gigabyte opens at its last line within a second, the page's own load included. The first
    look may index it; a machine that is busy with other tests is given a few tries.
    """
    took: list[float] = []
    while len(took) < 12 and min(took, default=1) >= 1:
        page.goto(f"{box.url}/jobs")
        began = time.monotonic()
        page.goto(f"{box.url}/jobs/{big}/log")
        expect(page.locator(f"[data-line='{LINES - 1}']")).to_be_visible()
        took.append(time.monotonic() - began)
    expect(page.get_by_text("2,000,000 lines")).to_be_visible()
    print("seconds to the last line, page load included:", [round(s, 2) for s in took])
    assert min(took) < 1, took


def test_any_line_is_near_and_memory_stays_flat(page: Page, box: Box, big: int) -> None:
    """The scroll bar reaches every part; what was seen is let go of again."""
    page.goto(f"{box.url}/jobs/{big}/log")
    log = page.get_by_role("log")
    expect(page.locator(f"[data-line='{LINES - 1}']")).to_be_visible()
    heap = page.context.new_cdp_session(page)
    heap.send("HeapProfiler.collectGarbage")
    before = heap.send("Runtime.getHeapUsage")["usedSize"]
    for i in range(60):
        log.evaluate("(e, f) => { e.scrollTop = f * (e.scrollHeight - e.clientHeight) }", i / 59)
        expect(log.locator("[data-line] span span").first).not_to_have_text("…")
    expect(page.locator(f"[data-line='{LINES - 1}']")).to_be_visible()
    heap.send("HeapProfiler.collectGarbage")
    after = heap.send("Runtime.getHeapUsage")["usedSize"]
    print(f"heap: {before / 1e6:.0f} MB before, {after / 1e6:.0f} MB after 60 jumps")
    assert log.locator("[data-line]").count() < 120
    assert after - before < 40e6
    log.evaluate("e => { e.scrollTop = 0 }")
    expect(page.locator("[data-line='0']")).to_contain_text("epoch 0")


def test_wheel_and_keys_move_by_lines_even_in_two_million(page: Page, box: Box, big: int) -> None:
    """The bar is to scale, the wheel is not: a turn is a few lines."""
    page.goto(f"{box.url}/jobs/{big}/log?line=1000001")
    expect(page.locator("[data-line='1000000']")).to_be_visible()
    first = int(page.locator("[data-line]").first.get_attribute("data-line") or 0)
    page.get_by_role("log").hover()
    page.mouse.wheel(0, 180)
    expect(page.locator("[data-line]").first).to_have_attribute("data-line", str(first + 10))
    page.keyboard.press("Shift+G")
    expect(page.locator(f"[data-line='{LINES - 1}']")).to_be_visible()
    page.keyboard.press("g")
    page.keyboard.press("g")
    expect(page.locator("[data-line='0']")).to_be_visible()


def test_search_runs_on_the_server_and_walks_the_matches(page: Page, box: Box, big: int) -> None:
    """One needle in two million lines is found, shown and linked, without another key."""
    page.goto(f"{box.url}/jobs/{big}/log")
    page.get_by_label("Find in the log").fill("NEEDLE in")
    page.keyboard.press("Enter")
    expect(page.get_by_text("1 of 1 line", exact=True)).to_be_visible(timeout=30_000)
    expect(page.locator("[data-line='1499999'] mark")).to_have_text("needle in")
    assert "line=1500000" in page.url
    assert "attempt=1" in page.url, "the line is one of this attempt's, also after a retry"

    page.get_by_role("button", name="Regular expression").click()
    page.get_by_label("Find in the log").fill(r"epoch 19\d\d$")
    page.keyboard.press("Enter")
    expect(page.get_by_text(re.compile("^1 of 100 lines$"))).to_be_visible(timeout=30_000)
    page.reload()  # as another user with the address would
    expect(page.get_by_text(re.compile("^100 lines$"))).to_be_visible(timeout=30_000)


def test_the_first_traceback_is_one_step_away(page: Page, box: Box, big: int) -> None:
    """Found by the server; the button leads to it and the line is linked."""
    page.goto(f"{box.url}/jobs/{big}/log")
    page.get_by_role("button", name="First traceback").click()
    expect(page.locator("[data-line='1234567']")).to_contain_text("Traceback")
    page.reload()
    expect(page.locator("[data-line='1234567']")).to_be_visible()


def test_progress_and_colours_are_as_on_a_terminal(page: Page, box: Box, big: int) -> None:
    """Only the last state of a bar is shown, in its colour; ranks can be picked."""
    page.goto(f"{box.url}/jobs/{big}/log?line=1")
    line = page.locator("[data-line='0']")
    expect(line).to_contain_text("100%|####| epoch 0")
    expect(line).not_to_contain_text("50%")
    expect(line.locator(".ansi-fg-2")).to_have_text("100%")
    expect(page.get_by_label("Rank")).to_contain_text("3")


def test_long_lines_wrap_when_asked(page: Page, box: Box, big: int) -> None:
    """Wrapped, every character is in view, and the end is still the end."""
    page.goto(f"{box.url}/jobs/{big}/log")
    expect(page.locator(f"[data-line='{LINES - 1}']")).to_be_visible()
    page.get_by_role("button", name="Wrap").click()
    last = page.locator(f"[data-line='{LINES - 1}']")
    expect(last).to_be_visible()
    box_ = last.bounding_box()
    assert box_ is not None
    assert box_["height"] > 30
    page.get_by_role("button", name="End", exact=True).click()
    view = page.get_by_role("log").bounding_box()
    box_ = last.bounding_box()
    assert view is not None
    assert box_ is not None
    assert box_["y"] + box_["height"] <= view["y"] + view["height"] + 2


def test_the_download_is_every_byte(page: Page, box: Box, big: int) -> None:
    """As the job wrote it, progress bars included."""
    page.goto(f"{box.url}/jobs/{big}/log")
    with page.expect_download(timeout=60_000) as download:
        page.get_by_role("link", name="Download").click()
    path = download.value.path()
    written = box.home / "runs" / str(big) / "1" / "output.log"
    assert path.stat().st_size == written.stat().st_size
