"""Reader of commands: `read` returns a command's launcher, script and GPUs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from berth.commands import gpu_request, masking
from berth.commands.call import SCRIPT_FILE, Call, CallParts
from berth.commands.errors import CommandError
from berth.commands.gpu_count import RANKED, decide, unsettled
from berth.commands.gpu_request import GpuRequest
from berth.commands.hints import counts, terminal
from berth.commands.launchers import registry
from berth.commands.launchers.known import Surroundings
from berth.commands.model import CommandView
from berth.commands.recognise import read_flags, recognise
from berth.commands.script_line import Interpreter, interpreter, with_own_name
from berth.commands.shell import (
    BUILTINS,
    ScriptScan,
    opaque,
    refuse_dashes,
    scan_script,
    wait_for_runs,
)
from berth.commands.words import Segment, Word, split, word
from berth.commands.wrappers import is_assignment, name_and_value
from berth.protocol.attempts import Change
from berth.protocol.states import Launcher

_PROMPT = re.compile(r"\A\s*\$[ \t]+")
_BROKEN_CONTINUATION = re.compile(r"\\[ \t]+\n")
_BASH = (word("/bin/bash"), word("-c"))
_SHELL_WITH_TEXT = re.compile(r"-[a-z]*c")
_LONGEST_LINE = 131_071
_LONGEST_SCRIPT = 262_144
_STARTS_SCRIPT = RANKED | {
    Launcher.PYTHON,
    Launcher.FABRIC,
    Launcher.COMPOSER,
    Launcher.COLOSSALAI,
}
_EMPTY = "The command is empty; write what to run."
_UNNAMED = "./script.sh"
_HOOK = 'eval "$(conda shell.bash hook)"'
_ACTIVATE = re.compile(r"(?:^|[;&|(\n])[ \t]*conda[ \t]+activate\b")
_HOOKED = re.compile(r"conda\.sh\b|shell\.\w+[ \t]+hook|bashrc\b|profile\b|\bmodule[ \t]+load\b")
_WHY_PIPEFAIL = (
    "Without it the job would end with the exit code of tee, and a failed run would look "
    "successful."
)


@dataclass(frozen=True, kw_only=True)
class _Text:
    """Shell text with what stands around it."""

    source: str
    shell: tuple[Word, ...] = _BASH
    arguments: tuple[Word, ...] = ()
    call: Call | None = None
    """The `bash -c` that was written out; None when the text stands alone."""
    shown: str | None = None
    """The text as submitted, where reading took something out."""
    changes: tuple[Change, ...] = ()
    warnings: tuple[str, ...] = ()
    interpreter: Interpreter | None = None
    """The interpreter of a script; its text is left to it where Berth cannot read it, a line's
    is refused."""


_ALONE = Surroundings()


def read(
    command: list[str] | str | None,
    script: str | None = None,
    around: Surroundings = _ALONE,
    *,
    script_file: str | None = None,
) -> CommandView:
    """
    Read a command (argument list, or a line as it would be typed) or a script.

    `script_file` is what a script's $0 says. `around` holds the job's own variables, and those of the view's `config_files` that could be
    read: a first reading names them, a second one takes their content.
    Raises CommandError, one sentence that names the fix, for a command that cannot run here.
    """
    if script is not None:
        return _read_script(script, script_file or _UNNAMED, around)
    if isinstance(command, str):
        return _read_line(command, around)
    if not command:
        raise CommandError(_EMPTY)
    if any("\0" in each for each in command):
        raise CommandError("The command contains a NUL character; remove it.")
    if len(command) == 1 and re.match(r"\s*[^\s/]+\s+\S", command[0]):
        # A whole line in a list of one: no program is called "deepspeed --num_gpus=4 train.py",
        # but a file may be called "./my run.sh".
        return _read_line(command[0], around)
    return _read_words([word(each) for each in command], (), (), around)


def _read_line(line: str, around: Surroundings) -> CommandView:
    if "\0" in line:
        raise CommandError("The command contains a NUL character; remove it.")
    if len(line) > _LONGEST_LINE:
        raise CommandError(
            "The command is longer than 128 KiB, the longest argument that a program can take"
            "; submit it as a script."
        )
    text, warnings = _tidy(line)
    segments = split(text)
    if not segments:
        raise CommandError(_EMPTY)
    changes: list[Change] = []
    shown = text
    if _is_disowned(segments):
        text = text[: segments[-2].operator_at + 1]
        segments = split(text)
    if segments[-1].operator == "&":
        at = segments[-1].operator_at
        text = (text[:at] + text[at + 1 :]).rstrip()
        segments = split(text)
        changes.append(
            Change(
                what="&",
                became="",
                why="Berth already runs the job in the background; "
                "with & it would escape Berth's supervision.",
            )
        )
    only = segments[0]
    first = next((each for each in only.words if not is_assignment(each)), None)
    plain = (
        len(segments) == 1
        and not only.redirects
        and only.operator in {"", "\n", ";"}
        and all(each.literal for each in only.words)
        and not (first and first.raw in BUILTINS)
    )
    if plain:
        view = _read_words(only.words, tuple(changes), tuple(warnings), around)
        return replace(view, text=f"{view.text} &") if changes else view
    return _read_shell(
        _Text(source=text, shown=shown, changes=tuple(changes), warnings=tuple(warnings)), around
    )


def _is_disowned(segments: Sequence[Segment]) -> bool:
    """True if a line ends with `& disown`, which means the same as `&` here."""
    last = segments[-1].words[:1]
    return (
        len(segments) > 1
        and segments[-2].operator == "&"
        and bool(last)
        and last[0].raw == "disown"
    )


def _tidy(line: str) -> tuple[str, list[str]]:
    """Repair what pasting does to a line."""
    warnings: list[str] = []
    text = line.replace("\r\n", "\n").replace("\r", "\n")
    text = text.replace("\u00a0", " ").replace("\u200b", "").replace("\ufeff", "")
    if _BROKEN_CONTINUATION.search(text):
        warnings.append("A backslash followed by spaces was read as the end of a line.")
        text = _BROKEN_CONTINUATION.sub("\\\\\n", text)
    text = _PROMPT.sub("", text).strip()
    while text.endswith("\\"):
        text = text[:-1].rstrip()
    if re.search("[“”‘’]", text):  # noqa: RUF001 - those quotes are meant
        warnings.append("The command contains typographic quotes; a shell knows only ' and \".")
    return text, warnings


def _read_words(
    words: Sequence[Word],
    changes: tuple[Change, ...],
    warnings: tuple[str, ...],
    around: Surroundings,
) -> CommandView:
    recognised = recognise(words)
    call = recognised.call
    if not call.program:
        raise CommandError("The command sets variables but runs nothing; write what to run.")
    outer = dict(name_and_value(each) for each in call.assignments)
    if call.launcher is Launcher.SHELL:
        inner = _shell_with_text(call)
        if inner:
            text, shell, arguments = inner
            if call.nohup:
                why = "Berth keeps the job running when you log out."
                changes = (*changes, Change(what=call.nohup, became="", why=why))
            return _read_shell(
                _Text(
                    source=text,
                    shell=shell,
                    arguments=arguments,
                    call=call,
                    changes=changes,
                    warnings=warnings,
                ),
                around,
            )
        warnings = (*warnings, opaque(call))
    refuse_dashes(call)
    variables = {**around.variables, **outer}
    call = replace(call, variables=variables)
    reading = read_flags(call, replace(around, variables=variables))
    visible = outer.get("CUDA_VISIBLE_DEVICES")
    environment = (
        GpuRequest()
        if visible is None
        else gpu_request.visible_devices(visible, f"CUDA_VISIBLE_DEVICES={visible}")
    )
    request, disagreements = decide(call, reading.request, environment)
    notes = _count_notes(call, request, environment)
    waits = terminal.note(call)
    argv = [*call.wrapper, *_behind(words, call)]
    return CommandView(
        launcher=call.launcher,
        argv=tuple(each.text for each in argv),
        assignments=outer,
        gpus_wanted=request.count,
        nodes_wanted=reading.nodes,
        gpu_indices_wanted=request.indices or None,
        script_path=_script_path(call),
        script_args=tuple(each.text for each in call.parsed.arguments),
        warnings=(
            *warnings,
            *recognised.warnings,
            *reading.warnings,
            *disagreements,
            *notes,
            *([waits] if waits else []),
        ),
        count_notes=tuple(notes),
        config_files=registry.config_files(call),
        text=masking.line(words),
        parts=CallParts(
            calls=(call,),
            assignments=call.assignments,
            changes=changes,
            named=request.indices or (),
            configs=around.configs,
        ),
    )


def _count_notes(call: Call, request: GpuRequest, environment: GpuRequest) -> list[str]:
    """The notes where something asks for GPUs and their number cannot be read."""
    if request.count is not None:
        return []
    if environment.said:
        return [counts.note_visible(environment.said)]
    return [*unsettled(call, request), *counts.unread(call)]


def _behind(words: Sequence[Word], call: Call) -> Sequence[Word]:
    """The program with everything behind it."""
    at = next(n for n, each in enumerate(words) if each is call.program[0])
    return words[at:]


def _script_path(call: Call) -> str | None:
    script = call.parsed.script
    if script is None or not script.literal or call.runs_module:
        return None
    return script.text if call.launcher in _STARTS_SCRIPT else None


def _shell_with_text(call: Call) -> tuple[str, tuple[Word, ...], tuple[Word, ...]] | None:
    """Take `bash -lc TEXT …` apart; None for a shell that runs a file."""
    arguments = call.parsed.arguments
    for at, each in enumerate(arguments):
        if not each.startswith("-") and not (at and arguments[at - 1].text == "-o"):
            return None
        if _SHELL_WITH_TEXT.fullmatch(each.text) and at + 1 < len(arguments):
            shell = (*call.wrapper, *call.program, *arguments[: at + 1])
            return arguments[at + 1].text, shell, arguments[at + 2 :]
    return None


def _read_script(script: str, name: str, around: Surroundings) -> CommandView:
    if not script.strip():
        raise CommandError("The script is empty; write what to run.")
    if "\0" in script:
        raise CommandError("The script contains a NUL character; remove it.")
    script = script.replace("\r\n", "\n")
    by = interpreter(script)
    if not by.is_shell:
        return _read_other_script(script, by, around)
    changes: tuple[Change, ...] = ()
    if by.name == "bash" and (named := with_own_name(script)) != script:
        why = (
            "BASH_SOURCE is empty where bash runs a text; in a script of its own both are the same."
        )
        script, changes = named, (Change(what="BASH_SOURCE", became="$0", why=why),)
    text = _Text(  # noqa: S604 - it is read here, not run
        source=script,
        shell=(*by.words, word("-c")),
        arguments=(word(name),),
        changes=changes,
        interpreter=by,
    )
    return _read_shell(text, around)


def _read_other_script(script: str, by: Interpreter, around: Surroundings) -> CommandView:
    """Read a script for Python, Perl or another program, which gets its text as a file."""
    view = _read_words([*by.words, word(SCRIPT_FILE)], (), (), around)
    assert view.parts is not None
    return replace(
        view,
        script_path=None,
        text=masking.text_line(script),
        parts=replace(view.parts, file_text=script),
    )


def _read_shell(text: _Text, around: Surroundings) -> CommandView:
    assignments = text.call.assignments if text.call else ()
    outer = dict(name_and_value(each) for each in assignments)
    text = _with_conda(text)
    found = _scan(text, outer, around)
    if text.interpreter is None and text.call is None:
        wait_for_runs(found, stripped=any(change.what == "&" for change in text.changes))
    request = found.request
    visible = outer.get("CUDA_VISIBLE_DEVICES")
    if request.count is None and visible is not None:
        request = gpu_request.visible_devices(visible, "CUDA_VISIBLE_DEVICES")
    if found.paste_note and text.interpreter is None and text.call is None:
        found.warn(found.paste_note)
    notes = found.count_notes if request.count is None else []
    if request.count is None and not notes and "CUDA_VISIBLE_DEVICES=" in text.source:
        notes = [counts.HIDDEN_VISIBLE]
    if "|" not in text.source:  # what a pipe feeds needs no terminal
        for said in filter(None, map(terminal.note, found.calls)):
            found.warn(said)
    shell, changes = text.shell, (*text.changes, *found.changes)
    if found.piped_to_tee and text.call is None and "pipefail" not in text.source:
        if text.interpreter is None or text.interpreter.knows_pipefail:
            shell = (*shell[:-1], word("-o"), word("pipefail"), shell[-1])
            changes = (*changes, Change(what="", became="set -o pipefail", why=_WHY_PIPEFAIL))
        else:
            found.warn(
                f"A run piped into tee ends with tee's exit code, and {text.interpreter.name} has "
                "no `pipefail`; begin the script with #!/bin/bash to have failures seen."
            )
    single = found.starting[0] if len(found.starting) == 1 and not found.moved else None
    source = f"{text.source}\n{found.ending}" if found.ending else text.source
    whole = (*shell, word(source), *text.arguments)
    shown = masking.text_line(text.shown or text.source)
    if text.call:
        before = masking.line([*assignments, *shell])
        shown = f"{before} {masking.quoted(text.source)} {masking.line(text.arguments)}".rstrip()
    return CommandView(
        launcher=Launcher.SHELL,
        argv=tuple(each.text for each in whole),
        assignments=outer,
        gpus_wanted=request.count,
        gpu_indices_wanted=request.indices or None,
        script_path=_script_path(single) if single else None,
        script_args=tuple(each.text for each in single.parsed.arguments) if single else (),
        is_shell=True,
        warnings=(*text.warnings, *found.warnings, *notes),
        count_notes=tuple(notes),
        config_files=tuple(dict.fromkeys(found.config_files)),
        text=shown,
        parts=CallParts(
            calls=tuple(found.calls),
            source=source,
            shell=shell,
            shell_arguments=text.arguments,
            assignments=assignments,
            changes=changes,
            named=found.named,
            configs=around.configs,
        ),
    )


def _with_conda(text: _Text) -> _Text:
    """The text with conda's hook before it: without it `conda activate` fails in a job's shell."""
    options = "".join(each.text for each in text.shell[1:] if each.startswith("-"))
    bash = any(each.text.rpartition("/")[2] == "bash" for each in text.shell)
    if (
        not bash
        or "l" in options
        or not _ACTIVATE.search(text.source)
        or _HOOKED.search(text.source)
    ):
        return text
    why = "conda activate works only in a shell that has conda's hook, as a terminal has."
    change = Change(what="conda activate", became=_HOOK, why=why)
    head, newline, rest = text.source.partition("\n")
    source = f"{_HOOK}; {text.source}"
    if text.source.startswith("#!"):
        source = f"{head}{newline}{_HOOK}\n{rest}"
    return replace(
        text, source=source, shown=text.shown or text.source, changes=(*text.changes, change)
    )


def _scan(text: _Text, outer: dict[str, str], around: Surroundings) -> ScriptScan:
    if len(text.source) > _LONGEST_SCRIPT:
        # Reading takes microseconds per character, during which the server cannot answer others.
        return ScriptScan(warnings=["The script is too long for Berth to read; it runs unchanged."])
    try:
        split(text.source)
    except CommandError as error:
        if text.interpreter is None:
            raise
        # bash knows more than this reader: extended globs, case patterns, arithmetic.
        return ScriptScan(warnings=[f"Berth cannot read this script ({error}); it runs unchanged."])
    return scan_script(text.source, outer, around)
