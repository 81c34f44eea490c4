"""The form of a file with the results of several profiles: its text from their entries, and back.

`results.json` and `bundles.json` have this form: `schema`, `profile` (that of the last run), a list of that profile's
entries, and `other_profiles` with the lists of all others by profile. A file that has a second list beside the first
has an object with both, by their keys, for each other profile. Long lists of texts that many entries have are written
once, by name, and the entries have the name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kmatrix.values.errors import InputError
from kmatrix.values.names import digest_of

_OTHERS = "other_profiles"


@dataclass(frozen=True)
class StateFile:
    """One such file.

    `what` is its name in messages, `schema` the version of its form, `key` that of its list, `beside` that of a second
    list or empty, and `hint` the next step where it is damaged or of another schema. `shared` is the member of an
    entry whose lists of texts are written once, under `sets`; both are empty for none. `summary` returns further
    top-level members from the entries of the profile that the file shows.
    """

    path: Path
    what: str
    schema: int
    key: str
    hint: str
    beside: str = ""
    shared: str = ""
    sets: str = ""
    summary: Callable[[Sequence[Mapping[str, Any]]], Mapping[str, Any]] = lambda _: {}

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of its lists."""
        return (self.key, self.beside) if self.beside else (self.key,)


Lists = dict[str, Sequence[Mapping[str, Any]]]


def state_text(file: StateFile, profile_name: str, lists: Mapping[str, Lists], facts: Mapping[str, Any]) -> str:
    """Return a file's text, for a last run of the profile with those facts."""
    content: dict[str, Any] = {"schema": file.schema, "profile": profile_name, **facts}
    content.update(file.summary(lists.get(profile_name, {}).get(file.key, [])))
    if file.shared:
        lists, content[file.sets] = _named(file, lists)
    own = lists.get(profile_name, {})
    content.update((key, own.get(key, [])) for key in file.keys)
    others = {name: lists[name] for name in sorted(lists) if name != profile_name}
    if others:
        content[_OTHERS] = others if file.beside else {name: each[file.key] for name, each in others.items()}
    return _json(content) + "\n"


def _named(file: StateFile, lists: Mapping[str, Lists]) -> tuple[dict[str, Lists], dict[str, list[str]]]:
    """Return the lists with names in place of the shared lists of texts, and those by name."""
    names: dict[tuple[str, ...], str] = {}

    def named(entry: Mapping[str, Any]) -> Mapping[str, Any]:
        if entry.get(file.shared) is None:
            return entry
        texts = tuple(entry[file.shared])
        if texts not in names:
            names[texts] = digest_of(json.dumps(texts).encode()).removeprefix("sha256:")[:12]
        return {**entry, file.shared: names[texts]}

    found = {
        name: {**by_key, file.key: [named(entry) for entry in by_key.get(file.key, [])]}
        for name, by_key in lists.items()
    }
    return found, {name: list(texts) for texts, name in names.items()}


def _json(value: object, margin: str = "\n") -> str:
    """Return a value as JSON with one line for each entry of a list: what a run changes is one line of a diff.

    Python's encoder in C, several times as fast as the other, writes no indentation.
    """
    inner = f"{margin} "
    if isinstance(value, Mapping) and value:
        members = (f"{json.dumps(key)}: {_json(each, inner)}" for key, each in value.items())
        return f"{{{inner}{f',{inner}'.join(members)}{margin}}}"
    if isinstance(value, list) and value:
        return f"[{inner}{f',{inner}'.join(map(json.dumps, value))}{margin}]"
    return json.dumps(value)


def facts_of(file: StateFile, content: Mapping[str, Any] | None, profile_name: str) -> dict[str, Any]:
    """Return the members about the last run, if it was one of this profile."""
    if content is None:
        return {}
    own = ("schema", "profile", *file.keys, file.sets, _OTHERS)
    return {
        name: value for name, value in content.items() if name not in own and content.get("profile") == profile_name
    }


def lists_of(file: StateFile, content: Mapping[str, Any] | None) -> dict[str, Lists]:
    """Return the lists of every profile by their keys, by profile.

    Raises:
        InputError: the content is of another schema.
        ValueError, TypeError, KeyError, AttributeError: it is not as `state_text` makes it.
    """
    if content is None:
        return {}
    _check_schema(file, content.get("schema"))
    others = content.get(_OTHERS, {})
    found: dict[str, Any] = {**others} if file.beside else {name: {file.key: each} for name, each in others.items()}
    found[content["profile"]] = content
    lists = {name: {key: each[key] for key in file.keys} for name, each in found.items()}
    for name, by_key in lists.items():
        for key, entries in by_key.items():
            if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
                raise TypeError(f"the {key} of {name} are no list of objects")
        if file.shared:
            by_key[file.key] = [_complete(file, entry, content[file.sets]) for entry in by_key[file.key]]
    return lists


def _complete(file: StateFile, entry: Mapping[str, Any], sets: Mapping[str, Any]) -> Mapping[str, Any]:
    name = entry.get(file.shared)
    return entry if name is None else {**entry, file.shared: sets[name]}


def _check_schema(file: StateFile, found: object) -> None:
    """Refuse a file of another version of this program: rewriting it would lose the entries of every profile."""
    if found == file.schema and not isinstance(found, bool):
        return
    hint = file.hint
    if isinstance(found, int) and found > file.schema:
        hint = f"Use the newer version of kmatrix that wrote it. Or: {hint}"
    raise InputError(
        f"{file.what} {file.path} has schema {found!r}, and this version of kmatrix knows {file.schema}", hint
    )
