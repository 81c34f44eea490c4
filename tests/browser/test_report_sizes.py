"""The report fits a phone, a laptop and paper: only tables and logs scroll, in boxes of their own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from kmatrix.decide.report.site import site_files
from kmatrix.effects.disk.site import replace_site
from tests.browser.support.pixels import column
from tests.browser.support.visits import Visitor
from tests.unit.support.made_up_report import NEXT, large_report
from tests.unit.support.realistic_report import realistic_logs, realistic_report

PHONE = {"width": 360, "height": 740}
LAPTOP = {"width": 1280, "height": 800}
# The width of A4 without margins of 1.5 cm, at 96 pixels an inch.
PAPER = {"width": 680, "height": 980}
EXCESS = """() => [...document.body.querySelectorAll("*")]
  .filter(each => each.getBoundingClientRect().right > innerWidth + 1)
  .map(each => each.tagName + "." + each.className).slice(0, 8)"""


@pytest.mark.parametrize("size", [PHONE, LAPTOP], ids=["phone", "laptop"])
def test_no_page_is_wider_than_its_window(visit: Visitor, small_site: Path, size: dict[str, int]) -> None:
    page = visit(viewport=size).context.new_page()
    for path in sorted(small_site.rglob("*.html")):
        page.goto(path.as_uri())
        wide = page.evaluate("() => document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, (path.name, page.evaluate(EXCESS))


def test_no_printed_page_is_wider_than_paper(visit: Visitor, small_site: Path) -> None:
    page = visit(viewport=PAPER).context.new_page()
    page.emulate_media(media="print")
    for path in sorted(small_site.rglob("*.html")):
        page.goto(path.as_uri())
        wide = page.evaluate("() => document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, (path.name, page.evaluate(EXCESS))


def test_paper_has_the_verdicts_and_no_controls(visit: Visitor) -> None:
    seen = visit(viewport=PAPER)
    for path in ("index.html", f"cells/7.4.6-{NEXT}.html", f"logs/7.4.6-{NEXT}.log.html"):
        page = seen.open(path)
        page.emulate_media(media="print")
        for control in page.locator("form, button, input").all():
            expect(control).to_be_hidden()
    page = seen.open()
    page.emulate_media(media="print")
    expect(page.locator("#cells td a").first).to_be_visible()
    # Chromium's own output: what is printed, not what is emulated.
    assert len(re.findall(rb"/Type\s*/Page\b", page.pdf(format="A4"))) <= 4


def test_paper_says_what_a_printed_matrix_was_filtered_by(visit: Visitor) -> None:
    page = visit(viewport=LAPTOP).open()
    page.get_by_role("checkbox", name="failed").check()
    page.get_by_role("searchbox", name="Kernel or release").fill("el9")
    page.emulate_media(media="print")
    shown = page.locator("#shown")
    expect(shown).to_be_visible()
    expect(shown).to_have_text("1 of 9 cells shown")
    after = shown.evaluate("each => getComputedStyle(each, '::after').content")
    assert after == '" (kernel or release el9; verdict failed)"'
    for control in page.locator("button, input, summary:not(.serves *)").all():
        expect(control).to_be_hidden()


def test_every_sheet_of_a_wide_matrix_has_the_client_versions_on_top(visit: Visitor, tmp_path: Path) -> None:
    """Browsers repeat only what is a table's heading to the layout too."""
    replace_site(tmp_path / "report", site_files(large_report(40, 4), lambda _: ()))
    page = visit(tmp_path / "report", viewport={"width": 1040, "height": 720}).open()
    page.emulate_media(media="print")
    look = "each => getComputedStyle(each).display"
    assert page.locator("#cells").evaluate(look) == "table"
    assert page.locator("#cells thead").evaluate(look) == "table-header-group"
    assert {each.evaluate(look) for each in page.locator("#cells thead th").all()} == {"table-cell"}
    assert page.evaluate("() => document.documentElement.scrollWidth - innerWidth") <= 0


def test_paper_has_the_releases_that_a_screen_folds_up(visit: Visitor, tmp_path: Path) -> None:
    replace_site(tmp_path / "report", site_files(realistic_report(), realistic_logs))
    page = visit(tmp_path / "report", viewport=LAPTOP).open()
    folded = page.locator("details.serves").filter(has_text="4.19.16").first
    height = "each => each.getBoundingClientRect().height"
    closed = folded.evaluate(height)
    page.emulate_media(media="print")
    assert folded.evaluate(height) > 1.5 * folded.locator("summary").evaluate(height)
    assert closed < folded.evaluate(height) * 1.2


def test_headings_of_the_matrix_stay_in_view_while_it_scrolls(visit: Visitor) -> None:
    page = visit(viewport=PHONE).open()
    head, first = page.locator("#cells thead th"), page.locator("#cells tbody th[scope=row]").first
    page.locator(".matrix").evaluate("box => box.scrollTo(200, 0)")
    page.locator("#cells tbody tr").last.scroll_into_view_if_needed()
    expect(head.first).to_be_in_viewport()
    first.scroll_into_view_if_needed()
    expect(first).to_be_in_viewport()


@pytest.mark.parametrize("size", [PHONE, LAPTOP], ids=["phone", "laptop"])
def test_the_slowest_stage_is_named_beside_its_bar(visit: Visitor, size: dict[str, int]) -> None:
    page = visit(viewport=size).open(f"cells/7.4.6-{NEXT}.html")
    bar, word = page.locator("svg.bar.slowest"), page.get_by_text("slowest", exact=True)
    box, beside = bar.bounding_box(), word.bounding_box()
    assert box
    assert beside
    assert beside["x"] > box["x"] + box["width"]
    middle = box["y"] + box["height"] / 2
    assert beside["y"] + beside["height"] / 4 < middle < beside["y"] + beside["height"] * 3 / 4


@pytest.mark.parametrize("ratio", [1, 1.75, 2.625, 3])
def test_a_line_parts_each_row_of_the_matrix_from_the_one_above(visit: Visitor, tmp_path: Path, ratio: float) -> None:
    """Rows are no whole numbers of pixels high, and headings that stay in view are painted over their neighbours."""
    replace_site(tmp_path / "report", site_files(realistic_report(), realistic_logs))
    page = visit(tmp_path / "report", viewport=PHONE, device_scale_factor=ratio).open()
    # As high as its content, so that no row is out of sight.
    page.locator(".matrix").evaluate("box => { box.style.maxHeight = 'none'; }")
    headings = page.locator("#cells tbody tr:not(.minor) + tr th, #cells tbody + tbody .minor th")
    edges = headings.evaluate_all("all => all.map(each => each.getBoundingClientRect()).map(box => [box.x, box.y])")
    assert len(edges) == 9
    pixels = column(page, page.screenshot(full_page=True), round((edges[0][0] + 3) * ratio))
    grounds = {(255, 255, 255), (0xF5, 0xF6, 0xF8)}
    for _, edge in edges:
        near = pixels[round(edge * ratio) - 2 : round(edge * ratio) + 3]
        assert set(near) - grounds, (edge, near)
