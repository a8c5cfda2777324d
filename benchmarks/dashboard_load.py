"""
The dashboard under load, in a real browser: `python benchmarks/dashboard_load.py [CHECKOUT]`.

Measured on this checkout and, where another one is named (with its own `.venv` or run by this
one's), on that too, in one run: a log that is one progress line of 87 MB, the metrics tab of a run
with 50 metrics in 33 MB, bytes and long tasks of a busy queue tab with 2,000 jobs, and the CPU time
that ten viewers of it cost the server.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "browser"))
from browser import launch  # noqa: E402 - found there
from playwright.sync_api import Browser, Page, sync_playwright  # noqa: E402 - as above

BAR = """python3 - <<'END'
import sys
out = sys.stdout
for start in range(0, 2_000_000, 10_000):
    out.write("".join(f"\\r{n / 20000:5.1f}%|####    | {n:7d}/2000000 [00:10]" for n in range(start, start + 10_000)))
out.write("\\rdone 2000000/2000000")
END"""
CURVES = """python3 - <<'END'
import json, os, random
names = [f"group{i % 5}/metric_{i}" for i in range(49)] + ["loss"]
with open(os.path.join(os.environ["BERTH_RUN_DIR"], "metrics.jsonl"), "w") as out:
    step = 0
    while out.tell() < 33_000_000:
        step += 1
        point = {"step": step, "time": 1.7e9 + step}
        out.write(json.dumps(point | {n: round(random.random(), 6) for n in names}) + "\\n")
END
sleep 3600"""
QUEUED = 2_000
WATCHED_S = 15
VIEWERS = 10
LONG_TASKS = """
window.longTasks = [];
new PerformanceObserver((list) => {
  for (const one of list.getEntries()) window.longTasks.push(one.duration);
}).observe({ entryTypes: ["longtask"] });
"""


class Measured:
    """One checkout's server and worker, and what was measured on it."""

    def __init__(self, checkout: Path, home: Path) -> None:
        # The box of the tests, started from the checkout's own sources.
        os.environ["PYTHONPATH"] = os.pathsep.join(
            str(checkout / part) for part in ("server", "worker", "clients", "trainer")
        )
        from box import Box

        self.box = Box(home)
        self.found: dict[str, str] = {}

    def run(self, browser: Browser) -> dict[str, str]:
        """Measure everything."""
        box = self.box
        box.start("server")
        box.start("worker")
        try:
            box.wait(lambda: box.get("/gpus")["gpus"], "the worker's first report")
            bar = box.submit(BAR, name="bar", gpus=0)
            curves = box.submit(CURVES, name="curves", gpus=1)
            box.wait(lambda: box.get(f"/jobs/{bar}")["state"] == "succeeded", "it", within_s=300)
            file = box.home / "runs" / str(curves) / "1" / "files" / "metrics.jsonl"
            box.wait(lambda: file.exists() and file.stat().st_size > 33e6, "it", within_s=300)
            context = browser.new_context(viewport={"width": 1440, "height": 900})
            context.set_default_timeout(240_000)
            context.add_init_script(LONG_TASKS)
            page = context.new_page()
            page.goto(box.login_link())
            page.locator("[data-stream=live]").wait_for()
            self._log(page, bar)
            self._metrics(page, curves)
            self._queue(page)
            self._viewers(context.cookies(), browser)
            context.close()
        finally:
            # Whatever still runs goes with the home; cancelling thousands of jobs takes long.
            for job in box.get("/jobs?state=running&limit=100")["jobs"]:
                box.call("POST", f"/jobs/{job['id']}/cancel")
            box.stop("worker")
            box.stop("server")
        return self.found

    def _log(self, page: Page, job: int) -> None:
        page.goto(f"{self.box.url}/jobs")
        page.get_by_role("link", name="bar").first.wait_for()
        began = time.perf_counter()
        page.goto(f"{self.box.url}/jobs/{job}/log")
        page.locator("[data-line='0']").get_by_text("done 2000000/2000000").wait_for()
        self.found["87 MB progress line, opening (s)"] = f"{time.perf_counter() - began:.2f}"

    def _metrics(self, page: Page, job: int) -> None:
        sent = _Traffic(page)
        began = time.perf_counter()
        page.goto(f"{self.box.url}/jobs/{job}/metrics")
        page.locator("figure canvas").first.wait_for()
        self.found["50 metrics of 33 MB, first chart (s)"] = f"{time.perf_counter() - began:.2f}"
        page.wait_for_timeout(2_000)
        sent.reset()
        before = _cpu_s(self.box)
        page.wait_for_timeout(10_000)
        self.found["then: server's CPU per second (ms)"] = (
            f"{(_cpu_s(self.box) - before) * 100:.0f}"
        )
        self.found["then: kB/s"] = f"{sent.total / 10 / 1000:.1f}"

    def _queue(self, page: Page) -> None:
        box = self.box
        full = [{"command": "sleep 3600", "gpus": 7, "workdir": str(box.home), "name": "full"}]
        spec = {"command": "true", "gpus": 8, "workdir": str(box.home), "time_limit": "1h"}
        box.call("POST", "/jobs", full)
        for start in range(0, QUEUED, 500):
            jobs = [{**spec, "name": f"job {start + i}"} for i in range(500)]
            box.call("POST", "/jobs", jobs)
        page.goto(f"{box.url}/queue")
        page.get_by_text("job 1", exact=False).first.wait_for()
        page.wait_for_timeout(3_000)
        page.evaluate("window.longTasks = []")
        sent = _Traffic(page)
        self._submit_for(WATCHED_S)
        tasks: list[float] = page.evaluate("window.longTasks")
        self.found["busy queue tab, 2,000 jobs, kB/s"] = f"{sent.total / WATCHED_S / 1000:.1f}"
        over = [t for t in tasks if t > 100]
        self.found["its long tasks over 100 ms, longest (ms)"] = (
            f"{len(over)}, {max(tasks, default=0):.0f}"
        )

    def _viewers(self, cookies: Any, browser: Browser) -> None:
        before = _cpu_s(self.box)
        self._submit_for(WATCHED_S)
        alone = _cpu_s(self.box) - before
        contexts = []
        for _ in range(VIEWERS - 1):
            context = browser.new_context()
            context.add_cookies(cookies)
            context.new_page().goto(f"{self.box.url}/queue")
            contexts.append(context)
        time.sleep(3)
        before = _cpu_s(self.box)
        self._submit_for(WATCHED_S)
        spent = _cpu_s(self.box) - before
        self.found["nine more viewers of it: server's CPU (% of a core)"] = (
            f"{(spent - alone) / WATCHED_S * 100:.1f}"
        )
        for context in contexts:
            context.close()

    def _submit_for(self, seconds: int) -> None:
        """Submit a job a second."""
        spec = {"command": "true", "gpus": 8, "workdir": str(self.box.home), "time_limit": "1h"}
        for number in range(seconds):
            began = time.monotonic()
            self.box.call("POST", "/jobs", {**spec, "name": f"new {number}"})
            time.sleep(max(0.0, 1 - (time.monotonic() - began)))


