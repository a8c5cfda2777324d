"""Batch headers of submitted scripts, filled into the fields that the spec leaves open."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError

from berth.commands import CommandError
from berth.commands.headers import BatchHeader, read_header
from berth.protocol.message import Message
from berth.protocol.specs import JobSpec
from berth_server.service.errors import Invalid

_TASK = "BERTH_ARRAY_TASK_ID"


def with_header(spec: JobSpec) -> tuple[JobSpec, list[Message]]:
    """
    Return the spec with what its script's header asks for, and notes.

    A field that the spec gives wins. Raises Invalid.
    """
    if spec.script is None:
        return spec, []
    try:
        header = read_header(spec.script)
    except CommandError as error:
        raise Invalid(Message.marked(str(error)), "script") from None
    if not header.found:
        return spec, []
    notes = [Message.marked(note) for note in header.notes]
    if header.array is not None and _TASK not in spec.env:
        notes.append(Message.marked(_array_note(header)))
    given = json.loads(spec.model_dump_json(exclude_unset=True))
    fields = {key: value for key, value in header.fields.items() if key not in given}
    for key in ("env", "labels"):
        if key in given and key in header.fields:
            fields[key] = {**_mapping(header.fields[key]), **given[key]}
            del given[key]
    folder = fields.get("workdir")
    if isinstance(folder, str) and not folder.startswith("/"):
        fields["workdir"] = str(Path(spec.workdir or "/", folder))
    if "not_before" in fields and not _is_moment(str(fields["not_before"])):
        del fields["not_before"]
        notes.append(
            Message.marked(
                "The start time of the script's header is read by `berth submit` alone; set "
                "`not_before`."
            )
        )
    try:
        return JobSpec.model_validate_json(json.dumps({**given, **fields})), notes
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "it"
        raise Invalid(
            Message.of(f"The header of the script asks for a wrong {where}: {first['msg']}"),
            "script",
        ) from None


def _array_note(header: BatchHeader) -> str:
    count = len(header.array.tasks) if header.array else 0
    return (
        f"The script's array has {count} tasks, and this is one job without a task number; "
        "`berth submit` makes a job of each, and `POST /jobs/parse` returns them."
    )


def _is_moment(text: str) -> bool:
    return "T" in text and (text.endswith("Z") or "+" in text)


def _mapping(value: object) -> dict[str, object]:
    return dict(value) if isinstance(value, dict) else {}  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
