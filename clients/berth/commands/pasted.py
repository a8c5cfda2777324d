"""
Launches in a pasted text: a shell session, a guide in Markdown, a message with commands in it.

In Markdown the fenced blocks of shell are read, and code within lines; in other text every line
that starts a training. A block that is a script by itself, with `#!` or loops, stays whole.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass

from berth.commands.call import Call
from berth.commands.errors import CommandError
from berth.commands.gpu_count import STARTERS
from berth.commands.reading import read
from berth.protocol.states import Launcher

MOST_LAUNCHES = 200
_LONGEST_TEXT = 262_144
_FENCE = re.compile(r"^[ \t]*(?P<mark>`{3,}|~{3,})[ \t]*(?P<language>[\w+-]*)[^\n]*$")
_SHELLS = frozenset({"", "bash", "sh", "shell", "zsh", "console", "shell-session", "terminal"})
_SESSIONS = frozenset({"console", "shell-session", "terminal"})
_INLINE = re.compile(r"`([^`\n]{6,2000})`")
_PROMPT = re.compile(r"^\s*(?:\([\w.-]+\)\s*)?(?:[\w.-]+@[\w.-]+[^$#\n]{0,80})?[$%]\s+")
_LIST_MARK = re.compile(r"^\s*(?:[-*+]|\d{1,3}[.)])\s+")
_COMPOUND = re.compile(
    r"^\s*(?:for|while|until|if|case|select|function)\b|^\s*\w+\s*\(\)\s*\{|<<", re.MULTILINE
)
_HEADED = re.compile(r"\s*#!|\s*(?:#[^\n]*\n\s*)*#(?:SBATCH|BERTH)\s")
_SETUP = re.compile(r"^\s*(?:export\s+\w+=|cd\s|source\s|\.\s|conda\s+activate\s|module\s+load\s)")
_SCRIPT_WORD = re.compile(r"\.(?:py|ya?ml|json|sh)\b")


@dataclass(frozen=True)
class Launch:
    """One launch of a text."""

    text: str
    """The command, as it was written; a whole script where `is_script`."""
    line: int
    """The text's line where it begins, from 1."""
    comment: str = ""
    """The comment or the heading right before it."""
    setup: tuple[str, ...] = ()
    """Lines before it in its block that prepare its shell: exports, cd, activations."""
    is_script: bool = False

    @property
    def command(self) -> str:
        """The command with its setup, to be run alone."""
        return " && ".join([*self.setup, self.text]) if self.setup else self.text


@dataclass(frozen=True)
class _Block:
    text: str
    line: int
    session: bool = False


def launches(text: str) -> list[Launch]:
    """
    Return the launches of a text in their order, each once.

    Raises CommandError for a text that is too long.
    """
    if len(text) > _LONGEST_TEXT:
        raise CommandError(
            f"The text is longer than {_LONGEST_TEXT // 1024} KiB; paste the part with the commands."
        )
    text = text.replace("\r\n", "\n").replace("\u00a0", " ").replace("\u200b", "")
    found: dict[str, Launch] = {}
    blocks = list(_fenced(text))
    for block in blocks or [_Block(text, 1)]:
        for launch in _of_block(block):
            found.setdefault(_same(launch.command), launch)
    for launch in _inline(text) if blocks or not found else ():
        if not any(_same(launch.text) in known for known in found):
            found[_same(launch.text)] = launch
    return sorted(found.values(), key=lambda launch: launch.line)[:MOST_LAUNCHES]


def _same(text: str) -> str:
    return " ".join(text.replace("\\\n", " ").split())


def _fenced(text: str) -> Iterator[_Block]:
    """The blocks between fences whose language is a shell's, or none."""
    lines = text.split("\n")
    at = 0
    while at < len(lines):
        opened = _FENCE.match(lines[at])
        at += 1
        if opened is None:
            continue
        start = at
        while at < len(lines) and not lines[at].strip().startswith(opened["mark"]):
            at += 1
        if opened["language"].lower() in _SHELLS:
            session = opened["language"].lower() in _SESSIONS
            yield _Block("\n".join(lines[start:at]), start + 1, session)
        at += 1


def _of_block(block: _Block) -> Iterator[Launch]:
    if _HEADED.match(block.text) or _COMPOUND.search(block.text):
        if _starts_training(block.text, script=True):
            yield Launch(block.text.strip() + "\n", block.line, is_script=True)
            return
        if _HEADED.match(block.text):
            return
    comment, setup = "", list[str]()
    for line, text in _commands(block):
        stripped = text.strip()
        if stripped.startswith("#"):
            comment = stripped.lstrip("# ").strip()
            continue
        if not stripped:
            continue
        if _SETUP.match(stripped) and not _starts_training(stripped):
            setup += _set_up(stripped)
            continue
        if _starts_training(stripped):
            yield Launch(stripped, line, comment[:300], tuple(setup))
            comment = ""


def _set_up(line: str) -> list[str]:
    """The parts of a line that prepare its shell, without a command that they prepare it for."""
    if re.search("[\"'`]", line):
        return [line]
    parts = re.split(r"\s*(?:&&|;)\s*", line)
    return list(itertools.takewhile(_SETUP.match, parts))


def _commands(block: _Block) -> Iterator[tuple[int, str]]:
    """The lines of a block, those that a backslash continues joined; prompts taken off."""
    lines = block.text.split("\n")
    prompted = block.session or any(_PROMPT.match(line) for line in lines)
    at = 0
    while at < len(lines):
        start = at
        text = lines[at]
        at += 1
        while text.rstrip().endswith("\\") and at < len(lines):
            text = f"{text.rstrip()}\n{lines[at]}"
            at += 1
        bare = _PROMPT.sub("", text, count=1)
        if prompted and bare == text and not text.lstrip().startswith("#"):
            continue
        yield block.line + start, _LIST_MARK.sub("", bare, count=1)


def _inline(text: str) -> Iterator[Launch]:
    """Commands in code within a line, where they name a script."""
    for match in _INLINE.finditer(text):
        said = match[1].strip()
        if _SCRIPT_WORD.search(said) and _starts_training(said):
            yield Launch(said, text.count("\n", 0, match.start()) + 1)


def _starts_training(text: str, *, script: bool = False) -> bool:
    """True if a line starts ranks or a Python script. Prose is neither."""
    try:
        view = read(None, text) if script else read(text)
    except CommandError as error:
        # A launch that cannot run here is one all the same: its sentence is shown.
        return "this box only" in str(error)
    return any(_trains(call) for call in (view.parts.calls if view.parts else ()))


def _trains(call: Call) -> bool:
    if call.launcher in STARTERS:
        return True
    if call.launcher is not Launcher.PYTHON:
        return False
    script, arguments = call.parsed.script, call.parsed.arguments
    if script is not None:
        return script.text.endswith(".py")
    return len(arguments) > 1 and arguments[0].text == "-m"
