"""Sentences as typed parts, so that a client renders times, jobs, GPUs and code its own way."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field, RootModel

from berth.gpunames import named
from berth.protocol.base import UtcTime, Wire
from berth.units import format_duration


class Text(Wire):
    """Plain words."""

    kind: Literal["text"] = "text"
    """Says which part this is."""
    text: str
    """The words, with the spaces around them."""

    def __str__(self) -> str:
        return self.text


class Code(Wire):
    """A command, a flag or a setting, to be shown as typed."""

    kind: Literal["code"] = "code"
    """Says which part this is."""
    text: str = Field(examples=["berth release 42"])
    """The code, without backquotes."""

    def __str__(self) -> str:
        return f"`{self.text}`"


class Time(Wire):
    """A moment; clients show it on the reader's clock."""

    kind: Literal["time"] = "time"
    """Says which part this is."""
    at: UtcTime
    """The moment."""

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M} UTC"


class Span(Wire):
    """A duration, already rounded to what matters."""

    kind: Literal["duration"] = "duration"
    """Says which part this is."""
    seconds: float
    """Its length."""

    def __str__(self) -> str:
        return format_duration(timedelta(seconds=self.seconds))


class JobRef(Wire):
    """A job that a client may link."""

    kind: Literal["job"] = "job"
    """Says which part this is."""
    id: int
    """The job."""
    text: str = Field(examples=["job 42"])
    """Name of it in the sentence: `job 42`, or the number alone in a list."""
    name: str = ""
    """The job's name, in parentheses after it; empty where the sentence does not name it."""

    def __str__(self) -> str:
        return f"{self.text} ({self.name})" if self.name else self.text


class GpuRef(Wire):
    """One or more GPUs of the box."""

    kind: Literal["gpu"] = "gpu"
    """Says which part this is."""
    indices: tuple[int, ...] = Field(examples=[[0, 1, 2, 3]])
    """The box's indices, ascending."""

    def __str__(self) -> str:
        return named(self.indices)


class UserRef(Wire):
    """A user of the box."""

    kind: Literal["user"] = "user"
    """Says which part this is."""
    name: str
    """The user's name."""

    def __str__(self) -> str:
        return self.name


class FieldRef(Wire):
    """A field of the request; a client names its own option or form field instead."""

    kind: Literal["field"] = "field"
    """Says which part this is."""
    path: str = Field(examples=["time_limit", "0.gpus"])
    """The field, dotted as in `FieldProblem.field`."""
    text: str = Field(examples=["'time_limit'"])
    """Name of it in the sentence."""

    def __str__(self) -> str:
        return self.text


Part = Annotated[
    Text | Code | Time | Span | JobRef | GpuRef | UserRef | FieldRef,
    Field(discriminator="kind"),
]


class Message(RootModel[tuple[Part, ...]], frozen=True):
    """
    A sentence as parts, in order; as a string it is the sentence.

    Clients render the parts and never search the sentence. Empty where a server knows none.
    """

    root: tuple[Part, ...] = ()

    def __str__(self) -> str:
        return "".join(map(str, self.root))

    def __bool__(self) -> bool:
        return bool(self.root)

    def without_stop(self) -> Message:
        """Return the sentence without its full stop, to go on after it."""
        *before, last = self.root or (Text(text=""),)
        return Message.of(*before, last.text.rstrip(".") if isinstance(last, Text) else last)

    @classmethod
    def marked(cls, text: str) -> Message:
        """Return the parts of a text of Berth's own in which backquotes mark code."""
        pieces = text.split("`")
        # An unpaired backquote is an ordinary character.
        if len(pieces) % 2 == 0:
            return cls.of(text)
        return cls.of(*(Code(text=p) if i % 2 else p for i, p in enumerate(pieces)))

    @classmethod
    def of(cls, *pieces: Part | Message | str) -> Message:
        """Join pieces; strings are plain words."""
        parts: list[Part] = []
        for piece in pieces:
            for part in piece.root if isinstance(piece, Message) else (piece,):
                if isinstance(part, str):
                    part = Text(text=part)  # noqa: PLW2901 - one kind from here on
                if isinstance(part, Text) and parts and isinstance(parts[-1], Text):
                    parts[-1] = Text(text=parts[-1].text + part.text)
                elif not isinstance(part, Text) or part.text:
                    parts.append(part)
        return cls.model_construct(tuple(parts))


def quoted(field: str) -> FieldRef:
    """A field as sentences name it: `'time_limit'`."""
    return FieldRef(path=field, text=f"'{field}'")
