"""Why: this place in line, these GPUs, this code."""

from __future__ import annotations

import re
import subprocess
import tarfile
from pathlib import Path

import pytest
from box import Box
from playwright.sync_api import Page, expect


def test_the_points_of_two_jobs_are_laid_side_by_side(page: Page, box: Box) -> None:
    """On demand in the queue: compared with the job just ahead, or any other, with what decides."""
    holder = box.submit("sleep 300", gpus=8, name="holder", time_limit="3h")
    box.wait_state(holder, "running")
    urgent = box.submit("true", gpus=1, name="urgent", priority=9)
    short = box.submit("true", gpus=1, name="short", time_limit="10m")
    long = box.submit("true", gpus=1, name="long", time_limit="40h")
    page.goto(f"{box.url}/queue")
    page.get_by_role("button", name=f"Explain job {long}").click()
    why = page.get_by_role("dialog").get_by_role("region", name="Why this position")
    expect(why).to_contain_text(f"Job {short} of")
    expect(why).to_contain_text(re.compile(r"mostly for its expected length \(\+\d"))
    table = why.get_by_role("table")
    shown = box.get(f"/jobs/{long}/explain")["standing"]
    length = next(part for part in shown["parts"] if part["kind"] == "length")
    row = table.get_by_role("row", name=re.compile("^Length"))
    expect(row).to_contain_text(f"{length['points']:.2f}".replace("-", "\N{MINUS SIGN}"))
    # The page shows durations its own way: 11h 6m where the sentence says 11h6m.
    expect(row).to_contain_text(re.sub(r"(?<=[dhm])(?=\d)", " ", length["sentence"]))
    why.get_by_label("Compare with").select_option(str(urgent))
    expect(why).to_contain_text("its priority is 9, not 0")
    why.get_by_text("Score in detail").press("Enter")
    expect(table).not_to_be_visible()


def test_a_placement_says_why_these_gpus(page: Page, box: Box) -> None:
    """In the planner's words, as it was when the attempt started."""
    first = box.submit("sleep 300", gpus=2, name="first")
    box.wait_state(first, "running")
    job = box.submit("sleep 300", gpus=4, name="gang")
    box.wait_state(job, "running")
    page.goto(f"{box.url}/jobs/{job}/placement")
    why = page.locator("[data-placement]")
    shown = box.get(f"/jobs/{job}")["attempts"][0]["placement"]
    expect(why).to_have_attribute("data-placement", shown["rule"])
    expect(why).to_contain_text(shown["sentence"])
    expect(why).to_contain_text("Free when it started: GPUs 2\N{EN DASH}7")
    box.call("POST", f"/jobs/{first}/cancel")
    box.wait_state(first, "cancelled")
    page.reload()
    expect(why).to_contain_text("Free when it started: GPUs 2\N{EN DASH}7")


@pytest.fixture
def repository(box: Box) -> Path:
    """A work tree with a change and a new file."""
    root = box.home / "twin"
    if not root.exists():
        root.mkdir()
        (root / "train.py").write_text("print('first')\n")
        who = ["-c", "user.name=ada", "-c", "user.email=ada@example.org"]
        for words in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-qm", "begin"]):
            subprocess.run(["git", "-C", root, *who, *words], check=True)
        (root / "train.py").write_text("print('second')\n")
        (root / "new.txt").write_text("<b>new</b>\n")
    return root


def test_code_is_frozen_on_the_page_and_shown_with_its_job(
    page: Page, box: Box, repository: Path, tmp_path: Path
) -> None:
    """Ticked in the form; commit, what differs line by line, and the archive on the job's page."""
    page.get_by_role("link", name="Submit a job", exact=True).first.click()
    page.get_by_label("Command, exactly as you would type it").fill("python train.py")
    page.get_by_label("Working directory").fill(str(repository))
    page.get_by_label("GPUs", exact=True).fill("1")
    page.get_by_label(re.compile("Freeze the code")).check()
    expect(page.get_by_role("figure", name="Command line")).to_contain_text("--snapshot")
    expect(page.get_by_role("figure", name="job.yaml")).to_contain_text("snapshot: true")
    page.get_by_role("button", name="Submit", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("train")
    (repository / "train.py").write_text("print('third')\n")

    page.get_by_role("link", name="Code", exact=True).click()
    facts = page.get_by_role("region", name="Frozen at submission")
    commit = subprocess.check_output(["git", "-C", repository, "rev-parse", "HEAD"], text=True)
    expect(facts).to_contain_text(commit.strip())
    expect(facts).to_contain_text("1 changed file, 1 new file")
    diff = page.get_by_role("region", name="Diff against the commit")
    expect(diff).to_contain_text("-print('first')")
    expect(diff).to_contain_text("+print('second')")
    expect(diff).to_contain_text("+<b>new</b>")
    expect(diff).not_to_contain_text("third")
    with page.expect_download() as download:
        page.get_by_role("link", name=re.compile("Download all")).click()
    download.value.save_as(tmp_path / "code.tar")
    with tarfile.open(tmp_path / "code.tar") as tar:
        member = tar.extractfile("tree/train.py")
        assert member is not None
        assert member.read() == b"print('second')\n"


def test_a_job_without_frozen_code_says_how_to_have_it(page: Page, box: Box) -> None:
    """No tab for what is not there; who follows a link to it learns how."""
    job = box.submit("sleep 300", name="plain")
    page.goto(f"{box.url}/jobs/{job}/log")
    expect(page.get_by_role("link", name="Spec", exact=True)).to_be_visible()
    expect(page.get_by_role("link", name="Code", exact=True)).to_have_count(0)
    page.goto(f"{box.url}/jobs/{job}/code")
    expect(page.locator("body")).to_contain_text("The code was not frozen")
