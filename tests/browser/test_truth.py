"""The page tells the truth when it matters: spikes, NaN, preemption, external processes."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

import pytest
from box import Box
from playwright.sync_api import Page, expect

LONG_NAME = "0123_Gemma_RealPersonaChat_profile_and_history_and_everything_else_that_was_varied"
RUN = """python3 - <<'END'
import json, os
with open(os.path.join(os.environ["BERTH_RUN_DIR"], "metrics.jsonl"), "w") as out:
    for step in range(1, 3001):
        loss = 2 / step + 0.5 if step < 601 else float("nan")
        norm = 5e8 if step == 1701 else 1.0
        print(json.dumps({"step": step, "time": 1.8e9 + step, "loss": loss, "grad_norm": norm}), file=out)
END"""


@pytest.fixture(scope="module")
def lost(shared_box: Box) -> int:
    """An ended run whose loss is NaN from step 601 on, with one spike in its gradients."""
    job = shared_box.submit(RUN, name=LONG_NAME, gpus=0)
    shared_box.wait_state(job, "succeeded")
    shared_box.wait(lambda: shared_box.get(f"/jobs/{job}")["trouble"], "the trouble")
    return job


def test_a_spike_is_drawn_and_its_value_is_told(page: Page, box: Box, lost: int) -> None:
    """At the pointer, with its step; a zoomed range is asked for again and shows every point."""
    page.goto(f"{box.url}/jobs/{lost}/metrics")
    figure = page.get_by_role("figure", name="grad_norm")
    plot = figure.locator(".u-over")
    box_ = plot.bounding_box()
    assert box_ is not None
    middle = box_["y"] + box_["height"] / 2
    told: set[str] = set()
    for beside in range(-4, 5):
        page.mouse.move(box_["x"] + box_["width"] * 1700 / 2999 + beside, middle)
        told.add(figure.locator("[data-value]").inner_text())
    assert "step 1,701 · 5e+8" in told
    assert "step 1,699 · 1" in told
    with page.expect_response(re.compile(r"/curves\?")) as answer:
        page.mouse.move(box_["x"] + box_["width"] * 0.55, middle)
        page.mouse.down()
        page.mouse.move(box_["x"] + box_["width"] * 0.58, middle, steps=3)
        page.mouse.up()
    asked = parse_qs(urlsplit(answer.value.url).query)
    assert 1600 < float(asked["from"][0]) < float(asked["to"][0]) < 1800
    curve = answer.value.json()["curves"]["grad_norm"]
    assert [b - a for a, b in zip(curve["steps"], curve["steps"][1:], strict=False)] == [1.0] * (
        len(curve["steps"]) - 1
    )
    page.get_by_role("button", name="Show all").click()
    expect(page.get_by_role("button", name="Show all")).not_to_be_visible()


def test_a_loss_that_is_nan_stands_in_red_everywhere(page: Page, box: Box, lost: int) -> None:
    """In the chart's head, at the job, in the list and in the comparison, never a healthy value."""
    page.goto(f"{box.url}/jobs/{lost}/metrics")
    told = page.get_by_role("figure", name="loss").locator("[data-value]")
    expect(told).to_have_text("NaN or infinite since step 601")
    expect(told).to_have_class(re.compile("text-bad"))
    expect(page.locator("[data-trouble]")).to_contain_text("NaN or infinite since step 601")
    page.goto(f"{box.url}/jobs")
    row = page.get_by_role("row", name=re.compile("RealPersonaChat")).first
    expect(row.locator(".text-bad").locator("visible=true")).to_contain_text("since step 601")
    page.goto(f"{box.url}/compare?jobs={lost}")
    table = page.get_by_role("region", name="Runs as a table")
    expect(table.locator(".text-bad").last).to_have_text("NaN or infinite since step 601")
    expect(table.locator("[data-best]")).to_have_count(0)
    expect(page.get_by_role("figure", name="loss").get_by_role("img")).to_have_attribute(
        "aria-label", re.compile("NaN or infinite since step 601")
    )


def test_a_preempted_job_says_by_whom_and_its_clock_stands(page: Page, box: Box) -> None:
    """It does not run while it waits again."""
    job = box.submit("sleep 300", name="gives-way", gpus=8, preemptible=True, time_limit="2h")
    box.wait_state(job, "running")
    page.goto(f"{box.url}/jobs/{job}/log")
    page.locator("[data-stream=live]").wait_for()
    other = box.submit("sleep 300", name="goes-first", gpus=8, priority=100, time_limit="1h")
    box.wait_state(job, "queued")
    expect(page.locator("[data-message]")).to_contain_text(
        re.compile(rf"Attempt 1 ended: Preempted by job {other} .* priority 100")
    )
    ran = page.get_by_text("last ran", exact=False)
    first = ran.inner_text()
    page.wait_for_timeout(1_100)
    assert ran.inner_text() == first
    expect(page.get_by_role("listitem").filter(has_text="running")).not_to_contain_text(":")


