"""Badges: their words, colours and widths, and that nothing becomes markup."""

from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from kmatrix.decide.report.badges import badge, badges, text_width
from kmatrix.decide.report.site import site_files
from kmatrix.values.cells import CellResult
from tests.unit.support.made_up_report import GATES, NEWER, NEXT, OLDER, cell, logs_of, pending_cell, small_report

SVG = "{http://www.w3.org/2000/svg}"
GOOD = cell("8.3.1", OLDER)
SKIPPED = cell("8.3.1", NEWER, "skipped")
FAILED = cell("8.3.1", NEXT, "failed")
ERRORED = cell("8.3.1", "6.12.1", "errored")


def title(svg: str) -> str:
    root = ElementTree.fromstring(svg)
    text = root.findtext(f"{SVG}title") or ""
    assert root.attrib["aria-label"] == text
    assert root.attrib["role"] == "img"
    return text


def ground(svg: str) -> str:
    return ElementTree.fromstring(svg).findall(f"{SVG}g/{SVG}rect")[1].attrib["fill"]


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ([GOOD, SKIPPED], "2 of 2 kernels"),
        ([GOOD, FAILED, ERRORED], "1 of 3 kernels, 1 failed"),
        ([GOOD, ERRORED, ERRORED], "1 of 3 kernels, 2 errored"),
        ([GOOD, cell("7.4.6", OLDER)], "2 of 2 cells"),
        ([], "no results"),
    ],
)
def test_a_badge_counts_and_names_the_worst_verdict(cells: list[CellResult], words: str) -> None:
    assert title(badge("8.3.1", cells)) == f"8.3.1: {words}"


def test_planned_cells_that_are_not_built_are_counted_and_keep_a_badge_from_being_green() -> None:
    pending = (pending_cell("8.3.1", NEXT), pending_cell("9.0.0", NEXT))
    found = dict(badges([GOOD, SKIPPED], pending, GATES))
    assert {path: title(svg) for path, svg in found.items()} == {
        "badges/all.svg": "BeeGFS client: 2 of 4 cells, 2 not built yet",
        "badges/9.0.svg": "9.0: 0 of 1 kernel, 1 not built yet",
        "badges/9.0.0.svg": "9.0.0: 0 of 1 kernel, 1 not built yet",
        "badges/8.3.svg": "8.3: 2 of 3 kernels, 1 not built yet",
        "badges/8.3.1.svg": "8.3.1: 2 of 3 kernels, 1 not built yet",
    }
    green = ground(badge("x", [GOOD]))
    assert green not in map(ground, found.values())
    assert title(badge("8.3.1", [FAILED, pending[0]])) == "8.3.1: 0 of 2 kernels, 1 failed"


def test_a_badge_is_not_green_where_the_plan_is_not_known() -> None:
    found = dict(badges([GOOD, SKIPPED], None, GATES))
    assert title(found["badges/8.3.1.svg"]) == "8.3.1: 2 of 2 known kernels"
    assert ground(badge("x", [GOOD])) not in map(ground, found.values())
    (failed,) = {title(svg) for path, svg in badges([FAILED], None, GATES) if path == "badges/8.3.1.svg"}
    assert failed == "8.3.1: 0 of 1 known kernel, 1 failed"


def test_a_cell_that_passed_without_some_gate_keeps_a_badge_from_being_green() -> None:
    """As one that was built with `--no-boot`."""
    quick = replace(SKIPPED, verdict="passed", gates={"static": "passed"}, digest="")
    found = dict(badges([GOOD, quick], (), GATES))
    assert title(found["badges/8.3.1.svg"]) == "8.3.1: 1 of 2 kernels, 1 not fully tested"
    assert ground(badge("x", [GOOD])) not in map(ground, found.values())
    found = dict(badges([quick, FAILED], (), GATES))
    assert title(found["badges/8.3.1.svg"]) == "8.3.1: 0 of 2 kernels, 1 failed"


def test_the_colour_is_that_of_the_worst_verdict() -> None:
    colours = [ground(badge("x", cells)) for cells in ([GOOD], [GOOD, ERRORED], [ERRORED, FAILED], [])]
    assert len(set(colours)) == 4
    assert ground(badge("x", [GOOD, SKIPPED])) == colours[0]
    assert ground(badge("x", [FAILED])) == colours[2]


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("cells", [[GOOD], [FAILED], [ERRORED], []], ids=["good", "failed", "errored", "none"])
def test_white_text_can_be_read_on_both_halves(cells: list[CellResult]) -> None:
    rects = ElementTree.fromstring(badge("x", cells)).findall(f"{SVG}g/{SVG}rect")
    for rect in rects:
        assert 1.05 / (luminance(rect.attrib["fill"]) + 0.05) >= 4.5


@pytest.mark.parametrize("label", ["8.3.1", "iiii", "WWWW", "内核 内核", "x" * 500])
def test_texts_stay_on_their_halves(label: str) -> None:
    root = ElementTree.fromstring(badge(label, [GOOD]))
    halves = [(int(each.get("x", "0")), int(each.attrib["width"])) for each in root.findall(f"{SVG}g/{SVG}rect")]
    assert sum(width for _, width in halves) == int(root.attrib["width"]) < 600
    for (start, width), text in zip(halves, root.findall(f"{SVG}g/{SVG}text"), strict=True):
        at, length = int(text.attrib["x"]), int(text.attrib["textLength"])
        assert start < at < at + length < start + width


def test_wide_characters_are_wider() -> None:
    assert text_width("ill") < text_width("axe") < text_width("AXE") < text_width("MWM") == text_width("内核网")


def test_there_is_a_badge_of_each_client_of_each_line_and_of_all() -> None:
    cells = [*small_report().cells, cell("8.3.0", OLDER, "errored")]
    found = {path: title(svg) for path, svg in badges(cells, (), GATES)}
    assert found == {
        "badges/all.svg": "BeeGFS client: 6 of 10 cells, 2 failed",
        "badges/8.3.svg": "8.3: 3 of 6 cells, 1 failed",
        "badges/8.3.1.svg": "8.3.1: 3 of 5 kernels, 1 failed",
        "badges/8.3.0.svg": "8.3.0: 0 of 1 kernel, 1 errored",
        "badges/7.4.svg": "7.4: 3 of 4 kernels, 1 failed",
        "badges/7.4.6.svg": "7.4.6: 3 of 4 kernels, 1 failed",
    }
    assert found.keys() <= dict(site_files(small_report(), logs_of)).keys() | {"badges/8.3.0.svg"}


def test_a_version_becomes_neither_markup_nor_a_path() -> None:
    hostile = replace(GOOD, client='../"><script>alert(1)</script>\x00')
    for path, svg in badges([hostile], (), GATES):
        assert re.fullmatch(r"badges/[A-Za-z0-9_][A-Za-z0-9._+-]*\.svg", path)
        root = ElementTree.fromstring(svg)
        assert not [each for each in root.iter() if each.tag.endswith("script")]
