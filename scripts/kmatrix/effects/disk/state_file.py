"""The results of runs in a JSON file that several profiles share: each run replaces the entries that it changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from typing import Any, TypeVar

from kmatrix.effects.disk.files import cannot_read, write_atomically
from kmatrix.effects.disk.state_form import Lists, StateFile, facts_of, lists_of, state_text
from kmatrix.values.errors import InputError

T = TypeVar("T")
S = TypeVar("S")


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
        return [
            convert(entry) for entry in lists_of(file, _content(file)).get(profile_name, {}).get(key or file.key, [])
        ]


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
        own = lists_of(file, _content(file)).get(profile_name, {})
        return [convert(each) for each in own.get(file.key, [])], [
            convert_beside(each) for each in own.get(file.beside, [])
        ]


def read_profiles(file: StateFile) -> tuple[str, ...]:
    """Return the profiles that the file has entries of, that of the last run included; none where it is not there.

    Raises:
        InputError: the file cannot be read, is of another schema, or is not as `write_entries` writes it.
    """
    with _told(file):
        return tuple(lists_of(file, _content(file)))


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
        lists = lists_of(file, _content(file))
    own: Lists = {**lists.get(profile_name, {}), file.key: list(entries)}
    if beside is not None:
        own[file.beside] = list(beside)
    write_atomically(file.path, state_text(file, profile_name, {**lists, profile_name: own}, facts or {}))


def keep_entries(file: StateFile, profile_name: str, entries: Sequence[Mapping[str, Any]]) -> str:
    """Write those entries of a profile that stay, without a run: the last run and its facts are as they were.

    Returns:
        the profile of the last run.

    Raises:
        InputError: the file cannot be read or written, or is of another schema.
    """
    with _told(file):
        content = _content(file) or {}
        lists = lists_of(file, content)
        last = str(content["profile"])
        facts = facts_of(file, content, last)
    own: Lists = {**lists.get(profile_name, {}), file.key: list(entries)}
    write_atomically(file.path, state_text(file, last, {**lists, profile_name: own}, facts))
    return last


def profile_text(file: StateFile, profile_name: str) -> str:
    """Return the file's content as if the last run had been of this profile.

    Raises:
        InputError: the file cannot be read, or is of another schema.
    """
    with _told(file):
        content = _content(file)
        lists = lists_of(file, content)
        facts = facts_of(file, content, profile_name)
        return state_text(file, profile_name, lists, facts)


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


def _content(file: StateFile) -> Mapping[str, Any] | None:
    """Return the file's content, as one moment had it; None where it is not there."""
    try:
        content = json.loads(file.path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    if not isinstance(content, dict):
        raise TypeError(f"{content!r:.40} is no object")
    return content
