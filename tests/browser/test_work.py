"""A working day on the page: submit, watch the map, follow the log, cancel, explain, compare."""

from __future__ import annotations

import json
import re
from pathlib import Path

from box import Box
from guard import Guard
from playwright.sync_api import Page, expect

PROGRESS = """python3 - <<'END'
import sys, time
print("loading the model", flush=True)
for i in range(400):
    print(f"\\r{i:3d}/400 [{'#' * (i // 20)}]", end="", flush=True)
    time.sleep(0.05)
END"""


def _submit_form(page: Page, box: Box, command: str, **fields: str) -> None:
    page.get_by_role("link", name="Submit a job", exact=True).first.click()
    page.get_by_label("Command, exactly as you would type it").fill(command)
    page.get_by_label("Working directory").fill(str(box.home))
    for label, value in fields.items():
        page.get_by_label(label.replace("_", " "), exact=True).fill(value)


def test_a_job_submitted_on_the_page_takes_its_gpus_on_the_map(page: Page, box: Box) -> None:
    """The dry run says where it would start, and there it does; the map shows it by itself."""
    map_page = page.context.new_page()
    map_page.goto(box.url)
    expect(map_page.locator("[data-holder=free]")).to_have_count(8)

    _submit_form(page, box, "sleep 120", GPUs="3", Name="from-the-page", Time_limit="2h")
    expect(page.locator("[data-dry-run]")).to_contain_text(
        re.compile("Would start now on GPUs 0.2")
    )
    expect(page.get_by_role("figure", name="Command line")).to_contain_text(
        "berth submit --name from-the-page"
    )
    expect(page.get_by_role("figure", name="job.yaml")).to_contain_text("time_limit")
    page.get_by_role("button", name="Submit", exact=True).click()

    expect(page.get_by_role("heading", level=1)).to_contain_text("from-the-page")
    held = map_page.locator("[data-holder=job]")
    expect(held).to_have_count(3)
    expect(held.first).to_contain_text("from-the-page")
    expect(held.first).to_contain_text("1h 59m left")
    expect(map_page.get_by_role("heading", level=1)).to_contain_text("5 of 8 GPUs free")
    map_page.close()


def test_a_progress_bar_stays_one_line_while_the_log_is_followed(page: Page, box: Box) -> None:
    """Output that overwrites itself is one line that changes, not a thousand lines."""
    job = box.submit(PROGRESS, name="bar")
    page.goto(f"{box.url}/jobs/{job}")
    log = page.get_by_role("log")
    expect(log).to_contain_text("loading the model")
    expect(log.locator("[data-line='1']")).to_contain_text(re.compile(r"\d+/400"))
    first = log.locator("[data-line='1']").inner_text()
    expect(log.locator("[data-line='1']")).not_to_have_text(first)
    expect(log.locator("[data-line]")).to_have_count(2)
    expect(page.get_by_role("button", name="Following")).to_be_visible()


def test_cancel_says_what_is_lost_and_frees_the_gpus(page: Page, box: Box) -> None:
    """The question names the consequence; focus is on keeping; the page follows the end."""
    job = box.submit("sleep 300", gpus=2, name="doomed")
    box.wait_state(job, "running")
    page.goto(f"{box.url}/jobs/{job}")
    page.get_by_role("button", name="Cancel", exact=True).click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("SIGTERM now and SIGKILL after 1s")
    expect(dialog).to_contain_text("GPUs 0\N{EN DASH}1 are free")
    expect(dialog.get_by_role("button", name="Go back")).to_be_focused()
    dialog.get_by_role("button", name=f"Cancel job {job}").click()
    expect(dialog).not_to_be_visible()
    expect(page.get_by_label("Job lifecycle")).to_contain_text("cancelled")
    expect(page.get_by_text(f"Attempt {job}.1 ended: cancelled")).to_be_visible()
    page.get_by_role("link", name="Overview", exact=True).click()
    expect(page.locator("[data-holder=free]")).to_have_count(8)


def test_the_queue_explains_why_a_job_waits(page: Page, box: Box) -> None:
    """Place, expected start, who holds the GPUs until when, and what would help."""
    holder = box.submit("sleep 300", gpus=6, name="holder", time_limit="3h")
    box.wait_state(holder, "running")
    waiting = box.submit("true", gpus=8, name="patient", time_limit="1h")
    page.goto(f"{box.url}/queue")
    row = page.get_by_role("row", name=re.compile("patient"))
    expect(row).to_contain_text("about")
    expect(row).to_contain_text("holder")
    page.get_by_role("button", name=f"Explain job {waiting}").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Position 1")
    expect(dialog).to_contain_text(f"job {holder}")
    expect(dialog).to_contain_text("likely")