class _Traffic:
    """Bytes that a page received, the streams of its shared worker included."""

    def __init__(self, page: Page) -> None:
        self.total = 0.0
        session = page.context.new_cdp_session(page)
        session.send("Network.enable")
        session.on("Network.dataReceived", self._received)

    def reset(self) -> None:
        self.total = 0.0

    def _received(self, event: dict[str, Any]) -> None:
        self.total += event["encodedDataLength"]


def _cpu_s(box: Any) -> float:
    """CPU time of the server so far, all threads."""
    pid = box._daemons["server"].pid  # noqa: SLF001 - the box has no other word for it
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", nargs="?", type=Path, help="another checkout, built")
    parser.add_argument("--json", action="store_true", help="print one checkout's values as JSON")
    options = parser.parse_args()
    if options.json:
        with (
            tempfile.TemporaryDirectory(prefix="berth-") as home,
            sync_playwright() as playwright,
        ):
            browser = launch(playwright)
            print(json.dumps(Measured(options.checkout or ROOT, Path(home)).run(browser)))
            browser.close()
        return
    columns = [ROOT] if options.checkout is None else [options.checkout.resolve(), ROOT]
    results = [
        json.loads(
            subprocess.run(
                [sys.executable, __file__, "--json", str(checkout)],
                check=True,
                stdout=subprocess.PIPE,
                text=True,
            ).stdout
        )
        for checkout in columns
    ]
    print("| | " + " | ".join(str(one) for one in columns) + " |")
    print("|---|" + "---|" * len(columns))
    for name in results[-1]:
        print(f"| {name} | " + " | ".join(one.get(name, "?") for one in results) + " |")


if __name__ == "__main__":
    main()
