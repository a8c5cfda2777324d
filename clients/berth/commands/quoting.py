"""Bash quoting: where a quoted or expanded piece ends, and what a quoted word says."""

from __future__ import annotations

import re

from berth.commands.errors import CommandError

_PARAMETER = re.compile(r"\$(?:[A-Za-z_]\w*|[0-9@*#?$!_-])")
_ESCAPED_IN_DOUBLE = frozenset('$`"\\')
_CLOSERS = {"(": ")", "{": "}"}


def skip_quoted(text: str, at: int) -> tuple[int, bool]:
    """
    Step over one character, or over the quoted or expanded piece that begins at `at`.

    Returns the place behind it and whether it can be read without a shell. Raises
    CommandError when it is never closed.
    """
    char = text[at]
    if char == "\\":
        return min(at + 2, len(text)), True
    if char == "'":
        return _find(text, "'", at + 1) + 1, True
    if char == '"':
        return _skip_double(text, at)
    if char == "`":
        return _skip_backticks(text, at), False
    if char == "$":
        return _skip_dollar(text, at)
    if char in "<>" and text.startswith("(", at + 1):
        return _skip_balanced(text, at + 1), False
    if char in "*?[":
        return at + 1, False
    if char == "{":
        # {a,b} and {1..3} expand; only `{}` and a lone brace are sure not to.
        return at + 1, text[at + 1 : at + 2] in {"", "}", " ", "\t", "\n"}
    return at + 1, True


def unquote(raw: str) -> str:
    """Return a word without expansions with quotes and escapes removed, as bash does."""
    out: list[str] = []
    at = 0
    while at < len(raw):
        char = raw[at]
        if char == "\\":
            following = raw[at + 1 : at + 2]
            out.append("" if following == "\n" else following or "\\")
            at += 2
        elif char == "'":
            end = _find(raw, "'", at + 1)
            out.append(raw[at + 1 : end])
            at = end + 1
        elif char == '"':
            end, _ = _skip_double(raw, at)
            out.append(_unescape_double(raw[at + 1 : end - 1]))
            at = end
        else:
            out.append(char)
            at += 1
    return "".join(out)


def _unescape_double(inside: str) -> str:
    out: list[str] = []
    at = 0
    while at < len(inside):
        following = inside[at + 1 : at + 2]
        if inside[at] == "\\" and following and following in _ESCAPED_IN_DOUBLE:
            out.append(following)
            at += 2
        elif inside.startswith("\\\n", at):
            at += 2
        else:
            out.append(inside[at])
            at += 1
    return "".join(out)


def _skip_double(text: str, at: int) -> tuple[int, bool]:
    start, literal = at, True
    at += 1
    while at < len(text):
        if text[at] == '"':
            return at + 1, literal
        if text[at] == "\\":
            at += 2
        elif text[at] == "`":
            at, literal = _skip_backticks(text, at), False
        elif text[at] == "$" and not text.startswith(("'", '"'), at + 1):
            at, plain = _skip_dollar(text, at)
            literal = literal and plain
        else:
            at += 1
    raise _unclosed('"', start)


def _skip_backticks(text: str, at: int) -> int:
    start = at
    at += 1
    while at < len(text):
        if text[at] == "`":
            return at + 1
        at += 2 if text[at] == "\\" else 1
    raise _unclosed("`", start)


def _skip_dollar(text: str, at: int) -> tuple[int, bool]:
    following = text[at + 1 : at + 2]
    if following and following in _CLOSERS:
        return _skip_balanced(text, at + 1), False
    if following == "'":
        end = at + 2
        while end < len(text) and text[end] != "'":
            end += 2 if text[end] == "\\" else 1
        if end >= len(text):
            raise _unclosed("'", at)
        return end + 1, False
    if following == '"':
        end, _ = _skip_double(text, at + 1)
        return end, False
    parameter = _PARAMETER.match(text, at)
    return (parameter.end(), False) if parameter else (at + 1, True)


def _skip_balanced(text: str, at: int) -> int:
    """Step over a bracketed piece, quotes and inner brackets respected."""
    start = at
    stack = [_CLOSERS[text[at]]]
    at += 1
    while at < len(text):
        char = text[at]
        if char == stack[-1]:
            stack.pop()
            at += 1
            if not stack:
                return at
        elif char == "(" or text.startswith("${", at):
            at += 1 if char == "(" else 2
            stack.append(_CLOSERS["(" if char == "(" else "{"])
        elif char in "\\'\"`" or text.startswith("$(", at):
            at, _ = (at + 1, True) if char == "$" else skip_quoted(text, at)
        else:
            at += 1
    raise _unclosed(text[start], start)


def _find(text: str, char: str, at: int) -> int:
    end = text.find(char, at)
    if end < 0:
        raise _unclosed(char, at - 1)
    return end


def _unclosed(char: str, at: int) -> CommandError:
    return CommandError(
        f"The {char} at character {at + 1} of the command is never closed; close it."
    )
