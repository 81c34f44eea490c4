"""The report's pages are valid HTML, and every link in them leads to something that is there."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from posixpath import dirname, normpath
from urllib.parse import unquote, urlsplit
from xml.etree.ElementTree import Element

import html5lib
import pytest

from kmatrix.decide.report.paths import INDEX
from kmatrix.decide.report.site import site_files
from tests.unit.support.made_up_report import logs_of, small_report
from tests.unit.support.programs import needs

FILES = dict(site_files(small_report(), logs_of))
PAGES = {path: text for path, text in FILES.items() if path.endswith(".html")}
# Of each kind of page one: those of a kind come from one template.
KINDS = {re.sub(r"/.*", "/", path): path for path in PAGES}
# What the fragment of the matrix may filter by, as assets/matrix.js reads it.
FILTERS = ("verdict", "minor", "client", "arch", "flavour", "stream", "text")
HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
# What tidy 5.6 (of 2017) calls a fault although today's HTML standard does not.
FALSE_ALARMS = (
    # Its table of attributes of ARIA is that of version 1.0; aria-current came with 1.1.
    'proprietary attribute "aria-current"',
    # The title of an inline SVG, which it takes for the page's.
    '<title> proprietary attribute "id"',
)

every_page = pytest.mark.parametrize("path", PAGES)
every_kind = pytest.mark.parametrize("path", KINDS.values(), ids=KINDS.keys())


def parsed(path: str) -> Element:
    """Return the document of a page; a parse error of the HTML standard fails the test."""
    parser = html5lib.HTMLParser(html5lib.getTreeBuilder("etree"), strict=True, namespaceHTMLElements=False)
    document: Element = parser.parse(PAGES[path])
    return document


def links(path: str) -> Iterator[str]:
    """Yield the targets of everything that a page links or loads."""
    for element in parsed(path).iter():
        yield from (element.attrib[name] for name in ("href", "src", "action", "data") if name in element.attrib)


@every_page
def test_a_page_has_no_parse_error_and_no_id_twice(path: str) -> None:
    ids = Counter(element.attrib["id"] for element in parsed(path).iter() if "id" in element.attrib)
    assert [name for name, count in ids.items() if count > 1] == []


@every_page
def test_every_link_leads_to_a_file_and_a_place_that_are_there(path: str) -> None:
    for link in links(path):
        parts = urlsplit(link)
        assert not parts.scheme, f"{link}: the site asks nobody else"
        assert not parts.netloc, f"{link}: the site asks nobody else"
        target = normpath(f"{dirname(path)}/{unquote(parts.path)}".lstrip("/")) if parts.path else path
        assert target in FILES, f"{link} leads to no file"
        if "=" in parts.fragment:
            assert target == INDEX, f"{link}: the matrix alone has filters"
            assert parts.fragment.partition("=")[0] in FILTERS
        elif parts.fragment and target in PAGES:
            ids = {element.attrib.get("id") for element in parsed(target).iter()}
            assert unquote(parts.fragment) in ids, f"{link} leads to no place"


@every_page
def test_no_punctuation_is_parted_from_its_word_by_the_ground_of_a_verdict(path: str) -> None:
    assert re.findall(r'<span class="verdict [a-z]+">.*?</span> [a-z]+</span>[:;,.].*', PAGES[path]) == []


@every_page
def test_headings_go_down_by_one(path: str) -> None:
    levels = [int(element.tag[1]) for element in parsed(path).iter() if element.tag in HEADINGS]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert [(before, level) for before, level in pairwise(levels) if level > before + 1] == []


@every_kind
def test_tables_have_a_name_and_their_headings_a_direction(path: str) -> None:
    for table in parsed(path).iter("table"):
        assert table.find("caption") is not None or {"aria-label", "aria-labelledby"} & set(table.attrib)
        assert [each for each in table.iter("th") if "scope" not in each.attrib] == []


@every_page
def test_nothing_is_inline_that_the_security_policy_forbids(path: str) -> None:
    for element in parsed(path).iter():
        assert element.tag != "style"
        assert element.tag != "script" or (element.attrib.get("src") and not element.text)
        assert [name for name in element.keys() if name == "style" or name.startswith("on")] == []  # noqa: SIM118


@needs("tidy")
@every_kind
def test_tidy_finds_no_fault(path: str, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(PAGES[path], encoding="utf-8")
    command = ["tidy", "-errors", "-quiet", "-utf8", "--drop-empty-elements", "no", str(page)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert [line for line in done.stderr.splitlines() if not re.search("|".join(FALSE_ALARMS), line)] == []
