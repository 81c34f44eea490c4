"""The results of runs in a JSON file that several profiles share: each run replaces the entries that it changed.

`results.json` and `bundles.json` have this form: `schema`, `profile` (that of the last run), a list of that profile's
entries, and `other_profiles` with the lists of all others by profile. A file that has a second list beside the first
has an object with both, by their keys, for each other profile. Long lists of texts that many entries have are written
once, by name, and the entries have the name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from kmatrix.effects.disk.files import cannot_read, write_atomically
from kmatrix.values.errors import InputError
from kmatrix.values.names import digest_of

_OTHERS = "other_profiles"
T = TypeVar("T")
S = TypeVar("S")


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


def read_entries(
    file: StateFile, profile_name: str, convert: Callable[[Mapping[str, Any]], T], key: str = ""
) -> list[T]:
    """Return a profile's entries as they are on disk now; none where the file is not there.

    Args:
        file: the file.
        profile_name: the profile.
        convert: returns the value of an entry; raises ValueError, TypeError, KeyError or AttributeError if it is none.
        key: of the list; by default its first.

    Raises:
        InputError: the file cannot be read, is of another schema, or is not as `write_entries` writes it.
    """
    with _told(file):
        return [convert(entry) for entry in _lists(file, _content(file)).get(profile_name, {}).get(key or file.key, [])]


def read_both(
    file: StateFile,
    profile_name: str,
    convert: Callable[[Mapping[str, Any]], T],
    convert_beside: Callable[[Mapping[str, Any]], S],
) -> tuple[list[T], list[S]]:
    """Return a profile's entries of both lists, as one moment had them; none where the file is not there.

    Between two calls of `read_entries` a run may write.

    Args:
        file: the file, which has a second list.
        profile_name: the profile.
        convert: see `read_entries`.
        convert_beside: the same for the second list.

    Raises:
        InputError: the file cannot be read, is of another schema, or is not as `write_entries` writes it.
    """
    with _told(file):
        own = _lists(file, _content(file)).get(profile_name, {})
        return [convert(each) for each in own.get(file.key, [])], [
            convert_beside(each) for each in own.get(file.beside, [])
        ]


def read_profiles(file: StateFile) -> tuple[str, ...]:
    """Return the profiles that the file has entries of, that of the last run included; none where it is not there.

    Raises:
        InputError: the file cannot be read, is of another schema, or is not as `write_entries` writes it.
    """
    with _told(file):
        return tuple(_lists(file, _content(file)))


def known_fields(kind: type, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return those items of an entry that are fields of a dataclass: a later version of this program may write more.

    Raises:
        TypeError: the entry is no object.
    """
    if not isinstance(entry, Mapping):
        raise TypeError(f"{entry!r:.40} is no object")
    names = {field.name for field in fields(kind)}
    return {name: value for name, value in entry.items() if name in names}


def write_entries(
    file: StateFile,
    profile_name: str,
    entries: Sequence[Mapping[str, Any]],
    facts: Mapping[str, Any] | None = None,
    beside: Sequence[Mapping[str, Any]] | None = None,
) -> None:
    """Write a profile's entries, and keep those of other profiles as they are on disk now.

    The caller holds the checkout's lock: between reading and writing nobody else may write.

    Args:
        file: the file.
        profile_name: the profile of the entries.
        entries: its entries, in order.
        facts: further top-level members, about this run; those of the run before are replaced.
        beside: the entries of its second list; None leaves those on disk.

    Raises:
        InputError: the file cannot be read or written, or is of another schema.
    """
    with _told(file):
        lists = _lists(file, _content(file))
    own: Lists = {**lists.get(profile_name, {}), file.key: list(entries)}
    if beside is not None:
        own[file.beside] = list(beside)
    write_atomically(file.path, _text(file, profile_name, {**lists, profile_name: own}, facts or {}))


def keep_entries(file: StateFile, profile_name: str, entries: Sequence[Mapping[str, Any]]) -> str:
    """Write those entries of a profile that stay, without a run: the last run and its facts are as they were.

    Returns:
        the profile of the last run.

    Raises:
        InputError: the file cannot be read or written, or is of another schema.
    """
    with _told(file):
        content = _content(file) or {}
        lists = _lists(file, content)
        last = str(content["profile"])
        facts = _facts(file, content, last)
    own: Lists = {**lists.get(profile_name, {}), file.key: list(entries)}
    write_atomically(file.path, _text(file, last, {**lists, profile_name: own}, facts))
    return last


def profile_text(file: StateFile, profile_name: str) -> str:
    """Return the file's content as if the last run had been of this profile.

    Raises:
        InputError: the file cannot be read, or is of another schema.
    """
    with _told(file):
        content = _content(file)
        lists = _lists(file, content)
        facts = _facts(file, content, profile_name)
        return _text(file, profile_name, lists, facts)


def _text(file: StateFile, profile_name: str, lists: Mapping[str, Lists], facts: Mapping[str, Any]) -> str:
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


@contextmanager
def _told(file: StateFile) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise cannot_read(file.path, file.what, error) from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(
            f"{file.what} {file.path}: not as this program writes it ({type(error).__name__}: {error})", file.hint
        ) from error


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


def _content(file: StateFile) -> Mapping[str, Any] | None:
    """Return the file's content, as one moment had it; None where it is not there."""
    try:
        content = json.loads(file.path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    if not isinstance(content, dict):
        raise TypeError(f"{content!r:.40} is no object")
    return content


def _facts(file: StateFile, content: Mapping[str, Any] | None, profile_name: str) -> dict[str, Any]:
    """Return the members about the last run, if it was one of this profile."""
    if content is None:
        return {}
    own = ("schema", "profile", *file.keys, file.sets, _OTHERS)
    return {
        name: value for name, value in content.items() if name not in own and content.get("profile") == profile_name
    }


def _lists(file: StateFile, content: Mapping[str, Any] | None) -> dict[str, Lists]:
    """Return the lists of every profile by their keys, by profile."""
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
