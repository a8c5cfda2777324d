"""What failures look like in a log, and what mends them."""

from __future__ import annotations

from berth.protocol.internal import ExitRecord
from berth.protocol.states import Outcome


def recognise(
    text: str, record: ExitRecord, memory_kills: int, free_bytes: int | None
) -> tuple[Outcome, str] | None:
    """The outcome and sentence of a known failure; None when it is not known."""
    del text, free_bytes
    if memory_kills and (record.signal == 9 or record.exit_code in {137, 247}):
        return (
            Outcome.OOM_HOST,
            (
                "The kernel killed it for want of host memory; use less offload or fewer loader "
                "workers, or share the box with fewer jobs."
            ),
        )
    return None
