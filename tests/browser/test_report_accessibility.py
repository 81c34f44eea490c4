"""axe-core finds no fault on any kind of page, light or dark, wide or narrow."""

from __future__ import annotations

from collections import Counter
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from kmatrix.decide.report.model import Report
from kmatrix.decide.report.site import site_files
from kmatrix.effects.disk.site import replace_site
from tests.browser.support.visits import Visitor
from tests.unit.support.made_up_report import ARM, NEWER, NEXT, REAL_TIME, large_report, small_report

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


def told(page: Page) -> list[tuple[str, str]]:
    """Return role and name of everything that Chromium tells a screen reader about the matrix."""
    session = page.context.new_cdp_session(page)
    nodes: list[dict[str, Any]] = session.send("Accessibility.getFullAXTree")["nodes"]
    children = {node["nodeId"]: [*node.get("childIds", ())] for node in nodes}
    below = [node["nodeId"] for node in nodes if node.get("role", {}).get("value") == "table"]
    for each in below:
        below += children[each]
    shown = [node for node in nodes if node["nodeId"] in set(below) and not node["ignored"]]
    return [(str(node["role"]["value"]), str(node.get("name", {}).get("value", ""))) for node in shown]


@pytest.mark.parametrize("script", [True, False])
@pytest.mark.parametrize("report", [small_report(), large_report(9, 3)], ids=["wordy", "dense"])
def test_a_screen_reader_gets_a_table_whose_links_say_client_kernel_and_verdict(
    visit: Visitor, tmp_path: Path, report: Report, script: bool
) -> None:
    """Columns that are many are laid out as no table, and must be told as one all the same."""
    replace_site(tmp_path / "report", site_files(report, lambda _: ()))
    # Without a screen reader Chromium computes nothing for rows far out of sight (content-visibility).
    window = {"width": 1280, "height": 3000}
    found = told(visit(tmp_path / "report", java_script_enabled=script, viewport=window).open())
    names = {name for role, name in found if role == "link"}
    assert names == {f"{each.client} {each.kernel} {each.verdict}" for each in report.cells}
    clients, kernels = ({getattr(each, name) for each in report.cells} for name in ("client", "kernel"))
    roles = Counter(role for role, _ in found)
    assert roles["table"] == 1
    assert roles["columnheader"] == 1 + len(clients)
    assert clients <= {name for role, name in found if role == "columnheader"}
    heads = [name for role, name in found if role == "rowheader"]
    assert all(any(kernel in name for name in heads) for kernel in kernels)
    assert roles["cell"] + roles["gridcell"] == len(clients) * len(kernels)


def test_the_count_of_the_filters_is_told_when_it_changes(visit: Visitor) -> None:
    page = visit().open()
    status = page.get_by_role("status")
    expect(status).to_have_attribute("aria-live", "polite")
    page.get_by_role("checkbox", name="failed").check()
    expect(status).to_have_text("2 of 9 cells shown")
