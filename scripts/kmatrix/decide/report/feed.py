"""The Atom feed of newly published images (RFC 4287)."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from xml.etree import ElementTree

from kmatrix.decide.report.model import Report
from kmatrix.decide.report.moments import moment
from kmatrix.decide.report.paths import CHANGES, FEED, cell_path
from kmatrix.values.cells import CellResult
from kmatrix.values.text import plain_line

# So many images the feed, and the page of changes, have: the newest.
NEWEST = 50


def newly_published(cells: Iterable[CellResult]) -> tuple[CellResult, ...]:
    """Return the published cells whose time of publication is known, newest first, at most `NEWEST`."""
    known = [(at, cell) for cell in cells if cell.digest and (at := moment(cell.pushed))]
    known.sort(key=lambda each: each[1].cell)
    known.sort(key=lambda each: each[0], reverse=True)
    return tuple(cell for _, cell in known[:NEWEST])


def feed(report: Report) -> str:
    """Return the feed.

    The rules are those of RFC 4287, 4.1.1 and 4.1.2, as w3c/feedvalidator checks them: title, id and time of the feed
    and of each entry, a link to the feed itself, an author, and text in each entry. An id stands for the registry and
    profile, and for the cell and digest of an entry, so that it stays where the site moves; links are relative, as
    section 2 permits.
    """
    own = uuid.uuid5(uuid.NAMESPACE_URL, f"kmatrix:{report.profile}:{report.target}")
    entries = newly_published(report.cells)
    root = ElementTree.Element("feed", attrib={"xmlns": "http://www.w3.org/2005/Atom", "xml:lang": "en"})
    _add(root, "title", f"BeeGFS client images of profile {report.profile}")
    _add(root, "subtitle", "Images that were published lately")
    _add(root, "id", own.urn)
    _add(root, "updated", _time(entries[0].pushed if entries else report.made))
    _add(ElementTree.SubElement(root, "author"), "name", "kmatrix")
    ElementTree.SubElement(root, "generator", version=plain_line(report.version)).text = "kmatrix"
    ElementTree.SubElement(root, "link", rel="self", type="application/atom+xml", href=FEED)
    ElementTree.SubElement(root, "link", rel="alternate", type="text/html", href=CHANGES)
    for cell in entries:
        entry = ElementTree.SubElement(root, "entry")
        _add(entry, "title", f"BeeGFS client {cell.client} for kernel {cell.kernel}")
        _add(entry, "id", uuid.uuid5(own, plain_line(f"{cell.cell}@{cell.digest}")).urn)
        _add(entry, "updated", _time(cell.pushed))
        ElementTree.SubElement(entry, "link", rel="alternate", type="text/html", href=cell_path(cell.cell))
        _add(entry, "summary", _summary(cell))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _summary(cell: CellResult) -> str:
    serves = f" Serves OpenShift {', '.join(cell.releases)}." if cell.releases else ""
    gates = [name for name, verdict in cell.gates.items() if verdict == "passed"]
    # Those of a cell that failed may be about a later image, which was not published.
    passed = f" Passed: {', '.join(gates)}." if gates and cell.verdict != "failed" else ""
    return f"{cell.image}@{cell.digest}.{serves}{passed}"


def _add(parent: ElementTree.Element, name: str, text: str) -> None:
    ElementTree.SubElement(parent, name).text = plain_line(text)


def _time(text: str) -> str:
    found = moment(text) or datetime.fromtimestamp(0, UTC)
    return found.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
