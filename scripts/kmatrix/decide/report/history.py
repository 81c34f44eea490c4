"""Decide what changed since the previous report; each report carries the changes that earlier ones found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal, get_args

from kmatrix.decide.report.model import Report
from kmatrix.decide.report.moments import moment

ChangeKind = Literal["cell-new", "cell-gone", "verdict", "published", "release-new", "release-gone", "release-state"]
# So many are kept, the newest; each is about 200 bytes.
MOST_CHANGES = 500
# So many cells without a digest are remembered; each is about 200 bytes.
MOST_REMEMBERED = 10_000
# A published cell is `passed` in the run that built it and `skipped` in the next: that is no news.
_GOOD = frozenset({"passed", "skipped"})
_BROKEN = frozenset({"failed", "errored"})


@dataclass(frozen=True)
class Change:
    """One difference between a report and the one before it.

    Attributes:
        at: when the report that found it was made (UTC, ISO 8601).
        kind: what changed: the plan has a cell or a release anew, or has it no more; a cell's verdict; a cell's image
            was published under a new digest; the state of a release.
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
class LastKnown:
    """The last verdict and digest that reports had of a cell; empty where they never had one."""

    verdict: str = ""
    digest: str = ""


@dataclass(frozen=True)
class EarlierReport:
    """What an earlier document says about cells, releases and changes.

    Attributes:
        made: when that report was made (UTC, ISO 8601).
        cells: verdict and digest by cell id, as that report had them.
        remembered: what reports before it had, by the id of a cell that has no verdict or no digest in it.
        pending: the ids of the planned cells without a verdict; None if it did not know the plan.
        releases: state by version and architecture.
        changes: those that it carries, newest first.
    """

    made: str
    cells: Mapping[str, LastKnown]
    remembered: Mapping[str, LastKnown]
    pending: frozenset[str] | None
    releases: Mapping[tuple[str, str], str]
    changes: tuple[Change, ...]

    def last_known(self, cell: str) -> LastKnown:
        """Return what is known of a cell from that report and those before it."""
        there, before = self.cells.get(cell, LastKnown()), self.remembered.get(cell, LastKnown())
        return LastKnown(there.verdict or before.verdict, there.digest or before.digest)


@dataclass(frozen=True)
class History:
    """The changes that a report shows, and what it remembers for the next.

    Attributes:
        compared_with: when the previous report was made; empty if there is none to compare with.
        changes: newest first, at most `MOST_CHANGES`.
        left_out: how many others are not kept: older ones, unless this report itself found more than it keeps.
        left_out_now: how many of these this report found.
        remembered: see `EarlierReport`: without it, an image that is built again or found again would be news.
    """

    compared_with: str
    changes: tuple[Change, ...]
    left_out: int
    remembered: Mapping[str, LastKnown] = field(default_factory=dict)
    left_out_now: int = 0


def history(report: Report) -> History:
    """Return the changes since the previous report, followed by those that it carries."""
    if not report.previous:
        return History("", (), 0)
    earlier = read_earlier(report.previous)
    found = [*_cells(report, earlier), *_releases(report, earlier)]
    if len(found) > MOST_CHANGES:
        # Those that may need somebody are kept, whatever else was published meanwhile.
        found.sort(key=lambda change: (change.after not in _BROKEN, not change.release))
    every = tuple(dict.fromkeys([*found, *earlier.changes]))
    return History(
        earlier.made,
        every[:MOST_CHANGES],
        left_out=len(every[MOST_CHANGES:]),
        remembered=_remembered(report, earlier),
        left_out_now=len(found[MOST_CHANGES:]),
    )


