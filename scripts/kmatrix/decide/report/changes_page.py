"""What changed since the previous report and before, and the images that were published last."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import get_args

from kmatrix.decide.report.feed import newly_published
from kmatrix.decide.report.history import Change, ChangeKind, history
from kmatrix.decide.report.links import to_matrix
from kmatrix.decide.report.model import Report
from kmatrix.decide.report.pages import page
from kmatrix.decide.report.paths import CHANGES, cell_path
from kmatrix.values.cells import Verdict
from kmatrix.values.release_result import ReleaseState

_WORDS: dict[ChangeKind, str] = {
    "cell-new": "new cell",
    "cell-gone": "cell is gone",
    "verdict": "verdict",
    "published": "published",
    "release-new": "new release",
    "release-gone": "release is gone",
    "release-state": "release",
}
# In the order of the page: first what may need somebody, then what is new; for one, and for several.
_COUNTED: dict[ChangeKind, tuple[str, str]] = {
    "verdict": ("verdict changed", "verdicts changed"),
    "release-state": ("release changed", "releases changed"),
    "release-new": ("new release", "new releases"),
    "cell-new": ("new cell", "new cells"),
    "published": ("image published", "images published"),
    "cell-gone": ("cell gone", "cells gone"),
    "release-gone": ("release gone", "releases gone"),
}


@dataclass(frozen=True)
class Side:
    """A verdict, digest or state before or after a change; `form` says which, and is empty for nothing."""

    form: str
    text: str


@dataclass(frozen=True)
class ChangeRow:
    """A change: what it is in words, what it is about, a link to that if the report has it, and both sides."""

    words: str
    name: str
    path: str
    before: Side
    after: Side


@dataclass(frozen=True)
class ChangeGroup:
    """The changes that one report found, and how many there are of each kind, in words."""

    at: str
    summary: str
    rows: tuple[ChangeRow, ...]


def changes_page(report: Report) -> str:
    """Return the page."""
    told = history(report)
    paths = {cell.cell: cell_path(cell.cell) for cell in report.cells}
    releases = {release.version for release in report.releases}
    groups = [_group(at, found, paths, releases) for at, found in groupby(told.changes, lambda each: each.at)]
    published = [(cell_path(cell.cell), cell) for cell in newly_published(report.cells)]
    return page(report, "changes.html.j2", CHANGES, told=told, groups=groups, published=published)


def _group(at: str, found: Iterable[Change], paths: Mapping[str, str], releases: set[str]) -> ChangeGroup:
    order = list(_COUNTED)
    changes = sorted(found, key=lambda each: order.index(each.kind))
    counts = [(sum(each.kind == kind for each in changes), words) for kind, words in _COUNTED.items()]
    summary = ", ".join(f"{number} {words[number > 1]}" for number, words in counts if number)
    rows = tuple(_row(each, paths, releases) for each in changes)
    return ChangeGroup(at, summary, rows)


def _row(change: Change, paths: Mapping[str, str], releases: set[str]) -> ChangeRow:
    if change.cell:
        name, path = change.cell, paths.get(change.cell, "")
    else:
        name = f"{change.release} {change.arch}"
        path = to_matrix(change.release) if change.release in releases else ""
    return ChangeRow(_WORDS[change.kind], name, path, _side(change.before), _side(change.after))


def _side(text: str) -> Side:
    if text in get_args(Verdict):
        return Side("verdict", text)
    if text in get_args(ReleaseState):
        return Side("state", text)
    return Side("digest" if text else "", text)
