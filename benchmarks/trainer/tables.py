"""Table of results and its summary."""

from __future__ import annotations

from results import Result

HEAD = "| part | model | what | tokens/s | of 790 TFLOP/s | allocated GiB | reserved | plan | off | s |"


def line(r: Result) -> str:
    head = f"| {r.row.part} | {r.row.shape} | {r.row.name} |"
    if r.failure and not r.tokens_per_s:
        return f"{head} {r.failure.replace('|', '/')} |" + " |" * 2 + f" {r.allocated or ''} | {r.reserved or ''} | {r.plan:.1f} | | {r.seconds} |"  # fmt: skip
    off = f"{r.off:+.1f} %" if r.allocated else ""
    speed = f"{r.tokens_per_s:,.0f}" if r.tokens_per_s else ""
    share = f"{r.of_peak:.1%}" if r.of_peak else ""
    if r.stood_still_s:
        speed += f", stood still {r.stood_still_s} s"
    note = f" ({r.failure.replace('|', '/')})" if r.failure else ""
    return (
        f"{head} {speed}{note} | {share} | {r.allocated or ''} "
        f"| {r.reserved or ''} | {r.plan:.1f} | {off} | {r.seconds} |"
    )


def summary(results: list[Result]) -> None:
    """Return the table's summary in a few lines."""
    planned = [r for r in results if r.allocated and not r.failure and r.row.trainer == "berth"]
    if planned:
        offs = [r.off for r in planned]
        print(
            f"\nplan against allocated peak: {len(offs)} runs, {min(offs):+.1f} to {max(offs):+.1f} %, "
            f"{sum(abs(off) <= 5 for off in offs)} within 5 %, "
            f"{sum(off < -3 for off in offs)} below by more than 3 %"
        )
    ours = [r for r in results if r.row.trainer == "berth"]
    memory = [r for r in ours if "OutOfMemory" in r.failure]
    accepted = [r for r in memory if r.plan_fits]
    print(f"out of memory: {len(memory)}, of them accepted by the plan: {len(accepted)}")
    for part in dict.fromkeys(r.row.part for r in results):
        deep = [r for r in results if r.row.part == part and r.row.layers and r.allocated]
        if len(deep) == 2 and deep[0].row.layers != deep[1].row.layers:
            print(f"one layer of the large shape, {part}: {_of_a_layer(*deep)}")
    speeds = {r.row.name: r.tokens_per_s for r in results if r.row.part == "speed"}
    recipe = next((v for name, v in speeds.items() if "recipe" in name and v), 0.0)
    best = max((v for name, v in speeds.items() if "auto plan" in name), default=0.0)
    if best:
        times = f", {best / recipe:.0f} times the users' recipe" if recipe else ""
        print(f"best auto plan: {best:,.0f} tokens/s{times}")
    for result in results:
        shown = result.row.part == "speed" or "auto plan" in result.row.name
        for sentence in result.notes if shown else ():
            print(f"- {result.row.part}, {result.row.name}: {sentence}")


def _of_a_layer(deep: Result, shallow: Result) -> str:
    layers = (deep.row.layers or 0) - (shallow.row.layers or 0)
    true = (deep.allocated - shallow.allocated) / layers
    return f"{true:.2f} GiB, by the plan {(deep.plan - shallow.plan) / layers:.2f}"
