"""Batch scripts on the command line: which files are one, their headers, their arrays."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from berth.cli.failure import Failure

if TYPE_CHECKING:
    from datetime import datetime

    from berth.commands.headers import BatchHeader

_SHELL = re.compile(rb"#!\s*(?:/usr/bin/env\s+(?:-S\s+)?)?(?:\S*/)?(?:ba|da|z|k)?sh\b")
_HEADER = re.compile(rb"^#(?:SBATCH|BERTH)[ \t]", re.MULTILINE)
_NAMES = (".sh", ".bash", ".sbatch", ".slurm")
_HEAD_BYTES = 16_384


def is_one(word: str) -> bool:
    """
    True if a word names a shell script to be submitted, as `sbatch` would take it.

    A file that can be executed and has no header is a program, and is started as such.
    """
    path = Path(word)
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except (OSError, ValueError):
        return False
    if b"\0" in head:
        return False
    if _HEADER.search(head):
        return True
    shell = _SHELL.match(head) is not None or (not head.startswith(b"#!") and word.endswith(_NAMES))
    return shell and not path.stat().st_mode & 0o111


def base(path: str, arguments: list[str]) -> dict[str, Any]:
    """
    Return the job of a script in a file: its text, as it is now.

    A script for another program than a shell is a command instead, because it looks for its
    modules and data beside itself; `script` is its text all the same, for its header.
    """
    try:
        content = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise Failure(f"The script {path} does not exist; check the path.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"The script {path} cannot be read: {error}.") from error
    found: dict[str, Any] = {"script": content, "name": Path(path).stem}
    # Not resolved: a script's $0 is what was typed.
    file = str(Path(path).absolute())
    if content.startswith("#!") and not _SHELL.match(content.encode()):
        from berth.commands import CommandError
        from berth.commands.script_line import interpreter

        try:
            by = interpreter(content)
        except CommandError as error:
            raise Failure(str(error)) from error
        words = [each.text for each in by.words]
        return {**found, "command": [*words, file, *arguments]}
    return {**found, "script": _with_arguments(content, arguments), "script_file": file}


def _with_arguments(content: str, arguments: list[str]) -> str:
    """Set a shell script's arguments where its first command stands."""
    if not arguments:
        return content
    import shlex

    lines = content.splitlines(keepends=True)
    for at, line in enumerate(lines):
        if line.strip() and not line.lstrip().startswith("#"):
            lines[at] = f"set -- {shlex.join(arguments)}; {line}"
            return "".join(lines)
    return content


def header(script: str) -> BatchHeader | None:
    """Return the header of a script; None without one."""
    if "#SBATCH" not in script and "#BERTH" not in script:
        return None
    from berth.commands import CommandError
    from berth.commands.headers import read_header

    try:
        found = read_header(script)
    except CommandError as error:
        raise Failure(str(error)) from error
    return found if found.found else None


def with_header(spec: dict[str, Any], found: BatchHeader) -> dict[str, Any]:
    """Return a spec with what its script's header asks for; what the spec says wins."""
    fields = dict(found.fields)
    folder = fields.get("workdir")
    if isinstance(folder, str):
        fields["workdir"] = str(Path(spec.get("workdir") or Path.cwd(), folder))
    for key in ("env", "labels"):
        own, asked = spec.get(key), fields.get(key)
        if isinstance(own, dict) and isinstance(asked, dict):
            fields[key] = {**asked, **own}
            spec = {name: value for name, value in spec.items() if name != key}
    return {**fields, **spec}


def tasks(spec: dict[str, Any], found: BatchHeader) -> list[dict[str, Any]]:
    """Return one spec for each task of the script's array; the spec alone without one."""
    if found.array is None:
        return [spec]
    name = str(spec.get("name") or "array")
    return [
        {
            **spec,
            "name": f"{name}_{task}"[:200],
            "env": {**(spec.get("env") or {}), **found.array.variables(task)},
            "labels": {**(spec.get("labels") or {}), "task": str(task)},
        }
        for task in found.array.tasks
    ]


def capped(specs: list[dict[str, Any]], most: int, now: datetime) -> dict[str, Any]:
    """Return an array's tasks as an ablation, which holds their common cap."""
    first = str(specs[0]["name"]).rpartition("_")[0] or "array"
    cells = [
        {
            "values": {"task": spec["labels"]["task"]},
            "job": {**spec, "labels": {k: v for k, v in spec["labels"].items() if k != "task"}},
        }
        for spec in specs
    ]
    name = f"{first.replace('/', '-')[:150]}-{now:%Y%m%d-%H%M%S}"
    return {"name": name, "cells": cells, "max_running": most}
