"""Launches of a pasted text, read and rewritten for an example of a lease."""

from __future__ import annotations

from berth.commands import CommandError, LeaseFacts, Runtime, describe, read, rewrite
from berth.commands.headers import BatchHeader, read_header
from berth.commands.pasted import Launch, launches
from berth.protocol.message import Message
from berth.protocol.states import Launcher
from berth.protocol.submits import ParsedLaunch, ParsedText
from berth_server.service.errors import Invalid

_RUNTIME = Runtime(python="python", accelerate_config="accelerate.yaml")


def parse_text(text: str, port: int) -> ParsedText:
    """Read every launch of a text; looks at no file. Raises Invalid for a text that is too long."""
    try:
        found = launches(text)
    except CommandError as error:
        raise Invalid(Message.marked(str(error)), "text") from None
    return ParsedText(jobs=[_parsed(launch, port) for launch in found])


def _parsed(launch: Launch, port: int) -> ParsedLaunch:
    shown = " ".join(launch.text.split())[:4000]
    command = None if launch.is_script else launch.command
    script = launch.text if launch.is_script else None
    try:
        view = read(command, script)
        header = BatchHeader() if script is None else read_header(script)
    except CommandError as error:
        return ParsedLaunch(
            line=launch.line,
            comment=launch.comment or None,
            command=command,
            script=script,
            launcher=Launcher.OTHER,
            before=shown,
            problem=str(error),
        )
    asked = header.fields.get("gpus", view.gpus_wanted)
    gpus = asked if isinstance(asked, int) else None
    cards = tuple(range(1 if gpus is None else gpus))
    parsed = ParsedLaunch(
        line=launch.line,
        comment=launch.comment or None,
        command=command,
        script=script,
        launcher=view.launcher,
        gpus=gpus,
        tasks=[] if header.array is None else list(header.array.tasks),
        reading=[*describe(view), *header.notes],
        before=view.text,
    )
    try:
        lease = LeaseFacts(indices=cards, visible=cards, port=port if cards else None)
        done = rewrite(view, lease, _RUNTIME)
    except CommandError as error:
        return parsed.model_copy(update={"problem": str(error)})
    return parsed.model_copy(update={"after": done.after, "changes": list(done.changes)})
