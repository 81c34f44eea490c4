"""Badges: a small picture per client version, per line of versions and of all, drawn here and not by a service."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from xml.etree import ElementTree

from kmatrix.decide.formats.rpm_versions import natural
from kmatrix.decide.report.coverage import is_covered
from kmatrix.decide.report.model import NOT_BUILT, PENDING, PendingCell
from kmatrix.decide.report.paths import badge_path
from kmatrix.values.cells import CellResult
from kmatrix.values.text import plain_line

# White text has a contrast of 5 or more on each (WCAG 2.2, 1.4.3).
_LABEL, _GOOD, _FAILED, _ERRORED, _NONE = "#3b424d", "#0d652d", "#a50e0e", "#7a4a00", "#555d6b"
_HEIGHT, _MARGIN, _SIZE, _MOST = 20, 6, 11, 48


def badges(
    cells: Sequence[CellResult], pending: Sequence[PendingCell] | None, gates: Sequence[str]
) -> Iterator[tuple[str, str]]:
    """Yield path and SVG of every badge: of each client version, of each line of versions (8.3), and `all`.

    Args:
        cells: the results.
        pending: the planned cells without a verdict; None if the plan is not known.
        gates: the names of the profile's gates.
    """
    every: list[CellResult | PendingCell] = [*cells, *(pending or ())]
    groups = {"all": every}
    for cell in sorted(every, key=lambda each: natural(each.client), reverse=True):
        line = ".".join(cell.client.split(".")[:2])
        for name in dict.fromkeys((line, cell.client)):
            groups.setdefault(name, []).append(cell)
    written = set()
    for name, own in groups.items():
        path = badge_path(name)
        if path not in written:
            written.add(path)
            yield path, badge("BeeGFS client" if name == "all" else name, own, gates, complete=pending is not None)


def badge(
    label: str, cells: Iterable[CellResult | PendingCell], gates: Sequence[str] = (), *, complete: bool = True
) -> str:
    """Return a badge as SVG: `8.3.1 | 12 of 14 kernels`, with the number of the worst verdict.

    It is green where every planned cell is covered, and nowhere else.

    Args:
        label: on its left half.
        cells: that it counts: as kernels if they are of one client version.
        gates: those that a cell must have passed to be covered.
        complete: whether these are all that are planned, as far as anybody knows.
    """
    known = list(cells)
    good = sum(is_covered(cell, gates) for cell in known)
    noun = "kernel" if len({cell.client for cell in known}) == 1 else "cell"
    noun = noun if complete else f"known {noun}"
    words, ground = f"{good} of {len(known)} {noun}{'' if len(known) == 1 else 's'}", _GOOD if complete else _NONE
    for verdict, said, colour in (
        ("failed", "failed", _FAILED),
        ("errored", "errored", _ERRORED),
        (PENDING, NOT_BUILT, _NONE),
    ):
        if count := sum(cell.verdict == verdict for cell in known):
            words, ground = f"{words}, {count} {said}", colour
            break
    else:
        if not_fully_tested := len(known) - good:
            words, ground = f"{words}, {not_fully_tested} not fully tested", _NONE
    if not known:
        words, ground = "no results", _NONE
    return _svg(_short(label), words, ground)


def _svg(label: str, words: str, ground: str) -> str:
    left, right = (text_width(text) + 2 * _MARGIN for text in (label, words))
    title = f"{label}: {words}"
    width, height = str(left + right), str(_HEIGHT)
    svg = ElementTree.Element("svg", xmlns="http://www.w3.org/2000/svg", width=width, height=height, role="img")
    svg.set("viewBox", f"0 0 {width} {height}")
    svg.set("aria-label", title)
    ElementTree.SubElement(svg, "title").text = title
    clip = ElementTree.SubElement(svg, "clipPath", id="round")
    ElementTree.SubElement(clip, "rect", width=width, height=height, rx="3")
    grounds = ElementTree.SubElement(svg, "g", attrib={"clip-path": "url(#round)"})
    ElementTree.SubElement(grounds, "rect", width=str(left), height=height, fill=_LABEL)
    ElementTree.SubElement(grounds, "rect", x=str(left), width=str(right), height=height, fill=ground)
    font = {"fill": "#fff", "font-family": "Verdana,DejaVu Sans,Geneva,sans-serif", "font-size": str(_SIZE)}
    texts = ElementTree.SubElement(svg, "g", attrib=font)
    for start, text in ((_MARGIN, label), (left + _MARGIN, words)):
        # The length makes the text fit with any font.
        place = {"x": str(start), "y": "14", "textLength": str(text_width(text)), "lengthAdjust": "spacingAndGlyphs"}
        ElementTree.SubElement(texts, "text", attrib=place).text = text
    return ElementTree.tostring(svg, encoding="unicode") + "\n"


def text_width(text: str) -> int:
    """Return about how many pixels a text has in Verdana of 11 pixels, by the class of each character."""
    return max(1, round(sum(_character_width(each) for each in text)))


def _character_width(character: str) -> float:
    if character in "ijlI.,:;|!'()[] ":
        return 4.4
    if character in "mwMW@%" or not character.isascii():
        return 10.8
    return 7.8 if character.isupper() else 6.9


def _short(text: str) -> str:
    line = plain_line(text)
    return line if len(line) <= _MOST else f"{line[: _MOST - 1]}…"
