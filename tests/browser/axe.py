"""axe-core on a page: accessibility rules, as its authors wrote them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from playwright.sync_api import Page

AXE = Path(__file__).resolve().parents[2] / "clients/web/node_modules/axe-core/axe.min.js"
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@cache
def _source() -> str:
    return AXE.read_text()


_SETTLED = """() => Promise.allSettled(
    document.getAnimations()
        .filter((one) => one.effect?.getComputedTiming().endTime !== Infinity)
        .map((one) => one.finished))"""


def violations(page: Page, rules: list[str] | None = None) -> list[str]:
    """Findings of axe, one line each; empty when the page is clean. `rules`: only these."""
    # Evaluated through the debugger, which the page's content policy does not hinder.
    page.evaluate(_source())
    only = {"type": "rule", "values": rules} if rules else {"type": "tag", "values": TAGS}
    page.evaluate(_SETTLED)  # a colour in transition is neither of the two that were chosen
    found = page.evaluate("only => axe.run(document, {runOnly: only})", only)
    return [
        f"{rule['id']}: {rule['help']}: {node['target']} {node['html'][:160]} "
        f"{node.get('failureSummary', '')[:300]}"
        for rule in found["violations"]
        for node in rule["nodes"]
    ]
