"""Merges the results of several runs about one cell or bundle: the latest verdict, with the facts that still hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Merged(Generic[T]):
    """A merged entry, and the index of the input whose verdict it has; None for what was known before."""

    entry: T
    source: int | None


def merge(
    known: Mapping[str, T],
    inputs: Sequence[Mapping[str, T]],
    time: Callable[[T], str],
    keep: Callable[[T, T, str], T],
) -> dict[str, Merged[T]]:
    """Return every entry of the inputs and of what was known, by name; no name is lost.

    An entry that several inputs have is merged as if their runs had followed each other, the earliest first: a checkout
    that is used again and again still has results of cells that are another shard's now.

    Args:
        known: the entries of this checkout.
        inputs: those of the shards; of two of the same time the later input wins.
        time: returns when an entry was recorded (UTC, ISO 8601); empty, which is the earliest, if it is not known.
        keep: takes a newer entry, an older one and the newer one's time; returns the newer one with the older one's
            facts that it did not examine.
    """
    versions: dict[str, list[Merged[T]]] = {name: [Merged(entry, None)] for name, entry in known.items()}
    for index, entries in enumerate(inputs):
        for name, entry in entries.items():
            versions.setdefault(name, []).append(Merged(entry, index))
    return {name: _latest(own, time, keep) for name, own in versions.items()}


def _latest(versions: Sequence[Merged[T]], time: Callable[[T], str], keep: Callable[[T, T, str], T]) -> Merged[T]:
    latest, *newer = sorted(versions, key=lambda version: time(version.entry))
    for version in newer:
        latest = Merged(keep(version.entry, latest.entry, time(version.entry)), version.source)
    return latest
