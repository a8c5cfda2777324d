"""Tables are sorted, their columns chosen, and views kept; what a job used and what else it could ask for."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from axe import violations
from box import Box
from guard import Guard
from playwright.sync_api import Page, expect

TRAINER = """python3 - <<'END'
import json, os
with open(os.path.join(os.environ["BERTH_RUN_DIR"], "metrics.jsonl"), "w") as out:
    for step in range(1, 51):
        point = {"step": step, "time": 1.8e9 + step, "loss": 4 / step, "tokens_per_s": 1000}
        print(json.dumps(point), file=out)
END
sleep 2"""


@pytest.fixture(scope="module")
def runs(shared_box: Box) -> Iterator[list[int]]:
    """Two ended runs with GPUs and metrics, and three held jobs of different size."""
    made = [
        shared_box.submit(TRAINER, name=f"measured-{n}", gpus=n, labels={"ablation": "receipts"})
        for n in (1, 2)
    ]
    for job in made:
        shared_box.wait_state(job, "succeeded")
    held = [
        shared_box.submit("true", name=name, gpus=n, hold=True, priority=n)
        for name, n in (("sort-b", 4), ("Sort-C", 1), ("sort-a", 8))
    ]
    yield made
    for job in held:
        shared_box.call("POST", f"/jobs/{job}/cancel")


@pytest.fixture
def box(shared_box: Box, runs: list[int]) -> Box:
    """The shared box; running jobs are left to the tests that made them."""
    return shared_box


def _names(page: Page) -> list[str]:
    table = page.get_by_role("region", name="Jobs", exact=True)
    return [name for name in table.get_by_role("link").all_inner_texts() if "ort-" in name]


def test_the_job_list_is_sorted_by_its_heads(page: Page, box: Box) -> None:
    """By the server, with the keyboard, told to screen readers, kept in the address."""
    page.goto(f"{box.url}/jobs?q=sort-")
    head = page.get_by_role("columnheader", name="Submitted")
    expect(head).to_have_attribute("aria-sort", "descending")
    page.get_by_role("button", name="GPUs", exact=True).focus()
    page.keyboard.press("Enter")
    gpus = page.get_by_role("columnheader", name="GPUs")
    expect(gpus).to_have_attribute("aria-sort", "descending")
    expect(page).to_have_url(re.compile("sort=-gpus"))
    row = page.get_by_role("row").nth(1)
    expect(row).to_contain_text("sort-a")
    assert [name.split()[-1] for name in _names(page)] == ["sort-a", "sort-b", "Sort-C"]
    page.keyboard.press("Enter")
    expect(gpus).to_have_attribute("aria-sort", "ascending")
    expect(row).to_contain_text("Sort-C")
    page.get_by_role("button", name="Job", exact=True).click()
    expect(row).to_contain_text("sort-a")
    assert [name.split()[-1] for name in _names(page)] == ["sort-a", "sort-b", "Sort-C"]
    page.go_back()
    expect(gpus).to_have_attribute("aria-sort", "ascending")
    assert violations(page) == []


def test_columns_are_chosen_and_a_view_is_kept(page: Page, box: Box) -> None:
    """In the address, and under a name in this browser."""
    page.goto(f"{box.url}/jobs?q=sort-&sort=name")
    page.get_by_role("button", name="Columns").click()
    dialog = page.get_by_role("dialog")
    assert violations(page) == []
    dialog.get_by_label("Priority").check()
    dialog.get_by_label("Command").uncheck()
    dialog.get_by_role("button", name="Done").click()
    expect(page.get_by_role("columnheader", name="Priority")).to_be_visible()
    expect(page.get_by_role("columnheader", name="Command")).to_have_count(0)
    page.get_by_role("button", name="Saved views").click()
    page.get_by_label("Save what is shown now as").fill("by name")
    page.get_by_role("button", name="Save", exact=True).click()
    assert violations(page) == []
    page.keyboard.press("Escape")
    shown = page.url
    page.goto(f"{box.url}/jobs")
    page.get_by_role("button", name="Saved views").click()
    page.get_by_role("dialog").get_by_role("button", name="by name", exact=True).click()
    expect(page.get_by_role("button", name="by name")).to_be_visible()
    expect(page.get_by_role("columnheader", name="Priority")).to_be_visible()
    assert sorted(page.url.partition("?")[2].split("&")) == sorted(
        shown.partition("?")[2].split("&")
    )


def test_words_filter_while_they_are_typed(page: Page, box: Box) -> None:
    """Without Enter; the back button takes the word away again."""
    page.goto(f"{box.url}/jobs")
    field = page.get_by_label("Filter by a word")
    field.press_sequentially("sort-b")
    expect(page).to_have_url(re.compile("q=sort-b"))
    expect(page.get_by_role("row")).to_have_count(2)
    expect(field).to_have_value("sort-b")


def test_the_list_is_sorted_on_a_phone(page: Page, box: Box) -> None:
    """The heads are not there; a choice is."""
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"{box.url}/jobs?q=sort-")
    page.get_by_label("Sort by").select_option(label="Most GPUs")
    expect(page.get_by_role("row").nth(1)).to_contain_text("sort-a")
    assert violations(page, ["color-contrast", "target-size", "region", "label"]) == []


def test_a_job_has_its_receipt(page: Page, box: Box, runs: list[int]) -> None:
    """GPU-hours, utilisation, energy, and the tokens of a kWh."""
    page.goto(f"{box.url}/jobs/{runs[1]}/log")
    receipt = page.locator("[data-receipt]")
    for text in ("GPU-hours", "idle", "kWh", "tokens per kWh"):
        expect(receipt).to_contain_text(text)
    assert violations(page) == []


def test_compare_says_what_a_gpu_hour_bought(page: Page, box: Box, runs: list[int]) -> None:
    """The fall of the loss for each GPU-hour, the best one marked; columns sort."""
    page.goto(f"{box.url}/compare?ablation=receipts")
    table = page.get_by_role("region", name="Runs as a table")
    expect(table.get_by_role("columnheader", name="fall of loss per GPU-hour")).to_be_visible()
    values = table.locator("[data-per-hour]")
    expect(values).to_have_count(2)
    best = [bool(re.search("text-good", v.get_attribute("class") or "")) for v in values.all()]
    assert sorted(best) == [False, True]


def test_what_if_says_when_less_would_start(page: Page, box: Box, guard: Guard) -> None:
    """At submit and at a waiting job, which is changed once it is confirmed."""
    running = box.submit("sleep 300", name="most-of-it", gpus=6, time_limit="4h")
    box.wait_state(running, "running")
    waits = box.submit("sleep 300", name="waits-for-four", gpus=4, time_limit="1h")
    try:
        page.goto(f"{box.url}/jobs/{waits}/log")
        page.get_by_text("What if it asked for something else?").click()
        table = page.locator("[data-what-if]")
        row = table.get_by_role("row").filter(has_text=re.compile(r"^2 GPUs"))
        expect(row).to_contain_text("now")
        expect(row).to_contain_text("sooner")
        assert violations(page) == []
        row.get_by_role("button", name="Change the job to 2 GPUs").click()
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text("that many ranks")
        assert box.get(f"/jobs/{waits}")["gpus"] == 4
        guard.lenient = True  # the job starts at once; variants asked for then are a 409
        dialog.get_by_role("button", name=f"Change job {waits}").click()
        box.wait_state(waits, "running")
        assert box.get(f"/jobs/{waits}")["gpus"] == 2
        page.goto(f"{box.url}/submit")
        page.get_by_label("Command, exactly as you would type it").fill("sleep 9")
        page.get_by_label("Working directory").fill(str(box.home))
        page.get_by_label("GPUs", exact=True).fill("8")
        expect(page.locator("[data-what-if]")).to_contain_text("8 GPUs as asked")
    finally:
        for job in (running, waits):
            box.call("POST", f"/jobs/{job}/cancel")


LOG = """for i in 1 2 3; do
echo "[rank0]: step $i"; echo "[rank1]: step $i"; echo "[rank1]: warning: slow $i"
done
echo "ValueError: nothing left"
sleep 2"""


def test_a_log_shows_one_rank_one_level_and_the_time_of_each_line(
    page: Page, box: Box, runs: list[int]
) -> None:
    """The other lines are gone, the numbers stay, and the address leads there."""
    job = box.submit(LOG, name="ranked", gpus=0)
    box.wait_state(job, "succeeded")
    lines_of = f"/jobs/{job}/log/lines?times=true"
    box.wait(lambda: all(box.get(lines_of)["times"]), "the times of all lines")
    page.goto(f"{box.url}/jobs/{job}/log")
    lines = page.locator("[data-line]")
    expect(lines).to_have_count(10)
    page.get_by_label("Rank").select_option(label="Rank 1")
    expect(lines).to_have_count(6)
    expect(page.locator("[data-line='1']")).to_contain_text("[rank1]: step 1")
    page.get_by_label("Level").select_option(label="Warnings and errors")
    expect(lines).to_have_count(3)
    assert violations(page) == []
    page.reload()
    expect(lines).to_have_count(3)
    page.get_by_label("Rank").select_option(label="All ranks")
    expect(lines).to_have_count(4)
    page.get_by_label("Level").select_option(label="Errors")
    expect(lines).to_have_count(1)
    expect(page.locator("[data-line='9']")).to_contain_text("ValueError")
    page.get_by_label("Level").select_option(label="All levels")
    expect(lines).to_have_count(10)
    page.get_by_role("button", name="Time", exact=True).click()
    expect(page.locator("[data-line='0']")).to_contain_text(re.compile(r"\d\d:\d\d:\d\d"))
    assert violations(page) == []


def test_the_waste_report_names_job_and_fix(page: Page, box: Box) -> None:
    """A job that waits while GPUs are free; of one user, sorted, as CSV."""
    page.goto(f"{box.url}/users")
    page.get_by_role("link", name="Waste report").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Waste report")
    expect(page.get_by_text("GPU-hours did nothing")).to_be_visible()
    page.get_by_role("button", name="Mine").click()
    expect(page).to_have_url(re.compile("user="))
    page.get_by_role("button", name="30 days").click()
    expect(page).to_have_url(re.compile("days=30"))
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    assert download.value.path().read_text().startswith("kind,user,job,name,gpu_hours")


FAILS = """echo '[rank0]: loading'
printf 'settings: lr=1\\n' > "$BERTH_RUN_DIR/settings.txt"
echo '[rank1]: Traceback (most recent call last):'
echo '[rank1]:   File "/srv/train.py", line 7'
echo '[rank1]: ValueError: nothing left'
exit 1"""


def test_a_failure_is_one_page_and_its_files_open(page: Page, box: Box, runs: list[int]) -> None:
    """Traceback, last lines of each rank, the last success of that name, and a copy with the fix."""
    good = box.submit("exit 0", name="breaks", gpus=1, env={"LR": "1"})
    box.wait_state(good, "succeeded")
    bad = box.submit(FAILS, name="breaks", gpus=1, env={"LR": "2"}, time_limit="1h")
    box.wait_state(bad, "failed")
    page.goto(f"{box.url}/jobs/{bad}/log")
    page.get_by_role("link", name="Failure", exact=True).click()
    shown = page.locator("[data-failure]")
    traceback = shown.get_by_role("region", name="Lines of the traceback")
    expect(traceback).to_contain_text("ValueError: nothing left")
    expect(shown.get_by_role("region", name="Last lines of rank 0")).to_contain_text("loading")
    differences = shown.get_by_role("region", name="Differences")
    expect(differences.get_by_role("row").filter(has_text="env.LR")).to_contain_text("2")
    expect(shown).to_contain_text(f"job {good}")
    assert violations(page) == []
    traceback.get_by_role("link", name="Line 4 in the log").click(force=True)
    expect(page).to_have_url(re.compile("line=4"))
    page.goto(f"{box.url}/jobs/{bad}/files")
    page.get_by_role("button", name="files/settings.txt").click()
    expect(page.get_by_role("dialog")).to_contain_text("settings: lr=1")
    assert violations(page) == []


def test_a_time_limit_is_retried_with_a_longer_one(page: Page, box: Box, runs: list[int]) -> None:
    """The fix that follows from the end is filled into the form."""
    job = box.submit("sleep 60", name="too-short", gpus=0, time_limit="1s", warn_before="0s")
    box.wait_state(job, "failed")
    page.goto(f"{box.url}/jobs/{job}/failure")
    expect(page.locator("[data-failure]")).to_contain_text("time limit of 2s")
    page.get_by_role("link", name="Retry with the fix").click()
    expect(page.get_by_label("Time limit")).to_have_value("2s")


def test_gpus_are_a_line_each_when_asked(page: Page, box: Box) -> None:
    """Dense, kept in the browser; on paper neither rail nor buttons."""
    page.goto(box.url)
    page.get_by_role("button", name="Dense").click()
    expect(page.locator("[data-dense] [data-gpu]")).to_have_count(8)
    assert violations(page) == []
    page.reload()
    expect(page.locator("[data-dense] [data-gpu]")).to_have_count(8)
    page.emulate_media(media="print")
    expect(page.get_by_role("navigation", name="Screens")).not_to_be_visible()
    expect(page.get_by_role("button", name="Dense")).not_to_be_visible()
    page.emulate_media(media="screen")
    page.get_by_role("button", name="Dense").click()
    expect(page.locator("[data-dense]")).to_have_count(0)


def test_the_plan_is_tried_by_dragging_and_by_its_table(page: Page, box: Box, guard: Guard) -> None:
    """A dry run moves the bar; nothing is done until it is confirmed."""
    running = box.submit("sleep 300", name="holds-six", gpus=6, time_limit="4h")
    box.wait_state(running, "running")
    waits = box.submit("sleep 300", name="wants-four", gpus=4, time_limit="6h")
    try:
        page.goto(f"{box.url}/queue")
        plan = page.get_by_role("region", name="Berth plan")
        handle = plan.locator(f"[data-handle='{waits}']").first
        place = handle.bounding_box()
        assert place is not None
        at = place["x"] + place["width"] / 2, place["y"] + place["height"] / 2
        page.mouse.move(*at)
        page.mouse.down()
        page.mouse.move(at[0] + 90, at[1], steps=4)
        page.mouse.up()
        trial = plan.get_by_role("form", name="Dry run of the plan")
        expect(trial).to_contain_text("nothing is changed yet")
        tried = trial.get_by_label("Time limit").input_value()
        assert re.fullmatch(r"\d+h(\d+m)?", tried)
        assert int(tried.partition("h")[0]) > 6
        assert box.get(f"/jobs/{waits}")["time_limit"] == "6h"
        assert violations(page) == []
        trial.get_by_role("button", name="Discard").click()
        plan.get_by_role("button", name="Table", exact=True).click()
        plan.get_by_role("button", name=f"Try something else for job {waits}").click()
        trial.get_by_label("GPUs").fill("2")
        trial.get_by_role("button", name="Try", exact=True).click()
        expect(trial).to_contain_text("nothing is changed yet")
        assert violations(page) == []
        assert box.get(f"/jobs/{waits}")["gpus"] == 4
        guard.lenient = True  # the job starts at once; a plan asked for then is a 409
        trial.get_by_role("button", name="Change the job").click()
        box.wait_state(waits, "running")
        assert box.get(f"/jobs/{waits}")["gpus"] == 2
        expect(trial).to_have_count(0)
    finally:
        for job in (running, waits):
            box.call("POST", f"/jobs/{job}/cancel")