def test_a_shared_gpu_with_an_external_process_names_it(page: Page, box: Box) -> None:
    """And offers no room; nothing is said of the load of a share."""
    job = box.submit("sleep 300", name="half", gpu_memory="40GiB", share=True)
    box.wait_state(job, "running")
    gpu = box.get(f"/jobs/{job}")["gpu_indices"][0]
    carol = {"gpu": gpu, "pid": 4242, "user": "carol", "command": "python x.py", "memory": "31GiB"}
    box.simulate({"outsiders": [carol]})
    try:
        card = page.locator(f"[data-gpu='{gpu}']")
        expect(card.locator("[data-blocked]")).to_contain_text("pid 4242 of carol")
        expect(card).to_contain_text("no room left")
        expect(card).not_to_contain_text("left to share")
        expect(page.get_by_role("row", name=re.compile("half"))).to_contain_text("of GPU")
    finally:
        box.simulate()


def test_two_pasted_commands_are_two_jobs(page: Page, box: Box) -> None:
    """The guide's own paragraph: four GPUs each, told before the submit."""
    box.submit("sleep 300", gpus=8, name="all")
    (box.home / "train.py").touch()
    page.goto(f"{box.url}/submit")
    page.get_by_label("Working directory").fill(str(box.home))
    page.get_by_label("Command, exactly as you would type it").fill(
        "CUDA_VISIBLE_DEVICES=0,1,2,3 accelerate launch --num_processes=4 train.py --a\n"
        "CUDA_VISIBLE_DEVICES=4,5,6,7 accelerate launch --num_processes=4 train.py --b\n"
    )
    found = page.locator("[data-launches]")
    expect(found).to_contain_text("2 commands were found: 2 jobs, GPUs: 4 each")
    expect(page.locator("[data-dry-run]")).to_contain_text("4 GPUs")
    page.get_by_role("button", name="Submit 2 jobs").click()
    page.wait_for_url(re.compile(r"/jobs\?user="))
    queued = box.get("/queue")["jobs"]
    assert sorted(job["gpus"] for job in queued) == [4, 4]
    assert len({str(job["command"]) for job in queued}) == 2


def test_a_list_holds_still_under_the_pointer(page: Page, box: Box) -> None:
    """New jobs are told of and shown on request; the row stays where it is."""
    first = box.submit("sleep 300", name="pointed-at")
    page.goto(f"{box.url}/jobs")
    page.locator("[data-stream=live]").wait_for()
    row = page.get_by_role("row", name=re.compile("pointed-at"))
    row.hover()
    before = row.bounding_box()
    box.submit("sleep 300", name="newcomer")
    shown = page.get_by_role("button", name=re.compile("change.*: show"))
    expect(shown).to_be_visible()
    assert row.bounding_box() == before
    expect(page.get_by_role("row", name=re.compile("newcomer"))).to_have_count(0)
    shown.click()
    expect(page.get_by_role("row", name=re.compile("newcomer"))).to_be_visible()
    assert first


def test_pages_load_where_the_browser_takes_itself_to_be_offline(page: Page, box: Box) -> None:
    """A laptop without a network reaches the box through its tunnel all the same."""
    box.submit("sleep 300", gpus=8, name="all")
    box.submit("true", gpus=8, name="tunnelled")
    page.add_init_script("Object.defineProperty(navigator, 'onLine', { get: () => false })")
    page.goto(f"{box.url}/queue")
    page.evaluate("dispatchEvent(new Event('offline'))")
    expect(page.get_by_role("row", name=re.compile("tunnelled"))).to_be_visible()


@pytest.mark.parametrize("width", [390, 1440])
def test_long_names_of_runs_fit(page: Page, box: Box, width: int) -> None:
    """Nothing sticks out, and the button at the end of a row is in view."""
    page.set_viewport_size({"width": width, "height": 900})
    running = box.submit("sleep 300", name=f"{LONG_NAME}_1", gpus=8, time_limit="2h")
    box.wait_state(running, "running")
    waits = box.submit("sleep 300", name=f"{LONG_NAME}_2", gpus=8, time_limit="2h")
    for path in ("/", "/queue", f"/jobs/{waits}/log", f"/queue?explain={waits}", "/jobs"):
        page.goto(box.url + path)
        expect(page.locator("body")).to_contain_text("RealPersonaChat")
        expect(page.get_by_label("Loading")).to_have_count(0)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
    page.goto(f"{box.url}/queue")
    button = page.get_by_role("button", name=f"Explain job {waits}").locator("visible=true")
    place = button.bounding_box()
    assert place is not None
    assert place["x"] + place["width"] <= width


def test_the_plan_has_a_row_for_each_gpu_and_the_same_as_a_table(page: Page, box: Box) -> None:
    """First on the overview: running and planned jobs on their GPUs, a wall for a drain."""
    running = box.submit("sleep 300", name="now", gpus=4, time_limit="1h")
    box.wait_state(running, "running")
    box.submit("sleep 300", name="also", gpus=4, time_limit="2h")
    later = box.submit("sleep 300", name="later", gpus=4, time_limit="1h")
    page.goto(f"{box.url}/")
    rows = page.locator("[data-plan-gpu]")
    expect(rows).to_have_count(8)
    expect(page.locator(f"[data-plan-job='{later}']")).to_have_count(4)
    bar = page.get_by_role("link", name=re.compile(rf"Job {later}, later, .*expected about"))
    expect(bar.first).to_be_visible()
    section = page.get_by_role("region", name="Berth plan")
    section.get_by_role("button", name="Table").click()
    expect(section.get_by_role("row", name=re.compile("later"))).to_contain_text("about")
