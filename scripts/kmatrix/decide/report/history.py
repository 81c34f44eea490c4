"""Decide what changed since the previous report; each report carries the changes that earlier ones found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from kmatrix.decide.report.model import Report
from kmatrix.decide.report.moments import moment

ChangeKind = Literal["cell-new", "cell-gone", "verdict", "published", "release-new", "release-gone", "release-state"]
# So many are kept, the newest; each is about 200 bytes.
MOST_CHANGES = 500
# A published cell is `passed` in the run that built it and `skipped` in the next: that is no news.
_GOOD = frozenset({"passed", "skipped"})


@dataclass(frozen=True)
class Change:
    """One difference between a report and the one before it.

    Attributes:
        at: when the report that found it was made (UTC, ISO 8601).
        kind: what changed: a cell or a release is new or gone; a cell's verdict; a cell's image was published under a
            new digest; the state of a release.
        cell: its id; empty for a change of a release.
        release: its version; empty for a change of a cell.
        arch: of the release; empty for a change of a cell.
        before: the verdict, digest or state before; empty where there was none.
        after: the one since; empty where there is none.
    """

    at: str
    kind: ChangeKind
    cell: str = ""
    release: str = ""
    arch: str = ""
    before: str = ""
    after: str = ""


@dataclass(frozen=True)
class EarlierReport:
    """What an earlier document says about cells, releases and changes.

    Attributes:
        made: when that report was made (UTC, ISO 8601).
        cells: verdict and digest by cell id.
        releases: state by version and architecture.
        changes: those that it carries, newest first.
    """

    made: str
    cells: Mapping[str, tuple[str, str]]
    releases: Mapping[tuple[str, str], str]
    changes: tuple[Change, ...]


@dataclass(frozen=True)
class History:
    """The changes that a report shows.

    Attributes:
        compared_with: when the previous report was made; empty if there is none to compare with.
        changes: newest first, at most `MOST_CHANGES`.
        left_out: how many older ones are not kept.
    """

    compared_with: str
    changes: tuple[Change, ...]
    left_out: int


def history(report: Report) -> History:
    """Return the changes since the previous report, followed by those that it carries."""
    if not report.previous:
        return History("", (), 0)
    earlier = read_earlier(report.previous)
    found = [*_cells(report, earlier.cells), *_releases(report, earlier.releases)]
    every = tuple(dict.fromkeys([*found, *earlier.changes]))
    return History(earlier.made, every[:MOST_CHANGES], len(every[MOST_CHANGES:]))


def read_earlier(content: Mapping[str, Any]) -> EarlierReport:
    """Return what an earlier document of this schema says.

    Raises:
        ValueError: a member is missing, or of another form.
    """
    try:
        return EarlierReport(
            made=_time(content["made"]),
            cells={
                _text(each["cell"]): (_text(each["verdict"]), _text(each["digest"]))
                for each in _objects(content["cells"])
            },
            releases={
                (_text(each["version"]), _text(each["arch"])): _text(each["state"])
                for each in _objects(content["releases"])
            },
            changes=tuple(_change(each) for each in _objects(content["changes"])),
        )
    except KeyError as error:
        raise ValueError(f"{error} is missing") from error


def change_entry(change: Change) -> dict[str, str]:
    """Return a change as `index.json` has it, without the names of what it is not about."""
    about = {"cell": change.cell} if change.cell else {"release": change.release, "arch": change.arch}
    return {"at": change.at, "kind": change.kind, **about, "from": change.before, "to": change.after}


def _cells(report: Report, before: Mapping[str, tuple[str, str]]) -> Iterable[Change]:
    for cell in report.cells:
        known = before.get(cell.cell)
        verdict, digest = known or ("", "")
        if known is None:
            yield Change(report.made, "cell-new", cell.cell, after=cell.verdict)
        elif verdict != cell.verdict and not {verdict, cell.verdict} <= _GOOD:
            yield Change(report.made, "verdict", cell.cell, before=verdict, after=cell.verdict)
        # An empty digest does not say that the registry lost the image: a cell that fails keeps what nodes pull.
        if cell.digest and digest != cell.digest:
            yield Change(report.made, "published", cell.cell, before=digest, after=cell.digest)
    now = {cell.cell for cell in report.cells}
    for name, (verdict, _) in before.items():
        if name not in now:
            yield Change(report.made, "cell-gone", name, before=verdict)


def _releases(report: Report, before: Mapping[tuple[str, str], str]) -> Iterable[Change]:
    for release in reversed(report.releases):
        about = {"release": release.version, "arch": release.arch}
        state = before.get((release.version, release.arch))
        if state is None:
            yield Change(report.made, "release-new", **about, after=release.state)
        elif state != release.state:
            yield Change(report.made, "release-state", **about, before=state, after=release.state)
    now = {(release.version, release.arch) for release in report.releases}
    for (version, arch), state in before.items():
        if (version, arch) not in now:
            yield Change(report.made, "release-gone", release=version, arch=arch, before=state)


def _change(entry: Mapping[str, Any]) -> Change:
    kind = entry["kind"]
    if kind not in get_args(ChangeKind):
        raise ValueError(f"{kind!r:.40} is no kind of change")
    about = {name: _text(entry.get(name, "")) for name in ("cell", "release", "arch")}
    return Change(_time(entry["at"]), kind, **about, before=_text(entry["from"]), after=_text(entry["to"]))


def _objects(value: object) -> list[Mapping[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise ValueError(f"{value!r:.40} is no list of objects")
    return value


def _time(value: object) -> str:
    if moment(text := _text(value)) is None:
        raise ValueError(f"{text!r:.40} is no time")
    return text


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r:.40} is no text")
    return value
