"""
Takes pictures of every screen: `python tests/browser/screenshots.py [FOLDER]`.

Wide and narrow, light and dark, of a box with simulated GPUs and a lab's ordinary afternoon. As
root the jobs belong to three users; they exist in a mount namespace of this script's own only.
`--docs` takes those that the documentation shows, into docs/screenshots.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from box import Box
from browser import launch
from lab import Lab
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
USERS = {"ada": 61001, "bob": 61002, "eve": 61003}
WIDE = {"width": 1440, "height": 900}
PHONE = {"width": 375, "height": 844}
INSIDE = "BERTH_SCREENSHOTS_INSIDE"

SCREENS = {
    "overview": "/",
    "gpu": "/?gpu=6",
    "reserve": "/?reserve=true",
    "queue": "/queue",
    "explain": "/queue?explain={queued}",
    "jobs": "/jobs",
    "log": "/jobs/{running}/log",
    "traceback": "/jobs/{failed}/log",
    "metrics": "/jobs/{running}/metrics",
    "placement": "/jobs/{running}/placement",
    "attempts": "/jobs/{ended}/attempts",
    "spec": "/jobs/{running}/spec",
    "code": "/jobs/{frozen}/code",
    "timeline": "/jobs/{ended}/timeline",
    "files": "/jobs/{ended}/files",
    "failure": "/jobs/{failed}/failure",
    "waiting": "/jobs/{queued}/log",
    "ablations": "/compare",
    "compare": "/compare?ablation=persona-lr",
    "submit": "/submit",
    "users": "/users",
    "waste": "/waste",
    "events": "/events",
    "settings": "/settings",
}
DOCS = [
    ("overview", "wide", "light"),
    ("overview", "wide", "dark"),
    ("overview", "phone", "light"),
    ("explain", "wide", "light"),
    ("log", "wide", "dark"),
    ("metrics", "wide", "light"),
    ("compare", "wide", "light"),
    ("submit", "wide", "light"),
]


def main() -> int:
    """Take the pictures; return the exit code."""
    parser = argparse.ArgumentParser(description="Take pictures of every screen.")
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "build" / "screenshots")
    parser.add_argument("--docs", action="store_true", help="only what docs/screenshots holds")
    options = parser.parse_args()
    if os.geteuid() == 0 and INSIDE not in os.environ and shutil.which("unshare"):
        return _with_users()
    subprocess.run([sys.executable, str(ROOT / "clients/web/build.py")], check=True)
    folder = ROOT / "docs" / "screenshots" if options.docs else options.folder
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="berth-") as home:
        # Other users reach the server's socket there.
        Path(home).chmod(0o755)
        with Box(Path(home)) as box:
            inside = INSIDE in os.environ
            lab = Lab(box, USERS if inside else {}, Path("/srv") if inside else Path(home))
            jobs = lab.fill()
            try:
                _take(box, jobs, folder, DOCS if options.docs else _all())
            finally:
                box.simulate()
    print(f"The pictures are in {folder}")
    return 0


def _all() -> list[tuple[str, str, str]]:
    return [(s, w, t) for w in ("wide", "phone") for t in ("light", "dark") for s in SCREENS]


def _take(box: Box, jobs: dict[str, int], folder: Path, wanted: list[tuple[str, str, str]]) -> None:
    with sync_playwright() as playwright:
        browser = launch(playwright)
        for width in ("wide", "phone"):
            for theme in ("light", "dark"):
                names = [s for s, w, t in wanted if (w, t) == (width, theme)]
                if not names:
                    continue
                context = browser.new_context(
                    viewport=WIDE if width == "wide" else PHONE,
                    color_scheme=theme,
                    reduced_motion="reduce",
                    device_scale_factor=1 if width == "wide" else 2,
                )
                page = context.new_page()
                page.goto(box.login_link())
                page.locator("[data-stream=live]").wait_for()
                for name in names:
                    page.goto(box.url + SCREENS[name].format(**jobs))
                    _settle(page, name)
                    page.screenshot(path=folder / f"{name}-{width}-{theme}.png")
                context.close()
        browser.close()


def _settle(page: Page, name: str) -> None:
    page.locator("[data-stream=live]").wait_for()
    if name == "submit":
        page.get_by_label("Command, exactly as you would type it").fill(
            "CUDA_VISIBLE_DEVICES=0,1 deepspeed --num_gpus=2 --master_port 29500 train.py --config zero3.json"
        )
        page.get_by_label("Time limit").fill("6h")
        page.get_by_label("Working directory").fill(
            "/srv/ada/twin" if INSIDE in os.environ else "/tmp"
        )
        page.locator("[data-dry-run], [role=status].border-warn").first.wait_for()
    page.wait_for_function("() => !document.querySelector('[aria-label=Loading]')")
    # Two frames: charts draw in the first, fonts settle with the second.
    page.evaluate(
        "document.fonts.ready.then(() => new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r))))"
    )
    page.wait_for_timeout(400)


def _with_users() -> int:
    """Run this script once more where /etc/passwd knows a few colleagues."""
    with tempfile.NamedTemporaryFile("w", suffix=".passwd") as passwd:
        passwd.write(Path("/etc/passwd").read_text())
        for name, uid in USERS.items():
            passwd.write(f"{name}:x:{uid}:{uid}::/srv/{name}:/bin/bash\n")
        passwd.flush()
        Path(passwd.name).chmod(0o644)
        homes = "".join(f" && install -d -o {uid} /srv/{name}" for name, uid in USERS.items())
        inner = (
            f'mount --bind "{passwd.name}" /etc/passwd && mount -t tmpfs homes /srv{homes} '
            '&& exec "$@"'
        )
        command = ["unshare", "--mount", "bash", "-c", inner, "-", sys.executable, *sys.argv]
        return subprocess.run(command, env={**os.environ, INSIDE: "1"}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
