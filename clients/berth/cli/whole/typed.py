"""Typer applications whose verbs declare their options without Typer (`declare`)."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer

from berth.cli.declare import Argument, Option
from berth.cli.job_options import OPTIONS, JobOptions


class VerbApp(typer.Typer):
    """A Typer application that takes verbs declared with `declare`, and those of Typer."""

    def command(self, *args: Any, **settings: Any) -> Callable[[Any], Any]:
        """Add a verb."""
        add = super().command(*args, **settings)
        return lambda verb: _added(add, verb)

    def callback(self, *args: Any, **settings: Any) -> Callable[[Any], Any]:
        """Add what runs before the verbs of this group."""
        add = super().callback(*args, **settings)
        return lambda verb: _added(add, verb)


def _added(add: Callable[[Any], Any], verb: Any) -> Any:
    add(typed(verb))
    return verb


def typed(verb: Callable[..., None]) -> Callable[..., None]:
    """Return a verb whose declarations Typer can read; a `JobOptions` becomes its fields' options."""
    hints = get_type_hints(verb, include_extras=True)
    parameters: list[inspect.Parameter] = []
    spec: str | None = None
    for parameter in inspect.signature(verb).parameters.values():
        hint = hints.get(parameter.name, parameter.annotation)
        if hint is JobOptions:
            spec = parameter.name
            parameters += _fields()
        else:
            kind = parameter.kind if spec is None else inspect.Parameter.KEYWORD_ONLY
            parameters.append(parameter.replace(annotation=_for_typer(hint), kind=kind))

    @functools.wraps(verb)
    def run(*args: Any, **values: Any) -> None:
        if spec is None:
            return verb(*args, **values)
        options = JobOptions(**{name: values.pop(name) for name in OPTIONS})
        return verb(options, **values)

    del run.__wrapped__  # inspect would read the verb's own signature
    run.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportAttributeAccessIssue] - read by inspect, which typer asks
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    return run


def _fields() -> list[inspect.Parameter]:
    hints = get_type_hints(JobOptions, include_extras=True)
    return [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=getattr(JobOptions, name),
            annotation=_for_typer(hints[name]),
        )
        for name in OPTIONS
    ]


def _for_typer(hint: Any) -> Any:
    if get_origin(hint) is not Annotated:
        return hint
    kind, *declared = get_args(hint)
    return Annotated[(kind, *(_declaration(one) for one in declared))]  # pyright: ignore[reportInvalidTypeForm] - made at run time


def _declaration(declared: object) -> object:
    if isinstance(declared, Option):
        return typer.Option(*declared.flags, **declared.settings)
    if isinstance(declared, Argument):
        return typer.Argument(**declared.settings)
    return declared
