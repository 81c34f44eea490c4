"""The page of a log is searched, and commands are copied."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import expect

from kmatrix.decide.report.model import LogText
from kmatrix.decide.report.site import site_files
from kmatrix.effects.disk.site import replace_site
from tests.browser.support.served import served
from tests.browser.support.visits import Visitor
from tests.unit.support.made_up_report import COMPILER_LINE, NEXT, TARGET, small_report

CELL = f"7.4.6-{NEXT}"
LOG = f"logs/{CELL}.log.html"


def test_a_search_finds_lines_counts_them_and_goes_from_one_to_the_next(visit: Visitor) -> None:
    page = visit().open(LOG)
    field = page.get_by_role("searchbox", name="Search in this log")
    output = page.locator("form.search output")
    # File19.o and File190.o to File199.o.
    field.fill("FILE19")
    expect(output).to_have_text("11 lines")
    expect(page.locator("mark").first).to_have_text("File19")
    field.press("Enter")
    expect(output).to_have_text("1 of 11, line 20")
    expect(page.locator("#L20")).to_be_in_viewport()
    field.press("Enter")
    expect(output).to_have_text("2 of 11, line 191")
    expect(page.locator("#L191")).to_be_in_viewport(ratio=1)
    field.press("Shift+Enter")
    expect(page.locator("#L20")).to_be_in_viewport(ratio=1)
    page.get_by_role("button", name="Previous").click()
    expect(output).to_have_text("11 of 11, line 200")
    page.get_by_role("button", name="Next").click()
    expect(output).to_have_text("1 of 11, line 20")


def test_a_search_can_leave_only_the_lines_that_have_the_words(visit: Visitor) -> None:
    page = visit().open(LOG)
    page.get_by_role("searchbox", name="Search in this log").fill("generic_fillattr")
    page.get_by_role("checkbox", name="Only matching lines").check()
    lines = page.locator(".lines > li:visible")
    expect(lines.first).to_contain_text(COMPILER_LINE)
    assert lines.count() < 5
    page.get_by_role("searchbox", name="Search in this log").fill("")
    expect(page.locator("#L1")).to_be_visible()
    expect(page.locator("mark")).to_have_count(0)


def test_a_search_without_a_result_says_so(visit: Visitor) -> None:
    page = visit().open(LOG)
    page.get_by_role("searchbox", name="Search in this log").fill("<b>nowhere</b>")
    expect(page.locator("form.search output")).to_contain_text("No line")


def test_a_search_in_a_shortened_log_claims_nothing_of_what_the_page_leaves_out(visit: Visitor, tmp_path: Path) -> None:
    # The page has the first thousand of them, and the last two thousand.
    lines = tuple(f"line {number}" + " warning" * (number in (10, 500, 3000)) for number in range(1, 9001))
    long = LogText(f"{CELL}.log", "build and gates", (*lines, "x" * 2000 + " at the end of a long line"))
    site = tmp_path / "report"
    replace_site(site, site_files(small_report(), lambda cell: (long,) if cell.cell == CELL else ()))
    page = visit(site).open(LOG)
    field = page.get_by_role("searchbox", name="Search in this log")
    output = page.locator("form.search output")
    field.fill("warning")
    expect(output).to_have_text("2 lines on this page")
    field.press("Enter")
    expect(output).to_have_text("1 of 2 on this page, line 10")
    for absent in ("line 3000", "at the end"):
        field.fill(absent)
        expect(output).to_have_text("No line on this page")
    rest = page.locator("form.search").get_by_text("covers this page alone")
    expect(rest).to_be_visible()
    rest.get_by_role("link", name="the plain text").click()
    expect(page).to_have_url(f"{site.as_uri()}/logs/{CELL}.log.txt")


def test_a_search_in_a_complete_log_sends_nobody_elsewhere(visit: Visitor) -> None:
    expect(visit().open(LOG).get_by_text("covers this page alone")).to_have_count(0)


def test_a_command_is_copied_with_a_button(visit: Visitor, small_site: Path) -> None:
    with served(small_site) as base:
        seen = visit(base, permissions=["clipboard-read", "clipboard-write"])
        page = seen.open(f"cells/{CELL}.html")
        block = page.locator("pre.command").filter(has_text="build").first
        button = block.get_by_role("button")
        button.click()
        expect(button).to_have_text("Copied")
        copied = page.evaluate("() => navigator.clipboard.readText()")
        assert copied == block.locator("code").inner_text()
        assert copied.startswith("nox -s build")
        assert CELL in copied
        page.close()


def test_a_command_that_cannot_be_copied_is_selected(visit: Visitor, small_site: Path) -> None:
    with served(small_site) as base:
        seen = visit(base)
        seen.context.add_init_script("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
        page = seen.open(f"cells/{CELL}.html")
        block = page.locator("pre.command").first
        button = block.get_by_role("button")
        button.click()
        expect(button).not_to_have_text("Copied")
        assert page.evaluate("() => getSelection().toString()").strip() == block.locator("code").inner_text()
        page.close()


def test_the_image_s_name_can_be_copied_by_its_digest(visit: Visitor) -> None:
    page = visit().open("cells/8.3.1-5.14.0-427.50.1.el9_4.x86_64.html")
    expect(page.get_by_text(f"{TARGET}@sha256:").first).to_be_visible()