def read_earlier(content: Mapping[str, Any]) -> EarlierReport:
    """Return what an earlier document of this schema says.

    Raises:
        ValueError: a member is missing, or of another form.
    """
    try:
        return EarlierReport(
            made=_time(content["made"]),
            cells=_last_known(content["cells"]),
            # A document of an earlier version of this program lacks both.
            remembered=_last_known(content.get("remembered", [])),
            pending=_ids(content.get("pending")),
            releases={
                (_text(each["version"]), _text(each["arch"])): _text(each["state"])
                for each in _objects(content["releases"])
            },
            changes=tuple(_change(each) for each in _objects(content["changes"])),
        )
    except KeyError as error:
        raise ValueError(f"{error} is missing") from error


def remembered_entry(cell: str, known: LastKnown) -> dict[str, str]:
    """Return what is remembered of a cell as `index.json` has it."""
    return {"cell": cell, "verdict": known.verdict, "digest": known.digest}


def change_entry(change: Change) -> dict[str, str]:
    """Return a change as `index.json` has it, without the names of what it is not about."""
    about = {"cell": change.cell} if change.cell else {"release": change.release, "arch": change.arch}
    return {"at": change.at, "kind": change.kind, **about, "from": change.before, "to": change.after}


def _cells(report: Report, earlier: EarlierReport) -> Iterable[Change]:
    for cell in report.cells:
        known = earlier.last_known(cell.cell)
        if _is_new(cell.cell, earlier):
            yield Change(report.made, "cell-new", cell.cell, after=cell.verdict)
        elif known.verdict != cell.verdict and not {known.verdict, cell.verdict} <= _GOOD:
            yield Change(report.made, "verdict", cell.cell, before=known.verdict, after=cell.verdict)
        # An empty digest does not say that the registry lost the image: a cell that fails keeps what nodes pull.
        if cell.digest and known.digest != cell.digest:
            yield Change(report.made, "published", cell.cell, before=known.digest, after=cell.digest)
    if report.pending is None:
        # A cell without a result may be planned all the same.
        return
    for pending in report.pending:
        if _is_new(pending.cell, earlier):
            yield Change(report.made, "cell-new", pending.cell)
    now = {cell.cell for cell in report.known_cells}
    for name in (*earlier.cells, *sorted(earlier.pending or ())):
        if name not in now:
            yield Change(report.made, "cell-gone", name, before=earlier.last_known(name).verdict)


def _is_new(cell: str, earlier: EarlierReport) -> bool:
    """Return whether the plan has a cell that it did not have; an earlier report without the plan cannot tell."""
    return earlier.pending is not None and cell not in earlier.cells and cell not in earlier.pending


def _remembered(report: Report, earlier: EarlierReport) -> dict[str, LastKnown]:
    """Return what the next report must know of cells that have no verdict, or no digest, in this one."""
    now = {cell.cell: cell for cell in report.cells}
    found = {}
    for name in dict.fromkeys((*earlier.cells, *earlier.remembered)):
        known = earlier.last_known(name)
        if name not in now or (known.digest and not now[name].digest):
            found[name] = known
    return dict(islice(found.items(), MOST_REMEMBERED))


def _releases(report: Report, earlier: EarlierReport) -> Iterable[Change]:
    before = earlier.releases
    for release in reversed(report.releases):
        about = {"release": release.version, "arch": release.arch}
        state = before.get((release.version, release.arch))
        if state is None:
            # A report without the plan has the releases of results alone.
            if earlier.pending is not None:
                yield Change(report.made, "release-new", **about, after=release.state)
        elif state != release.state:
            yield Change(report.made, "release-state", **about, before=state, after=release.state)
    if report.pending is None:
        return
    now = {(release.version, release.arch) for release in report.releases}
    for (version, arch), state in before.items():
        if (version, arch) not in now:
            yield Change(report.made, "release-gone", release=version, arch=arch, before=state)


def _last_known(entries: object) -> dict[str, LastKnown]:
    return {_text(each["cell"]): LastKnown(_text(each["verdict"]), _text(each["digest"])) for each in _objects(entries)}


def _ids(entries: object) -> frozenset[str] | None:
    return None if entries is None else frozenset(_text(each["cell"]) for each in _objects(entries))


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
