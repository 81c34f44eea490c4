"""The report is read from files and from a web server, with script and without, and asks nobody else for anything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from kmatrix.decide.report.pages import SECTIONS
from tests.browser.support.served import served
from tests.browser.support.visits import Visitor
from tests.unit.support.made_up_report import NEXT

FAILED = f"7.4.6-{NEXT}"


@pytest.fixture(params=["files", "http"])
def base(request: pytest.FixtureRequest, small_site: Path) -> Iterator[str]:
    """The address of the site: of its files, or of a web server that has them."""
    if request.param == "files":
        yield f"{small_site.as_uri()}/"
    else:
        with served(small_site) as address:
            yield address


def every_page(page: Page, base: str, small_site: Path) -> None:
    """Visit all pages of the site in a window; each must have one main heading."""
    for path in sorted(small_site.rglob("*.html")):
        page.goto(base + path.relative_to(small_site).as_posix())
        expect(page.locator("h1")).to_have_count(1)
        expect(page.locator("h1")).not_to_be_empty()


@pytest.mark.parametrize("script", [True, False])
def test_every_page_opens_without_a_problem(visit: Visitor, base: str, small_site: Path, script: bool) -> None:
    """That there was none is what a visit asserts at its end."""
    seen = visit(base, java_script_enabled=script)
    page = seen.context.new_page()
    every_page(page, base, small_site)
    names = {address.removeprefix(base) for address in seen.requests}
    assert "assets/style.css" in names
    page.close()


def test_the_navigation_leads_to_every_section(visit: Visitor) -> None:
    page = visit().open(f"cells/{FAILED}.html")
    for path, name in SECTIONS:
        page.get_by_role("navigation", name="Pages").get_by_role("link", name=name, exact=True).click()
        assert page.url.endswith(f"/report/{path}")
        here = page.get_by_role("navigation", name="Pages").locator('[aria-current="page"]')
        expect(here).to_have_text(name)
