"""
Job files: YAML (or JSON, which is YAML) with one job or a list of jobs.

YAML surprises people: `no` becomes false, `1e-4` a string, `12:00:00` a number of seconds and
a key given twice silently wins. Here a text field gets the text as written in the
file, numbers are read as YAML 1.2 reads them, and a key given twice is refused.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from berth.cli.failure import Failure

if TYPE_CHECKING:
    import yaml

SUFFIXES = (".yaml", ".yml", ".json", ".jsonl")

_TEXT = {"name", "command", "script", "workdir", "python", "notify", "not_before", "env", "labels"}
_NULL = re.compile(r"|~|null|Null|NULL")
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_PLAIN_TAGS = "tag:yaml.org,2002:"
_KNOWN_TAGS = {"null", "bool", "int", "float", "str", "timestamp", "seq", "map", "merge", "value"}


def is_one(word: str) -> bool:
    """
    True if a word names a job file, rather than being a command quoted as one line.

    Many commands end with a file of their own (`train.py --config config.json`), so a word with
    blanks is a job file only if a file of exactly that name exists.
    """
    return word.endswith(SUFFIXES) and (len(word.split()) == 1 or Path(word).is_file())


def read(path: str, text: str | None = None) -> list[dict[str, Any]]:
    """Return the jobs of a file, at least one. `text` replaces the file's content (standard input)."""
    value = _load(path, text, {0: _TEXT})
    jobs: list[Any] = value if isinstance(value, list) else [value]
    if not jobs or not all(isinstance(job, dict) for job in jobs):
        where = _where(path, text)
        raise Failure(f"{where}: write one job as `command: …` with its fields, or a list of jobs.")
    return jobs


def read_matrix(path: str, text: str | None = None) -> dict[str, Any]:
    """Return an ablation's file as data; values of the matrix stay text as written."""
    value = _load(
        path, text, {0: {"name", "matrix", "seeds", "include", "exclude"}, 1: _TEXT | {"metric"}}
    )
    if not isinstance(value, dict):
        raise Failure(f"{_where(path, text)}: write `base:` with a job and `matrix:` with lists.")
    return cast("dict[str, Any]", value)


def _where(path: str, text: str | None) -> str:
    return "standard input" if text is not None else path


def _load(path: str, text: str | None, texts: dict[int, set[str]]) -> Any:
    where = _where(path, text)
    if text is None:
        try:
            text = Path(path).read_text(encoding="utf-8")
        except FileNotFoundError:
            raise Failure(f"The file {path} does not exist; check the path.") from None
        except (OSError, UnicodeDecodeError) as error:
            raise Failure(f"{path} cannot be read: {error}.") from error
    if path.endswith(".jsonl"):
        from berth.cli.quick import jsonlines

        return jsonlines.jobs(where, text, _TEXT)
    import yaml

    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise Failure(f"{where}{_position(error)}: not valid YAML: {_problem(error)}.") from error
    return None if node is None else _Reader(where, texts).value(node, as_text=False, depth=0)


class _Reader:
    def __init__(self, where: str, texts: dict[int, set[str]]) -> None:
        self._where = where
        self._texts = texts
        self._open: list[int] = []

    def value(self, node: yaml.Node, *, as_text: bool, depth: int) -> Any:
        import yaml

        if isinstance(node, yaml.ScalarNode):
            self._check_tag(node)
            return _scalar(node, as_text=as_text)
        if id(node) in self._open:
            raise self._failure(node, "an alias that contains itself cannot be read")
        self._open.append(id(node))
        try:
            self._check_tag(node)
            if isinstance(node, yaml.SequenceNode):
                # A list of jobs is as deep as one job.
                below = depth if depth == 0 else depth + 1
                return [self.value(one, as_text=as_text, depth=below) for one in node.value]
            assert isinstance(node, yaml.MappingNode)
            return self._mapping(node, as_text=as_text, depth=depth)
        finally:
            self._open.pop()

    def _mapping(self, node: yaml.MappingNode, *, as_text: bool, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = _key(key_node)
            if key is None:
                raise self._failure(key_node, "a key must be a word")
            if key == "<<" and key_node.style is None:
                for one in self._bases(value_node, as_text=as_text, depth=depth):
                    merged = {**one, **merged}
                continue
            if key in found:
                raise self._failure(key_node, f"{key!r} is given twice; keep one of them")
            text_below = as_text or key in self._texts.get(depth, ())
            found[key] = self.value(value_node, as_text=text_below, depth=depth + 1)
        return {**merged, **found}

    def _bases(self, node: yaml.Node, *, as_text: bool, depth: int) -> list[dict[str, Any]]:
        bases = self.value(node, as_text=as_text, depth=depth)
        bases = bases if isinstance(bases, list) else [bases]
        if not all(isinstance(base, dict) for base in bases):
            raise self._failure(node, "`<<` takes a mapping, or a list of mappings")
        return bases

    def _check_tag(self, node: yaml.Node) -> None:
        if node.tag.removeprefix(_PLAIN_TAGS) not in _KNOWN_TAGS:
            raise self._failure(node, f"the tag {node.tag} is unknown; leave it out")

    def _failure(self, node: yaml.Node, problem: str) -> Failure:
        return Failure(f"{self._where} line {node.start_mark.line + 1}: {problem}.")


def _key(node: yaml.Node) -> str | None:
    return node.value if isinstance(node.value, str) else None


def _scalar(node: yaml.ScalarNode, *, as_text: bool) -> Any:
    text: str = node.value
    if node.style is not None:
        return text
    if _NULL.fullmatch(text):
        return None if text or not as_text else ""
    if as_text:
        return text
    if text in _BOOL:
        return _BOOL[text]
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text


def _position(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return f" line {mark.line + 1}" if mark is not None else ""


def _problem(fault: yaml.YAMLError) -> str:
    problem = getattr(fault, "problem", None) or str(fault)
    return " ".join(str(problem).split())
