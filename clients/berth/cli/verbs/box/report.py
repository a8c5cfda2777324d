"""Verb `berth report`: a month's use of the GPUs."""

from __future__ import annotations

import csv
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from berth.cli import text
from berth.cli.session import AsJson, connect, print_json
from berth.cli.table import Cell, Column, render

if TYPE_CHECKING:
    from berth.protocol.server import UsageReport, UsageRow

_COLUMNS = (
    "jobs",
    "gpu_hours",
    "idle_gpu_hours",
    "utilization_percent",
    "energy_kwh",
    "cost",
    "co2_kg",
)


def report(
    *,
    month: Annotated[
        str | None, typer.Option(metavar="YYYY-MM", help="Month; default: the present one.")
    ] = None,
    by: Annotated[
        str, typer.Option(metavar="WHAT", help="Rows: user, group or label:KEY.")
    ] = "user",
    as_csv: Annotated[bool, typer.Option("--csv", help="Print comma-separated values.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show who used how much of the GPUs in a month: hours, idle hours, energy, cost."""
    with connect() as client:
        found = client.usage(month, by=by)
    if as_json:
        print_json(found)
    elif as_csv:
        _write_csv(found)
    else:
        print(rendered(found))


def rendered(found: UsageReport) -> str:
    """Render a report as a table, columns without any value left out."""
    what = found.by.removeprefix("label:")
    begin = found.begins_at.astimezone()
    head = text.style(f"GPUs by {text.clean(what)}, {begin:%Y-%m}", "bold")
    if not found.rows:
        return f"{head}\nNo job has held a GPU."
    named = [name for name in _COLUMNS if any(getattr(r, name) is not None for r in found.rows)]
    columns = (
        Column(what.upper(), least=8),
        *(Column(_title(name, found.currency), right=True) for name in named),
    )
    return f"{head}\n{render(columns, [_row(row, named) for row in found.rows])}"


def _title(name: str, currency: str) -> str:
    titles = {
        "gpu_hours": "GPU-HOURS",
        "idle_gpu_hours": "IDLE",
        "utilization_percent": "BUSY",
        "energy_kwh": "KWH",
        "cost": f"COST {currency}".rstrip(),
        "co2_kg": "KG CO2",
    }
    return titles.get(name, name.upper())


def _row(row: UsageRow, named: list[str]) -> list[Cell]:
    cells: list[Cell] = [text.clean(row.key)]
    for name in named:
        value = getattr(row, name)
        if value is None:
            cells.append("-")
        elif name == "jobs":
            cells.append(str(value))
        else:
            cells.append(f"{value:.0f} %" if name == "utilization_percent" else f"{value:,.2f}")
    return cells


def _write_csv(found: UsageReport) -> None:
    month = f"{found.begins_at.astimezone():%Y-%m}"
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["month", found.by, *_COLUMNS, "currency"])
    for row in found.rows:
        values = [getattr(row, name) for name in _COLUMNS]
        writer.writerow(
            [month, _cell(row.key), *("" if v is None else v for v in values), found.currency]
        )


def _cell(key: str) -> str:
    """A value that no spreadsheet takes for a formula."""
    return f"'{key}" if key[:1] in {"=", "+", "-", "@", "\t", "\r"} else key
