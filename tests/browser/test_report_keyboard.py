"""The report is used by keyboard: the skip link, every control, and the arrow keys in the matrix."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.browser.support.visits import Visitor

FOCUSED = "() => document.activeElement.id || document.activeElement.getAttribute('href')"


def walk(page: Page) -> list[str]:
    """Press Tab through the page; return what had the focus, by id, name or link."""
    name = """() => {
      const element = document.activeElement;
      return element === document.body ? "" : [element.tagName, element.id, element.name, element.getAttribute("href"),
        element.className, element.textContent.slice(0, 20)].join(" ");
    }"""
    found: list[str] = []
    for _ in range(200):
        page.keyboard.press("Tab")
        here = page.evaluate(name)
        if not here:
            break
        found.append(here)
    return found


def test_the_first_tab_offers_to_skip_to_the_content(visit: Visitor) -> None:
    page = visit().open()
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to the content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    assert page.url.endswith("#main")


def test_every_cell_and_every_control_is_reached_by_tab_and_is_seen_there(visit: Visitor) -> None:
    page = visit().open()
    reached = walk(page)
    for link in page.locator("#cells td a").all():
        assert any(f" {link.get_attribute('href')} " in each for each in reached)
    for name in ("verdict", "text"):
        assert any(each.startswith("INPUT") and f" {name} " in each for each in reached), reached
    assert any(each.startswith("BUTTON") and each.endswith("Reset") for each in reached), reached


def test_what_has_the_focus_is_outlined(visit: Visitor) -> None:
    page = visit().open()
    seen = []
    for _ in range(25):
        page.keyboard.press("Tab")
        seen.append(
            page.evaluate(
                """() => {
                  const element = document.activeElement;
                  const marked = [element, element.closest("label"), element.parentElement].filter(Boolean);
                  return marked.some(each => {
                    const style = getComputedStyle(each);
                    return style.outlineStyle !== "none" || style.boxShadow !== "none";
                  });
                }"""
            )
        )
    assert all(seen), seen


def test_arrow_keys_go_from_cell_to_cell(visit: Visitor) -> None:
    page = visit().open()
    table = page.locator("#cells")
    rows = table.locator("tr:has(td a)")
    rows.nth(1).locator("td a").nth(0).focus()
    page.keyboard.press("ArrowRight")
    expect(rows.nth(1).locator("td a").nth(1)).to_be_focused()
    page.keyboard.press("ArrowLeft")
    expect(rows.nth(1).locator("td a").nth(0)).to_be_focused()
    page.keyboard.press("ArrowUp")
    expect(rows.nth(0).locator("td a").nth(0)).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(rows.nth(1).locator("td a").nth(0)).to_be_focused()


def test_escape_closes_a_menu_and_gives_the_focus_back(visit: Visitor) -> None:
    page = visit().open()
    summary = page.locator("#filters .menu summary").first
    summary.focus()
    page.keyboard.press("Enter")
    option = page.locator("#filters .menu details[open] input").first
    expect(option).to_be_visible()
    page.keyboard.press("Tab")
    expect(option).to_be_focused()
    page.keyboard.press("Space")
    expect(option).to_be_checked()
    page.keyboard.press("Escape")
    expect(option).to_be_hidden()
    expect(summary).to_be_focused()
