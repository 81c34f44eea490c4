"""Parse the text of matrix.yaml into a Matrix, or report all of its problems at once, by line."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import yaml
from pydantic import ValidationError

from kmatrix.values.errors import InputError, Problem
from kmatrix.values.fields import Model, Path, dotted, fault, suggestion
from kmatrix.values.matrix import Channel, Exclude, Matrix, Profile

# Far above any real matrix; a document above is an alias that multiplies itself.
MAX_VALUES = 20_000
MAX_DEPTH = 20
_YAML = "tag:yaml.org,2002:"
_TAGS = {_YAML + kind for kind in ("str", "int", "float", "bool", "null", "timestamp", "map", "seq", "value", "merge")}
_NEXT = "correct the file; docs/configuration.md explains each key"


@dataclass
class _Notes:
    """Collected while reading: the line of every path, and the problems, each with its line."""

    lines: dict[Path, int] = field(default_factory=dict)
    problems: list[tuple[int, str]] = field(default_factory=list)
    unread: set[Path] = field(default_factory=set)
    values: int = 0

    def problem(self, path: Path, message: str, line: int | None = None) -> None:
        start = f"{dotted(path)}: " if path else ""
        self.problems.append((line or self.line(path), start + message))

    def line(self, path: Path) -> int:
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


class _TooBigError(Exception):
    """The document grows beyond bounds; the notes have the place."""


def read_matrix(text: str, name: str = "matrix.yaml") -> Matrix:
    """Read the matrix.

    Args:
        text: the file's content.
        name: the file's name, for messages.

    Raises:
        InputError: with every problem of the file, each as FILE:LINE and key.
    """
    notes = _Notes()
    matrix = None
    node = _compose(text, notes)
    if node is not None:
        try:
            data = _plain(node, (), notes)
        except _TooBigError:
            data = None
        if data is not None:
            matrix = _validate(data, notes)
    if notes.problems or matrix is None:
        problems = tuple(Problem(f"{name}:{line}", message) for line, message in sorted(set(notes.problems)))
        raise InputError(f"{name} cannot be used", _NEXT, problems)
    for profile_name, profile in matrix.profiles.items():
        for index, exclude in enumerate(profile.excludes):
            exclude.placed(f"{name}:{notes.line(('profiles', profile_name, 'excludes', index))}")
    return matrix


def _compose(text: str, notes: _Notes) -> yaml.Node | None:
    try:
        node: yaml.Node | None = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        message = ", ".join(filter(None, (error.context, error.problem)))
        if "'\\t'" in message:
            message = "a tab: indent with blanks"
        notes.problem((), f"not YAML (column {column}): {message}", line)
        return None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        notes.problem((), f"not YAML: a character that is not allowed (#x{ord(text[error.position]):02x})", line)
        return None
    except RecursionError:
        notes.problem((), "not YAML: lists and mappings nest too deep")
        return None
    if node is None or (isinstance(node, yaml.ScalarNode) and not node.value):
        notes.problem((), "the file is empty")
        return None
    return node


def _plain(node: yaml.Node, path: Path, notes: _Notes) -> object:
    """Return a node as plain data, texts kept as they are written: 4.20 never becomes 4.2."""
    notes.values += 1
    if notes.values > MAX_VALUES or len(path) > MAX_DEPTH:
        # The alias repeats all other problems, too.
        notes.problems.clear()
        notes.problem(path[:2], "too many values: an alias repeats too much, or contains itself")
        raise _TooBigError
    notes.lines.setdefault(path, node.start_mark.line + 1)
    if node.tag not in _TAGS:
        notes.problem(path, f"tags such as {node.tag.replace(_YAML, '!!')} are not allowed")
        notes.unread.add(path)
        return None
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, path, notes)
    if isinstance(node, yaml.SequenceNode):
        items = [_plain(item, (*path, index), notes) for index, item in enumerate(node.value)]
        _no_duplicates(items, path, notes)
        return items
    return _scalar(node)


def _mapping(node: yaml.MappingNode, path: Path, notes: _Notes) -> dict[str, object]:
    data: dict[str, object] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            notes.problem(path, "a key must be one word", line)
            continue
        key = str(key_node.value)
        if key_node.tag == _YAML + "merge":
            notes.problem(path, "merge keys (<<) are not supported: repeat the keys", line)
            continue
        if key in data:
            first = notes.lines[(*path, key)]
            notes.problem((*path, key), f"duplicate key, first in line {first}", line)
            continue
        notes.lines[(*path, key)] = line
        data[key] = _plain(value_node, (*path, key), notes)
    return data


def _scalar(node: yaml.Node) -> str | int | bool | None:
    value = str(node.value)
    if node.tag == _YAML + "null":
        return None
    if node.tag == _YAML + "bool" and value in {"true", "false"}:
        return value == "true"
    if node.tag == _YAML + "int" and re.fullmatch(r"-?(0|[1-9][0-9]{0,8})", value):
        return int(value)
    return value


def _no_duplicates(items: list[object], path: Path, notes: _Notes) -> None:
    seen: dict[str, int] = {}
    for index, item in enumerate(items):
        # A channel is identified by its name: a second entry would contradict the first.
        named = isinstance(item, dict) and path[-1:] == ("channels",) and "name" in item
        key = str(item["name"]) if named and isinstance(item, dict) else repr(item)
        if key in seen:
            notes.problem((*path, index), f"duplicate of [{seen[key]}]")
        seen.setdefault(key, index)


def _validate(data: object, notes: _Notes) -> Matrix | None:
    matrix = None
    try:
        matrix = Matrix.model_validate(data)
    except ValidationError as error:
        for detail in error.errors():
            path, message = fault(detail, _known_keys)
            if path not in notes.unread:
                notes.problem(path, message)
    if isinstance(data, dict):
        default, profiles = data.get("default_profile"), data.get("profiles")
        if isinstance(default, str) and isinstance(profiles, dict) and default not in profiles:
            notes.problem(("default_profile",), f"no profile {default!r}; {suggestion(default, list(profiles))}")
    return matrix


def _known_keys(path: Path) -> list[str]:
    model: type[Model] = Matrix if not path else Profile
    if len(path) > 2:
        model = Channel if path[2] == "channels" else Exclude
    return [info.alias or name for name, info in model.model_fields.items()]
