"""Parser of a launcher's own options: which exist, which take a value, where the script begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from berth.commands.words import Word


@dataclass(frozen=True)
class Flag:
    """One option as it was given."""

    name: str
    """Long name without dashes, underscores for hyphens; for an unknown option as written."""
    words: tuple[Word, ...]
    value: Word | None = None
    """Its value; None for a switch."""
    known: bool = True

    @property
    def shown(self) -> str:
        """The option as the user wrote it."""
        return " ".join(word.raw for word in self.words)


@dataclass(frozen=True)
class ParsedArgs:
    """A launcher's words, split into options, script and arguments."""

    flags: tuple[Flag, ...]
    script: Word | None
    arguments: tuple[Word, ...]

    def has(self, *names: str) -> bool:
        """True if one of these options was given."""
        return any(flag.name in names for flag in self.flags)

    def last(self, *names: str) -> Flag | None:
        """The last of these options that was given: with argparse the last one counts."""
        found = [flag for flag in self.flags if flag.name in names]
        return found[-1] if found else None


@dataclass(frozen=True)
class Options:
    """The options that one launcher's parser accepts."""

    switches: frozenset[str]
    valued: frozenset[str] = frozenset()
    short: dict[str, str] = field(default_factory=dict[str, str])
    """One-letter options and the long names they stand for."""
    abbreviations: bool = True
    """True if argparse accepts an unambiguous beginning of a long name."""
    others_take_values: bool = False
    """True if an option not listed takes a value (accelerate has a hundred of them)."""

    def canonical(self, written: str) -> str | None:
        """The long name that `--written` stands for, or None."""
        name = written.lstrip("-").replace("-", "_")
        known = self.switches | self.valued
        if name in known:
            return name
        if not self.abbreviations or not name:
            return None
        candidates = [full for full in known if full.startswith(name)]
        return candidates[0] if len(candidates) == 1 else None

    def parse(self, words: Sequence[Word]) -> ParsedArgs:
        """Split a launcher's words into its options, the script and the script's arguments."""
        flags: list[Flag] = []
        rest = list(words)
        while rest:
            first = rest[0]
            if first.text == "--":
                rest = rest[1:]
                break
            if not self._is_option(first, rest[1:]):
                break
            flag = self._read(rest)
            flags.append(flag)
            rest = rest[len(flag.words) :]
        return ParsedArgs(tuple(flags), rest[0] if rest else None, tuple(rest[1:]))

    def _is_option(self, first: Word, following: Sequence[Word]) -> bool:
        if first.startswith("-") and first.text != "-":
            return True
        # `deepspeed $ARGS train.py`: a variable before the script holds options.
        return not first.literal and first.startswith("$") and names_script(following)

    def _read(self, rest: list[Word]) -> Flag:
        first = rest[0]
        if not first.startswith("-"):
            return Flag(first.text, (first,), known=False)
        if not first.startswith("--"):
            return self._read_short(rest)
        written, equals, text = first.text.partition("=")
        name = self.canonical(written)
        if equals:
            value = Word(text, text, first.literal)
            return Flag(name or written, (first,), value, known=name is not None)
        if name in self.switches:
            return Flag(name or written, (first,))
        takes_value = name is not None or self.others_take_values or _looks_like_value(rest)
        if takes_value and len(rest) > 1:
            return Flag(name or written, (first, rest[1]), rest[1], known=name is not None)
        return Flag(name or written, (first,), known=name is not None)

    def _read_short(self, rest: list[Word]) -> Flag:
        first = rest[0]
        name = self.short.get(first.text[1:2])
        if name is None:
            return Flag(first.text, (first,), known=False)
        if name in self.switches:
            return Flag(name, (first,))
        attached = first.text[2:].removeprefix("=")
        if attached:
            return Flag(name, (first,), Word(attached, attached, first.literal))
        if len(rest) > 1:
            return Flag(name, (first, rest[1]), rest[1])
        return Flag(name, (first,))


def names_script(words: Sequence[Word]) -> bool:
    """True if one of the words is a Python script."""
    return any(word.text.endswith(".py") for word in words)


def _looks_like_value(rest: Sequence[Word]) -> bool:
    """True if an unknown option is followed by its value rather than by the script."""
    following = rest[1] if len(rest) > 1 else None
    if following is None or following.startswith("-") or following.text.endswith(".py"):
        return False
    return names_script(rest[2:])
