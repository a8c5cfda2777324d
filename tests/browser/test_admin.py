"""Actions of an admin on the map: reservations and drains."""

from __future__ import annotations

import getpass
import re
from datetime import UTC, datetime, timedelta

from box import Box
from guard import Guard
from playwright.sync_api import Locator, Page, expect

ME = getpass.getuser()


def _local(hours: float) -> str:
    """A time from now as a datetime-local field takes it; the browser is in this zone."""
    at = datetime.now(UTC).astimezone() + timedelta(hours=hours)
    return at.strftime("%Y-%m-%dT%H:%M")


def _open_form(page: Page) -> Locator:
    page.get_by_role("link", name="Reserve GPUs").click()
    dialog = page.get_by_role("dialog", name="Reserve GPUs")
    expect(dialog).to_be_visible()
    return dialog


def test_gpus_are_reserved_and_given_back_on_the_page(page: Page, box: Box) -> None:
    """The form alone, without a mouse; the map, the list and the queue's plan tell of it."""
    page.get_by_role("link", name="Reserve GPUs").press("Enter")
    dialog = page.get_by_role("dialog", name="Reserve GPUs")
    for index in (4, 5):
        dialog.get_by_role("checkbox", name=f"GPU {index}").press("Space")
    dialog.get_by_label("For users").fill(ME)
    dialog.get_by_label("To", exact=True).fill(_local(3))
    dialog.get_by_label("Reason").fill("camera-ready runs")
    dialog.get_by_label("Reason").press("Enter")
    expect(dialog).not_to_be_visible()

    for index in (4, 5):
        expect(page.locator(f"[data-gpu='{index}']")).to_contain_text(f"reserved for {ME}")
    row = page.get_by_role("region", name="Reservations").get_by_role("listitem")
    expect(row).to_contain_text(re.compile(rf"GPUs 4\u20135.*for {ME}.*camera-ready runs.*by {ME}"))
    made = box.get("/reservations")["reservations"][0]
    assert (made["gpu_indices"], made["reason"]) == ([4, 5], "camera-ready runs")

    page.get_by_role("link", name="Queue", exact=True).click()
    for index in (4, 5):
        wall = page.get_by_role("img", name=re.compile(f"GPU {index} reserved for"))
        expect(wall).to_be_visible()
    page.get_by_role("link", name="Overview", exact=True).click()
    page.get_by_role("button", name=re.compile("Remove the reservation")).click()
    asked = page.get_by_role("dialog")
    expect(asked).to_contain_text("can use 2 GPUs again at once")
    expect(asked.get_by_role("button", name="Go back")).to_be_focused()
    asked.get_by_role("button", name="Remove", exact=True).click()
    expect(page.locator("[data-gpu='4']")).not_to_contain_text("reserved")
    assert box.get("/reservations")["reservations"] == []


def test_what_is_refused_stands_at_its_field(page: Page, box: Box, guard: Guard) -> None:
    """Each of the server's sentences is at the field that it concerns, and the input is kept."""
    guard.lenient = True  # the browser logs each refusal
    dialog = _open_form(page)
    submit = dialog.get_by_role("button", name=re.compile("^Reserve"))
    users, ends = dialog.get_by_label("For users"), dialog.get_by_label("To", exact=True)
    cards = dialog.get_by_role("group", name="GPUs")

    submit.click()
    expect(cards.get_by_role("alert")).to_contain_text("at least 1 item")
    dialog.get_by_role("checkbox", name="GPU 2").check()
    submit.click()
    expect(users).to_have_accessible_description(re.compile("Say for whom"))
    users.fill("nobody-of-this-name")
    submit.click()
    expect(users).to_have_accessible_description(re.compile("no user 'nobody-of-this-name'"))
    users.fill(ME)
    ends.fill(_local(-2))
    submit.click()
    expect(ends).to_have_accessible_description(re.compile("over already"))
    ends.fill(_local(2))

    taken = {"gpus": ["2"], "groups": ["root"], "ends_at": _iso(3)}
    other = box.call("POST", "/reservations", taken)
    submit.click()
    expect(cards.get_by_role("alert")).to_contain_text("GPU 2 is reserved for root from")
    box.call("DELETE", f"/reservations/{other['id']}")
    submit.click()
    expect(dialog).not_to_be_visible()
    (mine,) = box.get("/reservations")["reservations"]
    box.call("DELETE", f"/reservations/{mine['id']}")


def test_a_reserved_gpu_says_for_whom(page: Page, box: Box) -> None:
    """Set aside now, it does not look free; held by a job, it still says for whom it is next."""
    wish = {"gpus": ["5"], "users": [ME], "ends_at": _iso(3), "reason": "camera-ready"}
    made = box.call("POST", "/reservations", wish)
    card = page.locator("[data-gpu='5']")
    expect(card).to_contain_text(f"reserved for {ME}, ends in 2h 59m: camera-ready")
    job = box.submit("sleep 300", name="theirs")
    box.wait_state(job, "running")
    expect(card).to_contain_text("theirs")
    expect(card).to_contain_text(f"reserved for {ME}")
    box.call("DELETE", f"/reservations/{made['id']}")
    expect(card).not_to_contain_text("reserved")


def test_a_gpu_is_drained_and_let_on_again(page: Page, box: Box) -> None:
    """Drain carries its reason and its end to the map, both can be changed; nothing starts there."""
    page.locator("[data-gpu='7']").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Reason for draining").fill("new fan")
    dialog.get_by_role("button", name="Drain").click()
    expect(dialog.get_by_role("button", name="Stop draining")).to_be_visible()
    expect(page.locator("[data-gpu='7']")).to_contain_text("new fan")
    dialog.get_by_label("Reason for draining").fill("new riser")
    dialog.get_by_label("Until").fill(_local(5))
    dialog.get_by_role("button", name="Update").click()
    expect(page.locator("[data-gpu='7']")).to_contain_text(re.compile("new riser, ends in [45]h"))
    dialog.get_by_role("button", name="Stop draining").click()
    expect(dialog.get_by_role("button", name="Drain")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("[data-gpu='7']")).to_contain_text("free")


def test_a_drain_that_is_over_already_is_refused_at_its_field(
    page: Page, box: Box, guard: Guard
) -> None:
    """The end that makes no sense is named where it was typed."""
    guard.lenient = True  # the browser logs each 422
    page.locator("[data-gpu='7']").click()
    dialog = page.get_by_role("dialog")
    until = dialog.get_by_label("Until")
    until.fill(_local(-1))
    dialog.get_by_role("button", name="Drain").click()
    expect(until).to_have_accessible_description(re.compile("would have ended already"))
    assert not box.get("/gpus")["gpus"][7]["draining"]


def _iso(hours: float) -> str:
    return (datetime.now(UTC) + timedelta(hours=hours)).isoformat()
