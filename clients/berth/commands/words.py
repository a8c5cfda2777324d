"""Tokenizer of shell text: words with their positions, as bash reads them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field

from berth.commands.errors import CommandError
from berth.commands.quoting import skip_quoted, unquote

_BLANK = " \t"
_RUN = re.compile(r"[A-Za-z0-9_./:=,@%+-]+")
_STOPS = frozenset(" \t\n|&;()<>")
_OPERATOR = re.compile(r"&&|\|\||\|&|;;&|;;|;&|[|&;()\n]")
_REDIRECT = re.compile(r"&>>|&>|\d*(?:<<<|<<-|<<|<>|<&|<|>>|>&|>\||>)")
_ASSIGNED = re.compile(r"[A-Za-z_]\w*\+?=")
_PROCESS_SUBSTITUTION = re.compile(r"[<>]\(")


@dataclass(frozen=True)
class Word:
    """One word of a command."""

    text: str
    """The text that the program gets; where a shell has to expand it, as it was written."""
    raw: str
    """As it stands in a shell text, quotes and all."""
    literal: bool = True
    """True if no shell is needed to know what it says."""
    start: int = 0
    end: int = 0

    def startswith(self, prefix: str) -> bool:
        """True if the program would see a word that begins so."""
        return self.text.startswith(prefix)


def word(text: str) -> Word:
    """Make a word that the program gets exactly as `text`."""
    return Word(text, shlex.quote(text))


_EXPANDED = re.compile(r"(?:~|\$\w+|\$\{\w+\})(?:/[\w.+-]+)+")


def expanded_path(written: Word) -> Word | None:
    """Return the word of a path below a home or a variable, `~/env/bin/python`, without quotes."""
    raw = written.raw
    bare = raw[1:-1] if raw[:1] == raw[-1:] == '"' else raw
    if written.literal or not _EXPANDED.fullmatch(bare):
        return None
    return Word(bare, raw, literal=False, start=written.start, end=written.end)


def path_word(path: str) -> Word:
    """Make the word for a path, which the shell has to expand where it begins with ~ or a variable."""
    if not _EXPANDED.fullmatch(path):
        return word(path)
    return Word(path, f'"{path}"' if path.startswith("$") else path, literal=False)


def assignment(name: str, value: str) -> Word:
    """Make the word NAME=VALUE, quoted as people write it."""
    return Word(f"{name}={value}", f"{name}={shlex.quote(value) if value else ''}")


@dataclass(frozen=True)
class Redirect:
    """A redirection with its target, `2>&1` or `> train.log`."""

    operator: str
    target: str
    raw: str
    start: int
    end: int

    @property
    def keeps_output(self) -> bool:
        """True if it takes the job's output away from Berth's log, into a file."""
        errors_alone = self.raw[:1] == "2"
        into_file = not self.target.isdigit() and self.target != "-"
        return ">" in self.operator and into_file and not errors_alone


@dataclass(frozen=True)
class Segment:
    """A simple command: words between operators."""

    words: tuple[Word, ...] = ()
    redirects: tuple[Redirect, ...] = ()
    operator: str = ""
    """The operator that ends it: `|`, `&&`, `;`, `&`, a newline; empty at the end."""
    operator_at: int = 0

    @property
    def start(self) -> int:
        """Position of its first word or redirection."""
        return min(part.start for part in (*self.words, *self.redirects))

    @property
    def end(self) -> int:
        """Position after its last word or redirection."""
        return max(part.end for part in (*self.words, *self.redirects))


@dataclass
class _Reader:
    text: str
    at: int = 0
    segments: list[Segment] = field(default_factory=list[Segment])
    words: list[Word] = field(default_factory=list[Word])
    redirects: list[Redirect] = field(default_factory=list[Redirect])
    heredocs: list[tuple[str, bool]] = field(default_factory=list[tuple[str, bool]])

    def close(self, operator: str = "") -> None:
        if self.words or self.redirects:
            segment = Segment(tuple(self.words), tuple(self.redirects), operator, self.at)
            self.segments.append(segment)
        self.words, self.redirects = [], []

    def skip_blank(self) -> None:
        while self.at < len(self.text):
            if self.text[self.at] in _BLANK:
                self.at += 1
            elif self.text.startswith("\\\n", self.at):
                self.at += 2
            else:
                return

    def read_word(self) -> Word:
        start = self.at
        assigned = _ASSIGNED.match(self.text[start : start + 200])
        tilde_at = (start, start + assigned.end()) if assigned else (start,)
        if assigned and self.text.startswith("(", start + assigned.end()):
            return self.read_array(start, start + assigned.end())
        literal = True
        while self.at < len(self.text) and self.text[self.at] not in _STOPS:
            run = _RUN.match(self.text, self.at)
            if run:
                self.at = run.end()
                continue
            if self.text[self.at] == "~" and self.at in tilde_at:
                literal = False
            self.at, plain = skip_quoted(self.text, self.at)
            literal = literal and plain
        raw = self.text[start : self.at]
        return Word(unquote(raw) if literal else raw, raw, literal, start, self.at)

    def read_array(self, start: int, bracket: int) -> Word:
        """Read `NAME=(one two)`, whose words may stand on lines of their own."""
        self.at = bracket + 1
        while not self.text.startswith(")", self.at):
            self.skip_blank()
            if self.at >= len(self.text):
                raise CommandError(
                    f"The ( at character {bracket + 1} of the command is never closed; close it."
                )
            if self.text[self.at] == "#":
                self.read_comment()
            elif self.text[self.at] == "\n" or self.text[self.at] in _STOPS - {")"}:
                self.at += 1
            elif self.text[self.at] != ")":
                self.read_word()
        self.at += 1
        raw = self.text[start : self.at]
        return Word(raw, raw, literal=False, start=start, end=self.at)

    def read_redirect(self, operator: str) -> None:
        start = self.at
        self.at += len(operator)
        self.skip_blank()
        target = self.read_word()
        bare = operator.lstrip("0123456789")
        if bare in {"<<", "<<-"}:
            self.heredocs.append((unquote(target.raw), bare == "<<-"))
        raw = self.text[start : self.at]
        self.redirects.append(Redirect(bare, target.text, raw, start, self.at))

    def skip_heredocs(self) -> None:
        for delimiter, tabs in self.heredocs:
            while self.at < len(self.text):
                end = self.text.find("\n", self.at)
                end = len(self.text) if end < 0 else end
                line = self.text[self.at : end]
                self.at = min(end + 1, len(self.text))
                if (line.lstrip("\t") if tabs else line) == delimiter:
                    break
        self.heredocs = []

    def read_comment(self) -> None:
        end = self.text.find("\n", self.at)
        self.at = len(self.text) if end < 0 else end

    def step(self) -> None:
        substitution = _PROCESS_SUBSTITUTION.match(self.text, self.at)
        redirect = _REDIRECT.match(self.text, self.at)
        operator = _OPERATOR.match(self.text, self.at)
        if self.text[self.at] == "#":
            self.read_comment()
        elif substitution:
            start = self.at
            self.at, _ = skip_quoted(self.text, self.at)
            raw = self.text[start : self.at]
            self.words.append(Word(raw, raw, literal=False, start=start, end=self.at))
        elif redirect:
            self.read_redirect(redirect.group())
        elif operator:
            self.close(operator.group())
            self.at += len(operator.group())
            if operator.group() == "\n":
                self.skip_heredocs()
        else:
            self.words.append(self.read_word())


def split(text: str) -> list[Segment]:
    """
    Split a shell text into simple commands.

    Raises CommandError when a quote or a bracket is never closed. Bodies of here-documents
    and comments are passed over.
    """
    reader = _Reader(text)
    reader.skip_blank()
    while reader.at < len(text):
        before = reader.at
        try:
            reader.step()
        except RecursionError:
            raise CommandError(
                "Quotes and brackets of the command are nested too deeply; put it into a script file."
            ) from None
        reader.skip_blank()
        assert reader.at > before, "every step reads at least one character"
    reader.close()
    return reader.segments
