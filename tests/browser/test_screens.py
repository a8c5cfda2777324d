"""Every screen: it loads, says nothing on the console, is accessible and fits the window."""

from __future__ import annotations

import getpass
import re
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from axe import violations
from box import Box
from guard import Guard
from playwright.sync_api import Page, expect

# Address, what its one h1 says, and text that shows that the content has come.
SCREENS = [
    ("/", "GPUs free", "Running"),
    ("/?gpu=0", "GPUs free", "Drain this GPU: no new jobs"),
    ("/?reserve=true", "GPUs free", "During the reservation, only"),
    ("/queue", "Queue", "waits-for-gpus"),
    ("/queue?explain={queued}", "Queue", "Total"),
    ("/jobs", "Jobs", "trainer-one"),
    ("/jobs/{running}/log", "trainer-one", "INFO step"),
    ("/jobs/{running}/metrics", "trainer-one", "eval_loss"),
    ("/jobs/{running}/placement", "trainer-one", "that were free"),
    ("/jobs/{ended}/attempts", "quick-one", "exited"),
    ("/jobs/{running}/spec", "trainer-one", "job.yaml"),
    ("/jobs/{ended}/code", "quick-one", "changed file.*print"),
    ("/jobs/{ended}/timeline", "quick-one", "job.submitted"),
    ("/jobs/{ended}/files", "quick-one", "output.log"),
    ("/jobs/{queued}/log", "waits-for-gpus", "No log yet"),
    ("/compare", "Compare", "pair"),
    ("/compare?ablation=pair", "Ablation pair", "Runs"),
    ("/submit", "Submit a job", "Type or paste a command"),
    ("/users", "Users", "GPU-hours"),
    ("/waste", "Waste report", "Held without work"),
    ("/events", "Events", "job.submitted"),
    ("/settings", "Settings", "BERTH_HOME|listen"),
    ("/nowhere", "Page not found", "Back to the overview"),
]


@pytest.fixture
def box(shared_box: Box) -> Box:
    """The shared box as it is: the jobs below are looked at by all tests here."""
    return shared_box


@pytest.fixture(scope="module")
def jobs(shared_box: Box) -> Iterator[dict[str, int]]:
    """A running, a queued and an ended job, all of one ablation where it matters."""
    labels = {"ablation": "pair"}
    ended = shared_box.submit(
        _trainer(20, 0.0),
        name="quick-one",
        labels={**labels, "lr": "1e-4"},
        gpus=1,
        workdir=str(_repository(shared_box.home / "pair")),
        snapshot=True,
    )
    shared_box.wait_state(ended, "succeeded")
    running = shared_box.submit(
        _trainer(100_000, 0.05),
        name="trainer-one",
        labels={**labels, "lr": "3e-4"},
        gpus=4,
        time_limit="2h",
    )
    queued = shared_box.submit("sleep 60", name="waits-for-gpus", gpus=8, time_limit="1h")
    shared_box.wait_state(running, "running")
    ends_at = (datetime.now(UTC) + timedelta(hours=30)).isoformat()
    wish = {"gpus": ["0", "1", "6"], "users": [getpass.getuser()], "ends_at": ends_at}
    made = shared_box.call("POST", "/reservations", {**wish, "reason": "camera-ready runs"})
    yield {"running": running, "queued": queued, "ended": ended}
    shared_box.call("DELETE", f"/reservations/{made['id']}")
    shared_box.clear()


def _repository(root: Path) -> Path:
    """A work tree with a change."""
    root.mkdir()
    (root / "train.py").write_text("print('first')\n")
    who = ["-c", "user.name=ada", "-c", "user.email=ada@example.org"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "begin"]):
        subprocess.run(["git", "-C", root, *who, *words], check=True)
    (root / "train.py").write_text("print('second')\n")
    return root


def _trainer(steps: int, pause_s: float) -> str:
    return f"""python3 - <<'END'
import json, os, time
out = open(os.path.join(os.environ["BERTH_RUN_DIR"], "metrics.jsonl"), "a")
for step in range({steps}):
    point = {{"step": step, "time": time.time(), "loss": 2 / (step + 1) + 0.5, "learning_rate": 1e-4}}
    if step % 5 == 0:
        point["eval_loss"] = point["loss"] + 0.1
    print(json.dumps(point), file=out, flush=True)
    print(f"\\033[36mINFO\\033[0m step {{step}} loss {{point['loss']:.3f}}", flush=True)
    time.sleep({pause_s})
END"""


