"""Text of others stays text: the page's own policy forbids other script, and none is there to be forbidden."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from kmatrix.decide.report.model import LogText, Report
from kmatrix.decide.report.site import site_files
from kmatrix.effects.disk.site import replace_site
from kmatrix.values.cells import CellResult, Finding
from kmatrix.values.release_result import ReleaseResult
from tests.browser.support.served import served
from tests.browser.support.visits import Visitor, visited
from tests.unit.support.made_up_report import cell, logs_of, small_report

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "' onmouseover=alert(3) autofocus onfocus=alert(4) x='",
    "</title></pre></textarea><svg onload=alert(5)>",
    "<a href=javascript:alert(6)>javascript:alert(7)</a>",
    "{{ 7 * 7 }} ]]> --> \u202ekcab",
    "<iframe src=http://192.0.2.1/></iframe><link rel=stylesheet href=//192.0.2.1/a.css>",
    "<base href=http://192.0.2.1/><meta http-equiv=refresh content='0;url=http://192.0.2.1/'>",
)


def hostile_report() -> Report:
    """Return a report all of whose texts try to become markup."""
    cells = []
    for number, text in enumerate(HOSTILE):
        bad = cell(
            f"8.{number}.{text}", f"5.14.0-{number}.{text}.el9_4.x86_64", "failed", text, (f"4.1{number}.{text}",)
        )
        cells.append(
            replace(
                bad,
                findings=(Finding("boot", text, text, text, text), Finding("build", "compile-error", text)),
                warnings=(Finding("features", text, text),),
                next_step=text,
                image=f"{text}:tag",
                digest=f"sha256:{text}",
                log=f"build/logs/ocp/{bad.cell}.log",
                serial=f"build/logs/ocp/{bad.cell}.serial.log",
                stages={text: 1.0},
                gates={"static": "passed", "boot": "failed"},
                features=(text,),
                abi=text,
                srcversion=text,
                reusable_from=(text,),
                flavour=text,
                stream=text,
                arch=text,
            )
        )
    releases = tuple(
        ReleaseResult(f"4.1{number}.{text}", text, "unresolved", findings=(Finding("release", text, text),), found=text)
        for number, text in enumerate(HOSTILE)
    )
    return replace(small_report(), profile=HOSTILE[0], target=HOSTILE[1], cells=tuple(cells), releases=releases)


def hostile_logs(result: CellResult) -> tuple[LogText, ...]:
    return tuple(replace(log, lines=(*HOSTILE, *log.lines, *HOSTILE)) for log in logs_of(result))


def test_hostile_text_runs_nothing_and_asks_nobody(visit: Visitor, tmp_path: Path) -> None:
    site = tmp_path / "report"
    replace_site(site, site_files(hostile_report(), hostile_logs))
    seen = visit(site)
    page = seen.context.new_page()
    for path in sorted(site.rglob("*.html")):
        page.goto(path.as_uri())
        assert page.locator("h1").count() == 1, path.name
        assert (
            page.locator("script:not([src]), iframe, base, meta[http-equiv=refresh], [onerror], [onload]").count() == 0
        )
        # Whatever waits for the pointer or the focus.
        for link in page.locator("main a:visible").all()[:5]:
            link.hover()
            link.focus()


def test_hostile_text_in_a_search_runs_nothing(visit: Visitor) -> None:
    page = visit().open("index.html")
    page.get_by_role("searchbox", name="Kernel or release").fill(HOSTILE[1])
    page.reload()
    assert page.get_by_role("searchbox", name="Kernel or release").input_value() == HOSTILE[1]


@pytest.mark.parametrize("over_http", [False, True])
@pytest.mark.parametrize(
    "injected",
    [
        "<script>document.title = 'taken'</script>",
        "<img src='data:image/png;base64,x' onerror=\"document.title = 'taken'\" alt=''>",
        "<svg onload=\"document.title = 'taken'\"></svg>",
        "<script src='data:text/javascript,document.title = \"taken\"'></script>",
        "<iframe srcdoc='<script>parent.document.title = \"taken\"</script>'></iframe>",
    ],
)
def test_the_policy_of_a_page_blocks_script_that_is_injected(
    chromium: Browser, small_site: Path, tmp_path: Path, injected: str, over_http: bool
) -> None:
    site = tmp_path / "report"
    shutil.copytree(small_site, site)
    index = site / "index.html"
    index.write_text(index.read_text(encoding="utf-8").replace("</h1>", f"</h1>{injected}", 1), encoding="utf-8")
    if over_http:
        with served(site) as base:
            assert_blocked(chromium, base)
    else:
        assert_blocked(chromium, f"{site.as_uri()}/")


def assert_blocked(chromium: Browser, base: str) -> None:
    with visited(chromium, base) as seen:
        page = seen.open()
        assert page.title() != "taken"
        refused = [each for each in seen.problems if "Content Security Policy" in each]
        assert refused, seen.problems
        seen.problems.clear()
        page.close()
