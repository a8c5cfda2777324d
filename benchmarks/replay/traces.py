"""Traces of GPU clusters as public data sets write them: which columns hold what."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path

Row = Mapping[str, str]
Facts = tuple[float, float, int, str]
"""Submission in seconds, duration in seconds, number of GPUs, user."""


def read_rows(file: Path) -> Iterator[Facts]:
    """
    Yield the jobs of one CSV file that ran; its header decides the format.

    Raises ValueError with the columns that are needed where none fits.
    """
    with file.open(newline="") as lines:
        rows = csv.DictReader(lines)
        columns = set(rows.fieldnames or ())
        read = next((read for needed, read in _FORMATS if needed <= columns), None)
        if read is None:
            known = "; ".join(", ".join(sorted(needed)) for needed, _ in _FORMATS)
            raise ValueError(f"{file} has none of the known sets of columns: {known}.")
        for row in rows:
            facts = read(row)
            if facts is not None:
                yield facts


def _philly(row: Row) -> Facts:
    """Microsoft's Philly, in the tabular form of Sia's artifacts."""
    at_s = datetime.fromisoformat(row["timestamp"]).timestamp()
    return at_s, float(row["duration"]), int(row["num_gpus"]), row["cluster"]


def _helios(row: Row) -> Facts:
    """SenseTime's Helios, `cluster_log.csv`."""
    at_s = datetime.fromisoformat(row["submit_time"]).timestamp()
    return at_s, float(row["duration"]), int(row["gpu_num"]), row["user"]


def _alibaba(row: Row) -> Facts | None:
    """
    Alibaba's pods of 2023, `openb_pod_list_*.csv`: those that were scheduled.

    It names no users: the service class stands for them. A part of a GPU counts as one.
    """
    if not row["scheduled_time"] or not row["deletion_time"]:
        return None
    length_s = float(row["deletion_time"]) - float(row["scheduled_time"])
    return float(row["creation_time"]), length_s, int(row["num_gpu"]), row["qos"]


_FORMATS: tuple[tuple[frozenset[str], Callable[[Row], Facts | None]], ...] = (
    (frozenset({"timestamp", "duration", "num_gpus", "cluster"}), _philly),
    (frozenset({"submit_time", "duration", "gpu_num", "user"}), _helios),
    (
        frozenset({"creation_time", "scheduled_time", "deletion_time", "num_gpu", "qos"}),
        _alibaba,
    ),
)
