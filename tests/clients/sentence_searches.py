"""Static search for code that looks for something in a sentence, in Python and in TypeScript."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence

SENTENCES = {
    "description", "detail", "message", "notes", "problem", "reason", "sentence", "summary",
    "warnings", "would_help",
}  # fmt: skip
"""Fields of the wire that hold a sentence or several; with `_parts` behind it, its parts."""
_RENDERERS = {"message", "messages", "reason", "refusal"}
"""Functions of the CLI that return a sentence as it is shown."""
_LOOKUPS = {
    "count", "endswith", "find", "findall", "finditer", "fullmatch", "index", "match", "partition",
    "removeprefix", "removesuffix", "replace", "rfind", "rindex", "rpartition", "rsplit", "search",
    "split", "splitlines", "startswith", "sub",
}  # fmt: skip
_CLEANERS = {"clean"}
"""Helpers that change characters of whatever is shown, and find nothing."""

Searchers = Mapping[str, frozenset[int]]
"""Functions that search an argument: the positions of those arguments by the function's name."""
_Function = ast.FunctionDef | ast.AsyncFunctionDef


def searchers(trees: Sequence[ast.AST]) -> Searchers:
    """Return the functions that search one of their own arguments, by themselves or by another."""
    functions = [
        node
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, _Function) and node.name not in _CLEANERS
    ]
    found: dict[str, frozenset[int]] = {}
    while True:
        more = dict(found)
        for function in functions:
            names = [one.arg for one in function.args.args]
            offset = 1 if names[:1] in (["self"], ["cls"]) else 0
            own = {
                place - offset
                for place, name in enumerate(names)
                if place >= offset and any(_lookups(function, {name}, found, fields=False))
            }
            if own:
                more[function.name] = more.get(function.name, frozenset()) | own
        if more == found:
            return found
        found = more


def in_python(tree: ast.AST, known: Searchers) -> list[int]:
    """Return the lines on which a sentence is searched."""
    lines = set(_lookups(tree, set(), known))
    for function in ast.walk(tree):
        if isinstance(function, _Function):
            lines |= set(_lookups(function, _holding(function), known))
    return sorted(lines)


def _holding(function: _Function) -> set[str]:
    """The variables of a function that hold a sentence."""
    names: set[str] = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Assign | ast.NamedExpr) and _is_sentence(node.value, names):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {one.id for one in targets if isinstance(one, ast.Name)}
    return names


def _lookups(
    tree: ast.AST, names: set[str], known: Searchers, *, fields: bool = True
) -> Iterator[int]:
    """Lines that search a sentence: a field that holds one, or one of the variables."""

    def held(node: ast.expr) -> bool:
        return _is_sentence(node, names, fields=fields)

    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            operators = any(isinstance(op, ast.In | ast.NotIn) for op in node.ops)
            searched = operators and any(map(held, node.comparators))
        elif isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            receiver = [node.func.value] if isinstance(node.func, ast.Attribute) else []
            searched = (name in _LOOKUPS and any(map(held, [*receiver, *node.args]))) or any(
                place in known.get(name, ()) and held(one) for place, one in enumerate(node.args)
            )
        else:
            continue
        if searched:
            yield node.lineno


def _is_sentence(node: ast.expr, names: set[str], *, fields: bool = True) -> bool:
    if isinstance(node, ast.BoolOp):
        return any(_is_sentence(one, names, fields=fields) for one in node.values)
    if isinstance(node, ast.Name):
        return node.id in names
    if isinstance(node, ast.Call):
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if name == "str":
            return any(
                _is_sentence(one, names, fields=fields) or (fields and _is_error(one))
                for one in node.args
            )
        return fields and name in _RENDERERS
    return (
        fields and isinstance(node, ast.Attribute) and node.attr.removesuffix("_parts") in SENTENCES
    )


def _is_error(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "error"


_FIELD = rf"\.(?:{'|'.join(sorted(SENTENCES))})\b(?:\?\.\[\w+\])?"
_OR_EMPTY = r"\)?(?: \?\? (?:\"\"|''))?\)?"
_METHOD = (
    r"\??\.(?:match|matchAll|replace|replaceAll|split|includes|indexOf|search|startsWith|endsWith|"
    r"slice|substring)\("
)
_DIRECT = re.compile(rf"{_FIELD}{_OR_EMPTY}{_METHOD}|\.(?:exec|test)\([^()]*{_FIELD}{_OR_EMPTY}\)")
_VARIABLE = re.compile(rf"\b(?:const|let) (\w+)(?:: string)? = [\w.?]*{_FIELD}{_OR_EMPTY};")
_PASSED = re.compile(rf"\b(\w+)\((?:[^()]*, )?[\w.?]+{_FIELD}(?: \?\? (?:\"\"|''))?[,)]")
_TAKES_SENTENCES = {"Error", "String", "notify", "plainText"}
"""Functions of the page that show a sentence and search none."""


def in_typescript(source: str) -> list[str]:
    """Return the pieces of code that search a sentence, or hand one to a function that might."""
    found = [one[0] for one in _DIRECT.finditer(source)]
    for variable in _VARIABLE.finditer(source):
        name = variable[1]
        use = rf"\b{name}{_METHOD}|\.(?:exec|test)\({name}\)"
        found += [one[0] for one in re.finditer(use, source[variable.end() :])]
    found += [one[0] for one in _PASSED.finditer(source) if one[1] not in _TAKES_SENTENCES]
    return found
