"""Planned cells that are not built yet, in a real browser: filtered, passed over by the arrow keys, and legible."""

from __future__ import annotations

from dataclasses import replace
from importlib import resources
from pathlib import Path

import pytest
from playwright.sync_api import expect

from kmatrix.decide.report.model import Report
from kmatrix.decide.report.paths import cell_path
from kmatrix.decide.report.site import site_files
from kmatrix.effects.disk.site import replace_site
from tests.browser.support.visits import Visitor
from tests.unit.support.made_up_report import ARM, NEWER, REAL_TIME, large_report, logs_of, pending_cell, small_report


def partly_built() -> Report:
    """Return a report in which one cell between two others, and one kernel's only cell, are not built yet."""
    report = small_report()
    waiting = pending_cell("8.3.1", NEWER), pending_cell("7.4.6", ARM)
    named = {each.cell for each in waiting}
    return replace(report, cells=tuple(cell for cell in report.cells if cell.cell not in named), pending=waiting)


@pytest.fixture(name="site", scope="module")
def _site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the site of a report of a build that is under way."""
    folder = tmp_path_factory.mktemp("partly") / "report"
    replace_site(folder, site_files(partly_built(), logs_of))
    return folder


def test_a_filter_shows_them_alone_and_counts_them(visit: Visitor, site: Path) -> None:
    page = visit(site).open()
    expect(page.locator("#shown")).to_have_text("10 of 10 cells shown")
    page.locator('#filters input[name="verdict"][value="pending"]').check(force=True)
    expect(page.locator("#shown")).to_have_text("2 of 10 cells shown")
    expect(page.locator("#cells td > :visible")).to_have_text(["not built yet", "not built yet"])


def test_arrow_keys_pass_over_them(visit: Visitor, site: Path) -> None:
    """In the column of 8.3.1, one of them stands between a cell that failed and one that is errored."""
    page = visit(site).open()
    page.locator(f'#cells a[href="{cell_path(f"8.3.1-{REAL_TIME}")}"]').focus()
    page.keyboard.press("ArrowDown")
    expect(page.locator(f'#cells a[href="{cell_path(f"8.3.1-{ARM}")}"]')).to_be_focused()


def test_a_sign_alone_is_explained_to_the_pointer(visit: Visitor, tmp_path: Path) -> None:
    report = large_report(9, 2)
    waiting = pending_cell(report.cells[0].client, report.cells[0].kernel, report.cells[0].releases)
    folder = tmp_path / "report"
    replace_site(folder, site_files(replace(report, cells=report.cells[1:], pending=(waiting,)), lambda _: ()))
    cell = visit(folder).open().locator("#cells td .pending")
    cell.hover()
    expect(cell).to_have_attribute("title", f"{waiting.client} on {waiting.kernel}: not built yet")
    box = cell.bounding_box()
    assert box is not None
    assert box["width"] > 15


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_fault_in_them(visit: Visitor, site: Path, scheme: str) -> None:
    page = visit(site, color_scheme=scheme).open()
    page.evaluate(resources.files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8"))
    faults = page.evaluate(
        "async () => (await axe.run({preload: false})).violations.flatMap(rule => rule.nodes.map(each => each.html))"
    )
    assert faults == []


def test_their_sign_and_words_can_be_seen(visit: Visitor, site: Path) -> None:
    page = visit(site).open()
    cell = page.locator("#cells td .pending").first
    expect(cell).to_be_visible()
    assert "○" in cell.evaluate("cell => getComputedStyle(cell, '::before').content")