@pytest.mark.parametrize(("path", "title", "content"), SCREENS, ids=[s[0] for s in SCREENS])
def test_screen_is_accessible_in_both_themes_and_on_a_phone(
    page: Page, box: Box, jobs: dict[str, int], path: str, title: str, content: str
) -> None:
    """Axe finds nothing, light and dark, wide and narrow; nothing sticks out sideways."""
    page.goto(box.url + path.format(**jobs))
    if title != "Page not found":
        expect(page.get_by_role("heading", level=1)).to_contain_text(title)
        expect(page.get_by_role("heading", level=1)).to_have_count(1)
    expect(page.locator("body")).to_contain_text(re.compile(content, re.DOTALL))
    page.emulate_media(color_scheme="light", reduced_motion="reduce")
    assert violations(page) == [], "light"
    page.emulate_media(color_scheme="dark")
    assert violations(page, ["color-contrast"]) == [], "dark"
    page.set_viewport_size({"width": 390, "height": 844})
    assert violations(page, ["color-contrast", "target-size", "region"]) == [], "on a phone"
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_what_opens_over_a_screen_is_accessible(page: Page, box: Box, jobs: dict[str, int]) -> None:
    """Confirmation dialogs, the command palette, the list of keys, an open ablation."""
    page.emulate_media(reduced_motion="reduce")
    page.goto(f"{box.url}/jobs/{jobs['queued']}/log")
    for button in ("Cancel", "Hold", "Change"):
        page.get_by_role("button", name=button, exact=True).click()
        expect(page.get_by_role("dialog")).to_be_visible()
        assert violations(page) == [], button
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).not_to_be_visible()
    for key in ("Control+k", "?"):
        page.keyboard.press(key)
        expect(page.get_by_role("dialog")).to_be_visible()
        assert violations(page) == [], key
        page.keyboard.press("Escape")
    page.goto(f"{box.url}/submit")
    page.get_by_text("Ablation: one job per combination").click()
    page.get_by_text("Start time, grace period, notification").click()
    expect(page.get_by_label("Not before")).to_be_visible()
    assert violations(page) == []


@pytest.mark.parametrize("size", [(320, 640), (768, 1024), (3840, 2160)])
def test_nothing_sticks_out_at_any_size(
    page: Page, box: Box, jobs: dict[str, int], size: tuple[int, int]
) -> None:
    """From twice enlarged on a phone to a wall screen no screen scrolls sideways."""
    page.set_viewport_size({"width": size[0], "height": size[1]})
    for path, _, content in SCREENS:
        page.goto(box.url + path.format(**jobs))
        expect(page.locator("body")).to_contain_text(re.compile(content, re.DOTALL))
        expect(page.get_by_label("Loading")).to_have_count(0)
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0], path


def test_a_chart_on_a_phone_has_letters_that_can_be_read(
    page: Page, box: Box, jobs: dict[str, int]
) -> None:
    """Text of eleven pixels on a wide screen is not scaled down with the window."""
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"{box.url}/compare?ablation=pair")
    letters = page.get_by_role("region", name="Parameter and metric").locator("svg text")
    expect(letters.first).to_be_visible()
    sizes = letters.evaluate_all("all => all.map(one => one.getBoundingClientRect().height)")
    assert min(sizes) >= 11


def test_the_plan_is_divided_at_round_times(page: Page, box: Box, jobs: dict[str, int]) -> None:
    """Round times, whatever the time is now."""
    page.goto(f"{box.url}/queue")
    ticks = page.locator("[data-ticks] > span")
    expect(ticks.first).to_be_visible()
    *rest, now = ticks.all_inner_texts()
    assert now == "now"
    assert rest
    assert all(re.search(r"\d\d:(00|30)$", word) for word in rest), rest


def test_sign_in_screen_is_accessible(page: Page, box: Box, guard: Guard) -> None:
    """A browser without a login shows how to get one, in words that can be read by all."""
    page.context.clear_cookies()
    guard.lenient = True  # the browser logs each 401
    page.goto(box.url)
    expect(page.get_by_role("heading", level=1)).to_contain_text("Sign in")
    assert violations(page) == []


def test_first_load_is_light() -> None:
    """The overview's first load is under 180 kB compressed."""
    dist = Path(__file__).resolve().parents[2] / "clients/web/dist"
    html = (dist / "index.html").read_text()
    names = re.findall(r'(?:src|href)="/(assets/[^"]+\.(?:js|css))"', html)
    assert names
    assert sum((dist / f"{name}.gz").stat().st_size for name in names) < 180_000
