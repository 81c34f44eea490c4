"""The filters of the matrix: what they leave, what they count, and that the address keeps them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import pytest
from playwright.sync_api import Locator, Page, expect

from kmatrix.values.cells import CellResult
from tests.browser.support.visits import Visitor
from tests.unit.support.made_up_report import small_cells

CELLS = small_cells()


def minors(cell: CellResult) -> set[str]:
    return {release.rpartition(".")[0] for release in cell.releases}


def admitted(wishes: Mapping[str, Iterable[str]]) -> set[str]:
    """Return the paths of the pages of the cells that a filter should leave."""
    found = set()
    for cell in CELLS:
        values = {
            "minor": minors(cell),
            **{name: {getattr(cell, name)} for name in ("verdict", "client", "arch", "flavour", "stream")},
        }
        if all(values[name] & set(wanted) for name, wanted in wishes.items()):
            found.add(f"cells/{cell.cell}.html")
    return found


def shown(page: Page) -> set[str]:
    """Return the paths of the pages of the cells that can be seen in the matrix."""
    links: list[str] = page.locator("#cells td a:visible").evaluate_all(
        "links => links.map(link => link.getAttribute('href'))"
    )
    return set(links)


def box(page: Page, name: str, value: str) -> Locator:
    return page.locator(f'#filters input[name="{name}"][value="{value}"]')


def choose(page: Page, wishes: Mapping[str, Iterable[str]]) -> None:
    """Choose values as a person does, by their labels; menus are opened first."""
    for name, values in wishes.items():
        menu = page.locator(f'#filters details:has(> div > label > input[name="{name}"]):not([open]) > summary')
        for summary in menu.all()[-1:]:
            if "chosen" in summary.inner_html():
                summary.click()
        for value in values:
            box(page, name, value).check(force=True)


def assert_count(page: Page, count: int) -> None:
    expect(page.locator("#shown")).to_contain_text(f"{count} of {len(CELLS)} cells shown")


FILTERS: list[dict[str, list[str]]] = [
    {"verdict": ["failed"]},
    {"verdict": ["failed", "errored"]},
    {"client": ["7.4.6"]},
    {"minor": ["4.16"]},
    {"minor": ["4.19", "4.20"]},
    {"arch": ["aarch64"]},
    {"flavour": ["rt"]},
    {"stream": ["el10"]},
    {"client": ["8.3.1"], "verdict": ["failed"]},
    {"client": ["8.3.1"], "minor": ["4.19"], "arch": ["x86_64"], "flavour": ["standard"]},
]


@pytest.mark.parametrize("wishes", FILTERS, ids="&".join)
def test_a_filter_leaves_the_cells_that_it_admits_and_counts_them(
    visit: Visitor, wishes: Mapping[str, list[str]]
) -> None:
    page = visit().open()
    assert shown(page) == admitted({})
    choose(page, wishes)
    assert shown(page) == admitted(wishes)
    assert 0 < len(shown(page)) < len(CELLS)
    assert_count(page, len(admitted(wishes)))


def test_words_of_a_kernel_or_a_release_filter_too(visit: Visitor) -> None:
    page = visit().open()
    page.get_by_role("searchbox", name="Kernel or release").fill("4.16.31")
    assert shown(page) == admitted({"minor": ["4.16"]})
    page.get_by_role("searchbox", name="Kernel or release").fill("EL10")
    assert shown(page) == admitted({"stream": ["el10"]})


def test_a_filter_that_admits_nothing_says_so_and_reset_shows_everything(visit: Visitor) -> None:
    page = visit().open()
    choose(page, {"verdict": ["skipped"], "client": ["8.3.1"]})
    assert shown(page) == set()
    assert_count(page, 0)
    page.get_by_role("button", name="Reset").click()
    assert shown(page) == admitted({})
    assert_count(page, len(CELLS))
    assert "#" not in page.url


def test_the_address_keeps_the_filter_through_a_reload_and_in_another_window(visit: Visitor) -> None:
    seen = visit()
    page = seen.open()
    choose(page, {"verdict": ["failed", "errored"], "client": ["8.3.1"]})
    wanted = admitted({"verdict": ["failed", "errored"], "client": ["8.3.1"]})
    page.reload()
    assert shown(page) == wanted
    assert_count(page, len(wanted))
    expect(box(page, "verdict", "failed")).to_be_checked()
    expect(box(page, "verdict", "passed")).not_to_be_checked()
    other = visit().open(page.url.removeprefix(seen.base))
    assert shown(other) == wanted


def test_the_filter_is_there_again_on_the_way_back_from_a_cell(visit: Visitor) -> None:
    page = visit().open()
    choose(page, {"verdict": ["failed"]})
    page.locator("#cells td a:visible").first.click()
    expect(page).to_have_url(re.compile("/cells/"))
    page.go_back()
    expect(box(page, "verdict", "failed")).to_be_checked()
    assert shown(page) == admitted({"verdict": ["failed"]})


@pytest.mark.parametrize("fragment", ["attention", "verdict=nothing", "text=%E0%A4%A", "<img src=x onerror=alert(1)>"])
def test_a_fragment_of_something_else_does_no_harm(visit: Visitor, fragment: str) -> None:
    page = visit().open(f"index.html#{fragment}")
    assert page.locator("#filters input:checked").count() == 0
    expect(page.locator("#filters")).to_be_visible()


def test_reasons_of_failures_are_there_whatever_the_filter_says(visit: Visitor) -> None:
    page = visit().open()
    choose(page, {"verdict": ["passed"]})
    failed = next(cell for cell in CELLS if cell.verdict == "failed")
    expect(page.locator(f'a[href="cells/{failed.cell}.html"]:visible').first).to_be_visible()