def test_hold_release_and_priority_from_the_page(page: Page, box: Box) -> None:
    """A held job leaves the line and comes back; its priority is changed where it is shown."""
    box.submit("sleep 300", gpus=8, name="all")
    job = box.submit("true", gpus=1, name="shy")
    page.goto(f"{box.url}/jobs/{job}")
    page.get_by_role("button", name="Hold", exact=True).click()
    page.get_by_role("button", name=f"Hold job {job}").click()
    expect(page.get_by_label("Job lifecycle")).to_contain_text("held")
    page.get_by_role("button", name="Change", exact=True).click()
    page.get_by_label("Priority").fill("50")
    page.get_by_role("button", name=f"Change job {job}").click()
    expect(page.get_by_role("dialog")).not_to_be_visible()
    page.get_by_role("button", name="Release", exact=True).click()
    page.get_by_role("button", name=f"Release job {job}").click()
    expect(page.get_by_label("Job lifecycle")).to_contain_text("queued")
    assert box.get(f"/jobs/{job}")["priority"] == 50


def test_several_jobs_are_picked_and_cancelled_together(page: Page, box: Box) -> None:
    """The list acts on what is ticked; filters stay in the address."""
    for name in ("one", "two", "other"):
        box.submit("sleep 300", name=name, labels={"set": "a" if name != "other" else "b"})
    page.goto(f"{box.url}/jobs?label=set%3Da&state=active,pending")
    expect(page.get_by_role("row")).to_have_count(3)
    page.get_by_label("Select all listed jobs").check()
    page.get_by_role("toolbar", name="Selected jobs").get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Cancel 2 jobs").click()
    expect(page.get_by_text("No jobs match these filters")).to_be_visible()
    page.get_by_role("button", name="Clear the filters").press("Enter")  # no key of the list's
    expect(page.get_by_role("row", name=re.compile("other"))).to_be_visible()
    assert len(box.get("/jobs?state=running,starting&label=set%3Db")["jobs"]) == 1


def test_two_ablations_are_compared_and_exported(page: Page, box: Box, tmp_path: Path) -> None:
    """The best value is marked, only what differs is a column, and the table can be taken away."""
    jobs = []
    for rate, floor in (("1e-4", 0.9), ("3e-4", 0.4)):
        script = (
            f"for s in 1 2 3 4 5 6; do "
            f'echo "{{\\"step\\": $s, \\"loss\\": $(python3 -c "print({floor} + 1 / $s)")}}" '
            f">> $BERTH_RUN_DIR/metrics.jsonl; done"
        )
        jobs.append(box.submit(script, gpus=1, labels={"ablation": "rates", "lr": rate}))
    for job in jobs:
        box.wait_state(job, "succeeded")
    page.goto(f"{box.url}/compare")
    page.get_by_role("link", name="rates").click()
    table = page.get_by_role("region", name="Runs as a table")
    expect(table.get_by_role("columnheader", name="lr")).to_be_visible()
    expect(table.locator("td[data-best]")).to_have_count(1)
    expect(table.locator("td[data-best]")).to_contain_text("0.56667")
    expect(page.locator("canvas")).to_have_count(1)
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").click()
    download.value.save_as(tmp_path / "rates.csv")
    rows = (tmp_path / "rates.csv").read_text().splitlines()
    assert rows[0] == "job,name,state,lr,step,loss,gpu_hours,loss_per_gpu_hour"
    assert [row.split(",")[3] for row in rows[1:]] == ["1e-4", "3e-4"]
    with page.expect_download() as download:
        page.get_by_role("button", name="Markdown", exact=True).click()
    download.value.save_as(tmp_path / "rates.md")
    assert (tmp_path / "rates.md").read_text().startswith("| job | name |")


def test_a_run_that_differs_in_more_than_the_ablation_is_marked(page: Page, box: Box) -> None:
    """What differs, names and values as code, and what its samples left out; the others are bare."""
    for lr, length, samples in (("1e-4", 128, 0), ("3e-4", 64, 0.9), ("1e-3", 128, 0)):
        facts = {
            "settings": {"training.max_length": length},
            "shortened": {"samples": samples, "left_out": {"history": 0.61}},
        }
        script = f"echo '{json.dumps(facts)}' > $BERTH_RUN_DIR/comparable.json"
        job = box.submit(script, gpus=1, labels={"ablation": "lengths", "lr": lr})
        box.wait_state(job, "succeeded")

    page.goto(f"{box.url}/compare?ablation=lengths")

    table = page.get_by_role("region", name="Runs as a table")
    expect(table.get_by_role("row")).to_have_count(4)
    marked = table.get_by_text("Not comparable")
    expect(marked).to_have_count(1)
    expect(marked).to_have_text("Not comparable: training.max_length is 64; most runs have 128.")
    expect(marked.locator("code")).to_have_text(["training.max_length", "64", "128"])
    expect(table.get_by_text("90% of the training samples leave something out")).to_contain_text("61% of the history")  # fmt: skip


