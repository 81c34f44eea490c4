"""From a red cell of the matrix to the line of the log that decided: two clicks."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.support.visits import Visitor
from tests.unit.support.made_up_report import COMPILER_LINE, NEXT, REAL_TIME

DECIDED = [
    (f"7.4.6-{NEXT}", COMPILER_LINE, f"7.4.6-{NEXT}.log"),
    (f"8.3.1-{REAL_TIME}", "BUG: unable to handle page fault", f"8.3.1-{REAL_TIME}.serial.log"),
]
LAPTOP = {"width": 1280, "height": 800}


@pytest.mark.parametrize(("cell", "line", "log"), DECIDED)
@pytest.mark.parametrize("script", [True, False])
def test_two_clicks_lead_from_a_red_cell_to_the_deciding_line(
    visit: Visitor, cell: str, line: str, log: str, script: bool
) -> None:
    page = visit(viewport=LAPTOP, java_script_enabled=script).open()
    page.locator(f'table a[href="cells/{cell}.html"]').click()
    deciding = page.locator(f'main a[href^="../logs/{log}.html#L"]').filter(has_text=line).first
    expect(deciding).to_be_in_viewport()
    deciding.click()
    target = page.locator(":target")
    expect(target).to_contain_text(line)
    expect(target).to_be_in_viewport(ratio=1)


@pytest.mark.parametrize(("cell", "line", "log"), DECIDED)
def test_the_line_is_set_off_from_its_neighbours(visit: Visitor, cell: str, line: str, log: str) -> None:
    page = visit().open(f"cells/{cell}.html")
    page.locator(f'main a[href^="../logs/{log}.html#L"]').filter(has_text=line).first.click()
    colour = "element => getComputedStyle(element).backgroundColor"
    target = page.locator(":target")
    before = target.locator("xpath=preceding-sibling::*[1]")
    assert target.evaluate(colour) != before.evaluate(colour)


def test_the_same_by_keyboard_alone(visit: Visitor) -> None:
    page = visit(viewport=LAPTOP).open()
    cell, line, log = DECIDED[0]
    page.locator(f'table a[href="cells/{cell}.html"]').focus()
    page.keyboard.press("Enter")
    deciding = page.locator(f'main a[href^="../logs/{log}.html#L"]').filter(has_text=line).first
    expect(page.locator("h1")).to_contain_text(cell.partition("-")[0])
    for _ in range(40):
        page.keyboard.press("Tab")
        if deciding.evaluate("link => link === document.activeElement"):
            break
    expect(deciding).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(":target")).to_contain_text(line)
