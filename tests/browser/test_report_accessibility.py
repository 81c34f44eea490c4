"""axe-core finds no fault on any kind of page, light or dark, wide or narrow."""

from __future__ import annotations

from importlib import resources

import pytest

from tests.browser.support.visits import Visitor
from tests.unit.support.made_up_report import ARM, NEWER, NEXT, REAL_TIME

KINDS = (
    "index.html",
    "changes.html",
    "releases.html",
    "kernels.html",
    "findings.html",
    f"cells/7.4.6-{NEXT}.html",
    f"cells/8.3.1-{REAL_TIME}.html",
    f"cells/8.3.1-{ARM}.html",
    f"cells/8.3.1-{NEWER}.html",
    f"logs/7.4.6-{NEXT}.log.html",
)
RULES = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
# It would fetch the style sheets to look into them, which the page's policy forbids.
RUN = """async rules => (await axe.run({preload: false, runOnly: {type: "tag", values: rules}})).violations.flatMap(
  rule => rule.nodes.map(node => `${rule.id}: ${node.target}: ${node.failureSummary}`))"""


@pytest.fixture(scope="session")
def axe() -> str:
    """The script of axe-core."""
    return resources.files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")


@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_fault(visit: Visitor, axe: str, scheme: str, width: int) -> None:
    seen = visit(color_scheme=scheme, viewport={"width": width, "height": 900})
    faults = []
    for path in KINDS:
        page = seen.open(path)
        page.evaluate(axe)
        faults += [f"{path}: {fault}" for fault in page.evaluate(RUN, list(RULES))]
        page.close()
    assert not faults, "\n".join(faults)


def test_axe_finds_a_fault_that_is_put_in(visit: Visitor, axe: str) -> None:
    page = visit().open()
    page.evaluate("() => document.querySelector('nav').insertAdjacentHTML('beforeend', '<img src=\"\">')")
    page.evaluate(axe)
    assert [fault for fault in page.evaluate(RUN, list(RULES)) if fault.startswith("image-alt")]


def test_light_and_dark_differ(visit: Visitor) -> None:
    colours = {
        visit(color_scheme=scheme).open().evaluate("() => getComputedStyle(document.body).color")
        for scheme in ("light", "dark")
    }
    assert len(colours) == 2
