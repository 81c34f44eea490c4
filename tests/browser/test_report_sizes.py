"""The report fits a phone, a laptop and paper: only tables and logs scroll, in boxes of their own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.support.visits import Visitor
from tests.unit.support.made_up_report import NEXT

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
