"""The page of changes: what a release manager reads on it, and that nothing from outside becomes markup."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from kmatrix.decide.report.changes_page import changes_page
from kmatrix.decide.report.document import document
from kmatrix.decide.report.model import Report
from kmatrix.decide.report.paths import cell_path
from tests.unit.support.made_up_report import NEWER, NEXT, cell, digest_of, small_report
from tests.unit.support.parsed_page import elements, links, tagged

FIRST = small_report()
LATER = "2026-11-22T12:00:00Z"
LAST = "2026-11-23T12:00:00Z"


def after(report: Report, made: str = LATER, **changed: Any) -> Report:
    return replace(report, made=made, previous=json.loads(document(report)), **changed)


def headings(text: str) -> list[str]:
    return [each.words for each in elements(text) if each.tag in ("h1", "h2", "h3")]


def test_a_first_report_says_that_there_is_nothing_to_compare_with() -> None:
    text = changes_page(FIRST)
    assert "There is no previous report to compare with." in tagged(text, "p", "note")[0].words
    assert headings(text) == ["Changes", "Since the previous report", "Newly published images"]


def test_a_report_without_news_says_so() -> None:
    text = changes_page(after(FIRST))
    said = [each.words for each in tagged(text, "p")]
    assert "Compared with the report of 2026-11-21 12:00:00 UTC. Nothing changed." in said


def test_changes_are_counted_and_listed_with_both_sides() -> None:
    cells = (*FIRST.cells[1:-1], replace(FIRST.cells[-1], verdict="failed"), cell("8.3.1", "6.13.1", "errored"))
    releases = (*FIRST.releases[:-1], replace(FIRST.releases[-1], state="published"))
    text = changes_page(after(FIRST, cells=cells, releases=releases))
    said = [each.words for each in tagged(text, "p")]
    assert "1 verdict changed, 1 release changed, 1 new cell, 1 cell gone." in said
    rows = [each.words for each in tagged(text, "tr")]
    assert rows[1:5] == [
        f"Verdict 8.3.1-{NEXT} ✓ passed ✗ failed",
        "Release 4.20.1 x86_64 ? unresolved ✓ published",
        "New cell 8.3.1-6.13.1 none ! errored",
        f"Cell is gone {FIRST.cells[0].cell} ✓ passed none",
    ]
    assert links(text)[f"8.3.1-{NEXT}"] == cell_path(f"8.3.1-{NEXT}")
    assert links(text)["4.20.1 x86_64"] == "index.html#text=4.20.1"
    # Its page is gone, too; the newest images have no link to it either.
    assert FIRST.cells[0].cell not in links(text)


def test_earlier_changes_stand_below_by_the_report_that_found_them() -> None:
    second = after(FIRST, cells=FIRST.cells[1:])
    text = changes_page(after(second, LAST, cells=FIRST.cells[2:]))
    assert headings(text)[-1] == "Earlier changes"
    assert [each.words for each in tagged(text, "summary")] == ["Found by the report of 2026-11-22 12:00:00 UTC"]
    labels = [each.attributes["aria-label"] for each in tagged(text, "table") if "aria-label" in each.attributes]
    assert labels == [f"Changes found by the report of {LAST}", f"Changes found by the report of {LATER}"]


def test_the_newest_images_are_listed_with_their_digests() -> None:
    own = replace(cell("8.3.1", NEWER, number=255), pushed="2026-11-21T10:00:00Z")
    text = changes_page(replace(FIRST, cells=(own, *FIRST.cells[:2])))
    (row, *_) = [each.words for each in tagged(text, "tr")][1:]
    assert row == f"2026-11-21 10:00:00 UTC 8.3.1-{NEWER} sha256:00000000000…"
    titles = [each.attributes.get("title", "") for each in tagged(text, "code")]
    assert f"{own.image}@{digest_of(255)}" in titles


def test_what_is_not_kept_is_counted() -> None:
    many = replace(FIRST, cells=tuple(cell("8.3.1", f"5.{number}", "failed") for number in range(501)))
    second = after(many, cells=())
    text = changes_page(second)
    assert "1 other change since then left out: a report keeps 500." in text
    assert "older" not in text
    text = changes_page(after(second, LAST, cells=many.cells[:2]))
    assert "2 older changes left out: a report keeps the newest 500." in text
    assert "other change" not in text
    assert "left out" not in changes_page(after(FIRST, cells=()))


def test_hostile_text_of_a_previous_report_stays_text() -> None:
    nasty = '"><script>alert(1)</script>'
    previous = json.loads(document(FIRST))
    previous["cells"].append({"cell": nasty, "verdict": nasty, "digest": nasty})
    previous["cells"][0] |= {"verdict": nasty, "digest": nasty}
    previous["releases"].append({"version": nasty, "arch": nasty, "state": nasty})
    previous["changes"] = [{"at": FIRST.made, "kind": "cell-new", "cell": nasty, "from": nasty, "to": nasty}]
    text = changes_page(replace(FIRST, made=LATER, previous=previous))
    assert [each.attributes["src"] for each in tagged(text, "script")] == ["assets/report.js"]
    assert text.count("&lt;script&gt;") > 5
