"""Reading of a common command line by the verb's declarations; None for anything unusual."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from berth.cli.declare import Argument, Option


class Known:
    """One declared option or argument."""

    def __init__(self, name: str, hint: Any, declared: Option | Argument) -> None:
        kinds = [kind for kind in (get_args(hint) or (hint,)) if kind is not type(None)]
        one = kinds[0] if get_origin(hint) is not list else hint
        self.name = name
        self.repeated = get_origin(one) is list
        self.kind: type = get_args(one)[0] if self.repeated else one
        self.required = type(None) not in get_args(hint) and one is not bool
        self.least: int | None = declared.settings.get("min")
        self.positional = isinstance(declared, Argument)
        flags = declared.flags if isinstance(declared, Option) else ()
        self.flags = flags or (f"--{name.replace('_', '-')}",)

    def value(self, word: str) -> Any:
        """Return the value of a word. Raises ValueError where only the whole command can tell."""
        if self.kind is not int:
            return word
        if not (word.isascii() and word.removeprefix("-").isdigit()):
            raise ValueError(word)
        number = int(word)
        if self.least is not None and number < self.least:
            raise ValueError(word)
        return number


def declarations(verb: Callable[..., Any]) -> tuple[list[Known], str | None]:
    """Return what a verb declares, and the name of its `JobOptions`, whose fields are among it."""
    found: list[Known] = []
    spec = None
    for name, hint in get_type_hints(verb, include_extras=True).items():
        if getattr(hint, "__name__", "") == "JobOptions":
            from berth.cli.job_options import OPTIONS  # most verbs submit nothing

            spec = name
            inner = get_type_hints(hint, include_extras=True)
            found += [_known(field, inner[field]) for field in OPTIONS]
        elif name != "return":
            found.append(_known(name, hint))
    return found, spec


def read(verb: Callable[..., Any], words: Sequence[str]) -> dict[str, Any] | None:
    """Return the arguments to call the verb with; None where Typer should read the words."""
    known, spec = declarations(verb)
    options = {flag: one for one in known if not one.positional for flag in one.flags}
    positional = next((one for one in known if one.positional), None)
    try:
        values = _values(words, options, positional, interspersed=spec is None)
    except ValueError:
        return None
    if spec is None:
        return values
    from berth.cli.job_options import OPTIONS, JobOptions

    own = {name: values.pop(name) for name in list(values) if name in OPTIONS}
    return {spec: JobOptions(**own), **values}


def _values(
    words: Sequence[str], options: dict[str, Known], positional: Known | None, *, interspersed: bool
) -> dict[str, Any]:
    values: dict[str, Any] = {}
    loose: list[str] = []
    todo = list(words)
    while todo:
        word = todo.pop(0)
        if word == "--":
            loose += todo
            break
        if word == "-" or not word.startswith("-"):
            loose.append(word)
            if not interspersed:
                from berth.cli.job_options import stands_alone

                if todo and stands_alone(word):
                    raise ValueError(word)  # options may follow
                # Click drops the first `--` behind the options' end, too; Typer shall say.
                if "--" in todo:
                    raise ValueError(word)
                loose += todo
                break
            continue
        _option(word, todo, options, values)
    if positional is not None:
        _place(loose, positional, values)
    elif loose:
        raise ValueError(loose[0])
    return values


def _place(loose: list[str], positional: Known, values: dict[str, Any]) -> None:
    if positional.repeated:
        if positional.required and not loose:
            raise ValueError(positional.name)
        values[positional.name] = loose or None
    elif len(loose) == 1:
        values[positional.name] = positional.value(loose[0])
    else:
        raise ValueError(positional.name)


def _option(word: str, todo: list[str], options: dict[str, Known], values: dict[str, Any]) -> None:
    flag, equals, given = word.partition("=") if word.startswith("--") else (word, "", "")
    one = options.get(flag)
    if one is None:
        raise ValueError(word)
    if one.kind is bool:
        if equals:
            raise ValueError(word)
        values[one.name] = True
        return
    if not equals:
        if not todo or todo[0].startswith("-"):
            raise ValueError(word)
        given = todo.pop(0)
    value = one.value(given)
    if one.repeated:
        values.setdefault(one.name, []).append(value)
    else:
        values[one.name] = value


def _known(name: str, hint: Any) -> Known:
    assert get_origin(hint) is Annotated, name
    kind, declared = get_args(hint)
    return Known(name, kind, declared)