def test_an_ablation_becomes_one_job_per_combination(page: Page, box: Box) -> None:
    """Axes fill the command in; all runs share the ablation's label."""
    box.submit("sleep 300", gpus=8, name="all")
    _submit_form(page, box, "echo {lr} {seed}", GPUs="1", Name="grid")
    page.get_by_text("Ablation: one job per combination").click()
    page.get_by_label("Axes").fill("lr=1e-4,3e-4\nseed=1,2")
    page.get_by_role("button", name="Submit 4 jobs").click()
    expect(page.get_by_role("row")).to_have_count(5)
    commands = {job["command"] for job in box.get("/jobs?label=ablation%3Dgrid")["jobs"]}
    assert commands == {f"echo {lr} {seed}" for lr in ("1e-4", "3e-4") for seed in (1, 2)}


def test_the_dry_run_tells_when_and_behind_whom(page: Page, box: Box) -> None:
    """On a full box: about when, behind how many; the buttons stand right below."""
    running = box.submit("sleep 300", gpus=8, name="all", time_limit="2h")
    box.wait_state(running, "running")
    box.submit("true", gpus=8, name="first", time_limit="1h")
    (box.home / "train.py").touch()
    _submit_form(page, box, "deepspeed --num_gpus=8 train.py", Time_limit="1h")
    verdict = page.locator("[data-dry-run]")
    expect(verdict).to_contain_text(re.compile(r"Would start about .*\d\d:\d\d, behind 1 job"))
    expect(verdict).not_to_contain_text("UTC")
    expect(page.get_by_text("deepspeed.launcher.launch").first).to_be_visible()


def test_a_refused_job_says_why_before_it_is_sent(page: Page, box: Box, guard: Guard) -> None:
    """The dry run carries the server's sentence."""
    guard.lenient = True  # the browser logs each 422
    _submit_form(page, box, "true", GPUs="64")
    expect(page.get_by_text("asks for 64 GPUs, but this box has 8")).to_be_visible()


def test_outsiders_and_sick_gpus_are_named_on_the_map(page: Page, box: Box) -> None:
    """The map names external processes and faults on their GPU."""
    box.simulate(
        {
            "outsiders": [{"gpu": 3, "pid": 4242, "user": "bob", "command": "python train.py"}],
            "faults": [{"gpu": 2, "sentence": "Xid 79: the GPU has fallen off the bus."}],
        }
    )
    try:
        expect(page.locator("[data-gpu='3']")).to_have_attribute("data-holder", "outsider")
        expect(page.locator("[data-gpu='3']")).to_contain_text("pid 4242 of bob (python train.py)")
        expect(page.locator("[data-gpu='2']")).to_contain_text("fallen off the bus")
        expect(page.get_by_role("heading", level=1)).to_contain_text("6 of 8 GPUs free")
    finally:
        box.simulate()
    expect(page.locator("[data-holder=free]")).to_have_count(8)


def test_jobs_that_share_a_gpu_are_shown_with_their_parts(page: Page, box: Box) -> None:
    """Each with its name, its owner and what it uses of its share; and what is left to share."""
    for name in ("half", "quarter"):
        gib = "40GiB" if name == "half" else "20GiB"
        job = box.submit("sleep 300", name=name, gpu_memory=gib, share=True)
        box.wait_state(job, "running")
    shared = page.locator("[data-gpu]", has_text="shared")
    expect(shared).to_have_count(1)
    expect(shared).to_contain_text("half")
    expect(shared).to_contain_text(re.compile(r"of 20\.0 GiB"))
    expect(shared).to_contain_text("19.6 GiB left to share")


def test_curves_come_from_the_log_of_any_hugging_face_trainer(page: Page, box: Box) -> None:
    """Lines like {'loss': …} are enough; nothing in the script knows of Berth."""
    job = box.submit(
        "for s in 1 2 3 4 5; do "
        "echo \"{'loss': 0.$((10 - s))5, 'learning_rate': 5e-05, 'epoch': $s.0}\"; done; sleep 12",
        gpus=1,
        name="hf",
    )
    page.goto(f"{box.url}/jobs/{job}/metrics")
    expect(page.get_by_role("region", name="Training")).to_contain_text("in the log")
    expect(page.get_by_role("figure", name="learning_rate")).to_contain_text("5e-5")
    page.get_by_role("button", name="Table").click()
    expect(page.get_by_role("region", name="Metric values")).to_contain_text("0.55")


def test_gpu_history_of_a_job_is_kept_after_its_end(page: Page, box: Box) -> None:
    """Utilisation, memory, power and temperature over the attempt's life."""
    job = box.submit("sleep 12", gpus=2, name="measured")
    box.wait_state(job, "succeeded")
    page.goto(f"{box.url}/jobs/{job}/metrics")
    figure = page.get_by_role("figure", name="GPU memory")
    expect(figure).to_be_visible()
    expect(figure.get_by_role("img").first).to_have_attribute(
        "aria-label", re.compile(r"GPU memory in GiB, last values: GPU 0 \S+, GPU 1 \S+")
    )
