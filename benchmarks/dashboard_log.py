"""
The dashboard's log viewer at its limits: `python benchmarks/dashboard_log.py`.

A real Chromium opens the log of a job that wrote two million lines (half a gigabyte: progress
bars, colours, four ranks), jumps about in it, searches it and follows a growing one. What is
timed is what a reader waits for: from the click to the line on the screen.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "browser"))
from box import Box
from browser import launch
from playwright.sync_api import Page, sync_playwright
from test_log import BIG, LINES

OPENS = 7
JUMPS = 200
FOLLOWED = 100

# Each line tells when it was written; the page notes when it is drawn.
TICKER = f"""python3 - <<'END'
import time
time.sleep(2)
for n in range({FOLLOWED}):
    print(f"tick {{n}} {{time.time() * 1000:.1f}}", flush=True)
    time.sleep(0.05)
time.sleep(600)
END"""
WATCH = """() => {
  window.delays = {};
  new MutationObserver(() => {
    for (const row of document.querySelectorAll('[data-line]')) {
      const found = row.textContent.match(/tick (\\d+) (\\d+\\.\\d)/);
      if (found) window.delays[found[1]] ??= Date.now() - Number(found[2]);
    }
  }).observe(document.body, {subtree: true, childList: true, characterData: true});
}"""


def main() -> None:
    """Measure and print."""
    with (
        tempfile.TemporaryDirectory(prefix="berth-") as home,
        Box(Path(home)) as box,
        sync_playwright() as playwright,
    ):
        big = box.submit(BIG, name="big", gpus=0)
        box.wait(lambda: box.get(f"/jobs/{big}")["state"] == "succeeded", "it", within_s=300)
        size = (Path(home) / "runs" / str(big) / "1" / "output.log").stat().st_size
        print(f"log: {LINES:,} lines, {size / 1e6:.0f} MB")
        browser = launch(playwright)
        page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
        page.goto(box.login_link())
        page.locator("[data-stream=live]").wait_for()
        _open(page, box, big)
        _jump(page)
        _search(page)
        _follow(page, box)
        browser.close()


def _open(page: Page, box: Box, job: int) -> None:
    took = []
    for _ in range(OPENS + 1):
        page.goto(f"{box.url}/jobs")
        link = page.get_by_role("link", name="big")
        link.wait_for()
        began = time.perf_counter()
        link.click()
        page.locator(f"[data-line='{LINES - 1}']").wait_for()
        took.append(time.perf_counter() - began)
    print(f"first opening, which indexes it: {took[0]:.2f} s")
    print(f"opening at the end: median {statistics.median(took[1:]):.2f} s, {_span(took[1:])} s")
    assert page.url.startswith(f"{box.url}/jobs/{job}/")


def _jump(page: Page) -> None:
    heap = page.context.new_cdp_session(page)
    log = page.get_by_role("log")
    sizes = []
    for jump in range(JUMPS + 1):
        share = jump * 0.618 % 1
        log.evaluate("(e, f) => { e.scrollTop = f * (e.scrollHeight - e.clientHeight) }", share)
        page.wait_for_function(
            "() => ![...document.querySelectorAll('[data-line]')].some(e => e.textContent.endsWith('…'))"
        )
        if jump % (JUMPS // 4) == 0:
            heap.send("HeapProfiler.collectGarbage")
            sizes.append(heap.send("Runtime.getHeapUsage")["usedSize"] / 1e6)
    print(f"heap over {JUMPS} jumps: {', '.join(f'{s:.0f}' for s in sizes)} MB")


def _search(page: Page) -> None:
    for text, regex, found in (
        ("needle in", False, "1 of 1 line"),
        (r"epoch 19\d\d$", True, "1 of 100 lines"),
    ):
        if regex:
            page.get_by_role("button", name="Regular expression").click()
        page.get_by_label("Find in the log").fill(text)
        began = time.perf_counter()
        page.keyboard.press("Enter")
        page.get_by_text(found, exact=True).wait_for(timeout=60_000)
        print(f"search of it all for {text!r}: {time.perf_counter() - began:.1f} s")


def _follow(page: Page, box: Box) -> None:
    job = box.submit(TICKER, name="ticker", gpus=1)
    box.wait_state(job, "running")
    page.goto(f"{box.url}/jobs/{job}/log")
    page.get_by_role("button", name="Following").wait_for()
    page.evaluate(WATCH)
    page.wait_for_function("n => window.delays?.[n] !== undefined", arg=str(FOLLOWED - 1))
    delays = sorted(page.evaluate("Object.values(window.delays)"))
    print(
        f"from write to screen, {len(delays)} lines: median {statistics.median(delays):.0f} ms, "
        f"p99 {delays[int(len(delays) * 0.99) - 1]:.0f} ms"
    )


def _span(values: list[float]) -> str:
    return f"{min(values):.2f} to {max(values):.2f}"


if __name__ == "__main__":
    main()
