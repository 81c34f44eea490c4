"""The descriptions of the finding codes, as a page of the report and as sentences on the pages of cells."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from kmatrix.decide.report.findings_page import findings_page
from kmatrix.decide.report.meanings import as_page, codes_of, meanings
from tests.unit.support.made_up_report import cell, large_report, small_report
from tests.unit.support.parsed_page import elements, links, tagged
from tests.unit.test_findings import PAGE, ROOT, entries

REPORT = small_report()
ENTRY = "### some-code\n\nFound by: boot gate. Verdict: failed.\n{text}\nDo: look at `it`.\n"


def test_every_code_of_the_document_has_a_meaning_and_an_anchor() -> None:
    assert codes_of(PAGE) == entries(PAGE).keys() == meanings(PAGE, "").keys()
    anchors = {each.attributes.get("id") for each in elements(findings_page(REPORT))}
    assert codes_of(PAGE) <= anchors


def test_no_link_of_the_page_leads_out_of_it() -> None:
    page = findings_page(REPORT)
    anchors = {each.attributes.get("id") for each in elements(page)}
    for element in tagged(page, "a"):
        target = element.attributes["href"]
        if target.startswith("#"):
            assert target[1:] in anchors, target
        else:
            assert re.fullmatch(r"[\w.]+\.(html|json|xml)|findings\.html#[\w-]+|cells/[^/]+\.html", target), target


def test_a_code_is_explained_in_sentences_with_links_to_other_codes() -> None:
    found = meanings(PAGE, "../findings.html")["mount-log-dirty"]
    assert found.found_by == "mount gate"
    assert '<a href="../findings.html#log-dirty">log-dirty</a>' in found.text
    assert found.next_step.startswith("As for ")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<script>x</script>", "&lt;script&gt;x&lt;/script&gt;"),
        ("<b onclick=x>y</b>", "&lt;b onclick=x&gt;y&lt;/b&gt;"),
        ("[words](javascript:x)", "[words](javascript:x)"),
        ("[words](https://host/x)", "words"),
        ("[words](gates.md#y)", "words (in the project's docs/gates.md)"),
        ("[words](#nowhere)", "words"),
        ("![words](picture.png)", "!words"),
    ],
)
def test_markup_stays_text_and_foreign_links_are_words(text: str, shown: str) -> None:
    markdown = ENTRY.format(text=text)
    assert meanings(markdown, "f.html")["some-code"].text == shown
    assert shown in as_page(markdown)


def test_the_page_says_whose_files_its_paths_are() -> None:
    """A reader of a published report has no checkout, and none of its files."""
    page = findings_page(REPORT)
    (note,) = tagged(page, "p", "note")
    assert "are files of its checkout and no part of this report" in note.words
    told = ("build/", "docs/", "images/beegfs-client/", "scripts/kmatrix/", "matrix.yaml", "matrix.lock")
    assert all(each in note.words for each in told)
    words = {code.words.partition("#")[0] for code in tagged(page, "code")}
    ours = {word for word in words if word and not word.startswith("/") and (ROOT / word).is_file()}
    assert "images/beegfs-client/build-module" in ours
    assert [word for word in ours if not word.startswith(told)] == []


def test_a_table_has_no_styles() -> None:
    assert "style" not in as_page("# T\n\n| a |\n| --: |\n| b |\n")
    assert "<td>b</td>" in as_page("# T\n\n| a |\n| --: |\n| b |\n")


def test_the_page_names_the_codes_of_the_report_and_their_cells() -> None:
    page = findings_page(REPORT)
    rows = [each.words for each in tagged(page, "tr")]
    assert rows[1].startswith("compile-error 1 ✗ failed 7.4.6-")
    assert "release-unresolved 0 release 4.20.1 (x86_64)" in rows
    failed = next(each for each in REPORT.cells if each.verdict == "failed")
    assert links(page)[failed.cell] == f"cells/{failed.cell}.html"


def test_of_many_cells_with_one_code_some_are_named() -> None:
    finding = next(each for each in REPORT.cells if each.findings).findings[0]
    cells = tuple(replace(cell("8.3.1", f"5.14.0-{n}", "failed"), findings=(finding,)) for n in range(40))
    page = findings_page(replace(large_report(1, 1), cells=cells, meanings=PAGE))
    assert "and 30 more" in page
    assert page.count('href="cells/') == 10


def test_a_report_without_the_document_or_without_findings_says_so() -> None:
    page = findings_page(replace(REPORT, meanings="", codes=frozenset(), cells=(), releases=()))
    assert "The descriptions are not known" in page
    assert "No cell and no release has a finding" in page
