"""The report's first page: what it names on top, the order of the matrix, its size, and that text stays text."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from typing import Any

import pytest

from kmatrix.decide.report.coverage import newest_releases, troubles
from kmatrix.decide.report.grid import VERDICTS, choices, make_grid, newest_first
from kmatrix.decide.report.matrix_page import LISTED_TROUBLES, bar, matrix_page
from kmatrix.decide.report.model import Report
from kmatrix.decide.report.pages import asset
from kmatrix.decide.report.paths import cell_path
from kmatrix.values.cells import Finding
from kmatrix.values.release_result import ReleaseResult
from tests.unit.support.made_up_report import (
    ARM,
    COMPILER_LINE,
    GATES,
    NEWER,
    NEXT,
    OLDER,
    REAL_TIME,
    cell,
    large_report,
    pending_cell,
    small_report,
)

HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>&{{ 7 * 7 }}"
_VOID = {"meta", "link", "input", "wbr", "img", "br"}


@dataclass
class Element:
    """An element of a page, with its children and text in their order."""

    tag: str
    attributes: dict[str, str]
    children: list[Element | str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """Its text, with one blank for each run of blanks."""
        parts = (each if isinstance(each, str) else each.text and f" {each.text} " for each in self.children)
        return " ".join("".join(parts).split())

    def all(self, tag: str, **attributes: str) -> list[Element]:
        """Return the elements below it with a tag and attributes; one of the classes is enough."""
        found = []
        for each in self.children:
            if isinstance(each, Element):
                if each.tag == tag and all(
                    value in each.attributes.get(name.rstrip("_"), "").split() for name, value in attributes.items()
                ):
                    found.append(each)
                found += each.all(tag, **attributes)
        return found

    def one(self, tag: str, **attributes: str) -> Element:
        """Return the only such element below it."""
        (found,) = self.all(tag, **attributes)
        return found


class Tree(HTMLParser):
    """Builds the elements of a page whose end tags are all there."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.root = Element("", {})
        self._open = [self.root]
        self.feed(text)
        self.close()
        assert self._open == [self.root], "an element is not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in _VOID:
            added = self._open[-1].children[-1]
            assert isinstance(added, Element)
            self._open.append(added)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open[-1].children.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        self._open[-1].children.append(data)


def parsed(report: Report) -> Element:
    return Tree(matrix_page(report)).root


def lines(page: Element) -> list[list[str]]:
    """Return the matrix: for each row its heading, then the verdicts."""
    body = page.one("table", id="cells")
    return [[each.text for each in row.all("th") + row.all("td")] for row in body.all("tr")]


def attention(page: Element) -> list[str]:
    return [item.text for each in page.all("ul", class_="troubles") for item in each.all("li")]


def test_kernels_stand_below_their_newest_minor_and_everything_is_newest_first() -> None:
    assert lines(parsed(small_report())) == [
        ["Kernel", "8.3.1", "7.4.6"],
        ["OpenShift 4.20 1 kernel ✗ failed 1"],
        [f"{NEXT} el10 4.20.0", "passed", "failed"],
        ["OpenShift 4.19 3 kernels ✗ failed 1 ! errored 1"],
        [f"{REAL_TIME} rt 4.19.1", "failed", "passed"],
        [f"{NEWER} 4.19.1", "passed", "skipped"],
        [f"{ARM} aarch64 64k 4.19.1", "errored", ""],
        ["OpenShift 4.16 1 kernel"],
        [f"{OLDER} 4.16.31, 4.16.30", "passed", "passed"],
    ]


def test_every_cell_is_a_link_to_its_page_that_says_its_verdict() -> None:
    report = small_report()
    table = parsed(report).one("table", id="cells")
    links = {each.attributes["href"]: each for cells in table.all("td") for each in cells.all("a")}
    assert {path: link.text for path, link in links.items()} == {
        cell_path(each.cell): each.verdict for each in report.cells
    }
    titled = {path: link.attributes["title"] for path, link in links.items() if "title" in link.attributes}
    assert titled == {
        cell_path(each.cell): each.reason for each in report.cells if each.verdict in ("failed", "errored")
    }


def test_headings_of_the_matrix_have_their_scope() -> None:
    table = parsed(small_report()).one("table", id="cells")
    assert table.attributes["aria-label"]
    assert [each.attributes["scope"] for each in table.one("thead").all("th")] == ["col"] * 3
    for body in table.all("tbody"):
        scopes = [each.attributes["scope"] for each in body.all("th")]
        assert scopes == ["rowgroup"] + ["row"] * (len(scopes) - 1)
        assert body.all("th")[0].attributes["colspan"] == "3"


def test_a_kernel_of_several_minors_stands_below_the_newest_and_says_so() -> None:
    releases = ("4.9.0", "4.16.2", "4.16.10", "4.17.0-rc.1", "4.17.0")
    report = replace(small_report(), cells=(cell("8.3.1", OLDER, releases=releases),))
    page = parsed(report)
    assert lines(page)[1:] == [
        ["OpenShift 4.17 1 kernel"],
        [f"{OLDER} also 4.16 also 4.9 4.17.0 and 4 older 4.17.0-rc.1, 4.16.10, 4.16.2, 4.9.0", "passed"],
    ]
    assert page.one("tr", **{"data-arch": "x86_64"}).attributes["data-minor"] == "4.17 4.16 4.9"


def test_a_kernel_without_a_release_is_still_there() -> None:
    report = replace(small_report(), cells=(cell("8.3.1", OLDER, releases=()), cell("8.3.1", NEXT)))
    assert [row[0] for row in lines(parsed(report))][3:] == ["No release 1 kernel", OLDER]


@pytest.mark.parametrize(
    ("versions", "ordered"),
    [
        (["4.9", "4.20", "4.16"], ["4.20", "4.16", "4.9"]),
        (["8.3.1", "8.10.0", "7.4.6"], ["8.10.0", "8.3.1", "7.4.6"]),
        (["4.17.0-rc.1", "4.17.0", "4.17.0-ec.2"], ["4.17.0", "4.17.0-rc.1", "4.17.0-ec.2"]),
        (["nonsense", "4.16.1", ""], ["4.16.1", "nonsense", ""]),
    ],
)
def test_versions_are_ordered_as_versions(versions: list[str], ordered: list[str]) -> None:
    assert newest_first(versions) == ordered


def test_the_newest_release_of_each_architecture_is_on_top_with_its_coverage() -> None:
    cards = [each.text for each in parsed(small_report()).all("section", class_="card")]
    assert cards[0].startswith(
        "Newest OpenShift release, x86_64 4.20.1 ? unresolved its payload cannot be read: no such manifest"
    )
    assert "Before it: 4.20.0 ◐ incomplete 1 of 2 cells covered" in cards[0]
    assert cards[0].endswith("✓ 8.3.1 1 of 1 kernel ✗ 7.4.6 0 of 1 kernel")
    assert cards[1] == "Newest OpenShift release, aarch64 4.19.1 ◐ incomplete 0 of 1 cell covered ! 8.3.1 0 of 1 kernel"
    assert cards[2].endswith("2 client versions, 5 kernels, 6 releases ✗ 2 failed ! 1 errored ✓ 5 passed ↷ 1 skipped")


def test_a_cell_that_passed_and_is_not_pushed_is_named_on_top() -> None:
    report = small_report()
    cells = tuple(replace(each, digest="") if each.kernel == NEXT else each for each in report.cells)
    (first, *_) = newest_releases(report.releases, cells, GATES)
    assert first.with_cells is not None
    assert (first.with_cells.good, first.with_cells.cells, first.with_cells.unpushed) == (1, 2, 1)
    assert "1 cell passed and not pushed yet." in parsed(replace(report, cells=cells)).text


def test_a_cell_that_passed_without_some_gate_covers_nothing() -> None:
    """As one that was built with `--no-boot`: the run passed it, and nobody has seen it load."""
    report = small_report()
    quick = [
        replace(each, digest="", gates={"static": "passed"}) if each.kernel == NEXT else each for each in report.cells
    ]
    page = parsed(replace(report, cells=tuple(quick)))
    (card, *_) = [each.text for each in page.all("section", class_="card")]
    assert "0 of 2 cells covered" in card
    assert "◐ 8.3.1 0 of 1 kernel" in card
    assert "1 cell not fully tested: a gate was left out." in card
    assert "not pushed yet" not in card


def test_cells_of_another_architecture_cover_nothing() -> None:
    both = ReleaseResult("4.19.1", "aarch64", "incomplete"), ReleaseResult("4.19.1", "x86_64", "published")
    found = newest_releases(both, small_report().cells, GATES)
    assert [(each.newest.release.arch, each.newest.good, each.newest.cells) for each in found] == [
        ("x86_64", 3, 4),
        ("aarch64", 0, 1),
    ]


def test_what_is_broken_is_named_with_its_reason_and_linked() -> None:
    page = parsed(small_report())
    assert attention(page) == [
        "? unresolved 4.20.1 (x86_64): its payload cannot be read: no such manifest release-unresolved",
        f"✗ failed build: {COMPILER_LINE} 7.4.6 on {NEXT}",
        f"✗ failed boot: oops: BUG: unable to handle page fault 8.3.1 on {REAL_TIME}",
        f"! errored the container engine is unreachable 8.3.1 on {ARM}",
    ]
    links = [each.attributes["href"] for part in page.all("ul", class_="troubles") for each in part.all("a")]
    assert links[0] == "findings.html#release-unresolved"
    assert links[1:] == [cell_path(f"{client}-{kernel}") for client, kernel in _BROKEN]
    assert page.one("p", class_="lead").text == "✗ 3 of 9 cells and 1 release need attention ."


def notes(report: Report) -> str:
    return " ".join(each.text for each in parsed(report).all("p", class_="muted"))


def test_a_stranger_reads_what_the_words_mean_that_are_used_and_no_others() -> None:
    report = small_report()
    assert "A cell is one BeeGFS client version for one kernel." in notes(report)
    words = ["Failed: the client", "Errored: something else", "Unresolved: the kernels", "Mismatch: the toolkit"]
    assert [word for word in words if word in notes(report)] == words[:3]
    mismatch = ReleaseResult("4.21.0", "x86_64", "mismatch")
    errored = tuple(each for each in report.cells if each.verdict == "errored")
    said = notes(replace(report, cells=errored, releases=(mismatch,)))
    assert [word for word in words if word in said] == [words[1], words[3]]
    good = tuple(each for each in report.cells if each.verdict == "passed")
    assert not any(word in notes(replace(report, cells=good, releases=())) for word in words)


_BROKEN = (("7.4.6", NEXT), ("8.3.1", REAL_TIME), ("8.3.1", ARM))


def test_a_release_whose_toolkit_lacks_its_kernel_is_named() -> None:
    mismatch = ReleaseResult(
        *("4.21.0", "x86_64", "mismatch"),
        findings=(Finding("release", "toolkit-kernel-mismatch", "the toolkit has 5.14.0-1, the nodes run 5.14.0-2"),),
    )
    report = replace(small_report(), releases=(*small_report().releases, mismatch))
    said = "≠ mismatch 4.21.0 (x86_64): the toolkit has 5.14.0-1, the nodes run 5.14.0-2 toolkit-kernel-mismatch"
    assert attention(parsed(report))[0] == said


def test_cells_with_one_reason_are_named_together_and_long_lists_end_with_a_count() -> None:
    many = tuple(
        cell(f"8.0.{number}", NEWER, "failed", f"reason {number // 2}") for number in range(2 * LISTED_TROUBLES + 6)
    )
    same = tuple(cell(f"7.0.{number}", NEWER, "errored", "the engine went away") for number in range(7))
    items = attention(parsed(replace(small_report(), releases=(), cells=many + same)))
    assert len(items) == LISTED_TROUBLES + 1
    assert items[0] == f"✗ failed 2 cells : reason 14 8.0.29 on {NEWER} , 8.0.28 on {NEWER}"
    assert items[-1] == "and 4 other reasons, of 13 cells, in the matrix"
    rare = cell("9.0.0", NEXT, "errored", "rare")
    assert [(each.verdict, each.size) for each in troubles((rare, *same, *many[:3]))] == [
        *(("failed", 2), ("failed", 1)),
        *(("errored", 7), ("errored", 1)),
    ]
    (only,) = troubles(same)
    assert (only.size, only.verdict) == (7, "errored")
    assert attention(parsed(replace(small_report(), releases=(), cells=same)))[0].endswith("and 3 more in the matrix")


def test_a_good_matrix_says_so_and_lists_nothing() -> None:
    report = replace(small_report(), cells=(cell("8.3.1", OLDER),), releases=small_report().releases[:2])
    page = parsed(report)
    assert page.one("p", class_="lead").text == "✓ No cell failed or is errored, and every release is resolved."
    assert attention(page) == []


def test_a_report_without_cells_or_releases_is_a_page() -> None:
    assert "There are no cells." in parsed(replace(small_report(), cells=(), releases=())).text


def test_the_filters_are_those_that_have_a_choice_and_need_script() -> None:
    assert choices(make_grid(small_report().cells)) == {
        "minor": ["4.20", "4.19", "4.16"],
        "client": ("8.3.1", "7.4.6"),
        "arch": ["x86_64", "aarch64"],
        "flavour": ["standard", "64k", "rt"],
        "stream": ["el9", "el10"],
    }
    assert choices(make_grid((cell("8.3.1", OLDER),))) == {}
    form = parsed(small_report()).one("form")
    assert "hidden" in form.attributes
    names = dict.fromkeys(each.attributes["name"] for each in form.all("input"))
    assert list(names) == ["verdict", "minor", "client", "arch", "flavour", "stream", "text"]
    assert form.one("p", role="status").text == "9 of 9 cells shown"


def test_a_bar_fills_its_width() -> None:
    assert bar({"failed": 1, "errored": 0, "passed": 2, "skipped": 1}) == [
        ("skipped", 0.0, 25.0),
        ("passed", 25.0, 50.0),
        ("failed", 75.0, 25.0),
    ]
    assert bar(dict.fromkeys(VERDICTS, 0)) == []


def test_hostile_text_stays_text() -> None:
    bad = replace(
        cell(f"8.3.1{HOSTILE}", f"5.14.0-1.el9{HOSTILE}", "failed", HOSTILE, (f"4.20.0{HOSTILE}",)),
        arch=HOSTILE,
        flavour=HOSTILE,
        stream=HOSTILE,
    )
    release = ReleaseResult(
        HOSTILE, HOSTILE, "unresolved", findings=(Finding("release", HOSTILE, HOSTILE, HOSTILE, HOSTILE),)
    )
    report = replace(
        small_report(), profile=HOSTILE, version=HOSTILE, cells=(*small_report().cells, bad), releases=(release,)
    )
    page = parsed(report)
    assert [each.attributes for each in page.all("script")] == [
        each.attributes for each in parsed(small_report()).all("script")
    ]
    assert page.all("img") == []
    assert page.text.count(HOSTILE) > 10
    for element in _everything(page):
        assert not [name for name in element.attributes if name.startswith("on") or name == "style"]
        assert not element.attributes.get("href", "").lower().startswith("javascript:")


def _everything(element: Element) -> list[Element]:
    below = [each for each in element.children if isinstance(each, Element)]
    return below + [each for child in below for each in _everything(child)]


def test_a_matrix_of_ten_thousand_cells_stays_small() -> None:
    """The aim is 2,000,000 bytes with all that the page loads; kernels have long names here."""
    report = large_report(40, 250)
    text = matrix_page(report)
    size = sum(len(each.encode()) for each in (text, *map(asset, ("style.css", "report.js", "matrix.js"))))
    assert size < 1_600_000
    assert text.count("<td><a ") == 10_000
    # Its columns have signs alone, as words would not fit.
    assert '<div class="matrix dense"' in text
    assert '<div class="matrix wordy"' in matrix_page(small_report())


def test_nothing_is_loaded_from_elsewhere() -> None:
    page = parsed(small_report())
    loaded = [each.attributes["src"] for each in page.all("script")]
    loaded += [each.attributes["href"] for each in page.all("link")]
    assert loaded == ["assets/report.js", "assets/matrix.js", "assets/style.css", "feed.xml"]
    style = asset("style.css")
    assert "url(" not in style
    assert "@import" not in style


def test_a_release_whose_cells_are_not_all_finished_is_not_called_complete() -> None:
    """A report can be made while a build runs: the first cell that passes does not cover the release."""
    report = replace(
        small_report(),
        cells=(cell("8.3.1", NEWER),),
        releases=(ReleaseResult("4.19.1", "x86_64", "incomplete", ("el9",), (NEWER,)),),
    )
    page = parsed(report)
    assert page.one("p", class_="lead").text.startswith("◐ 1 release is incomplete")
    assert page.one("p", class_="legend").text.endswith("not planned")


def partly_built() -> Report:
    """A report of a build that has finished one of three cells."""
    pending = (pending_cell("8.3.1", NEXT, ("4.19.1",)), pending_cell("7.4.6", NEWER))
    release = ReleaseResult("4.19.1", "x86_64", "incomplete", ("el9",), (NEWER, NEXT))
    return replace(small_report(), cells=(cell("8.3.1", NEWER),), pending=pending, releases=(release,))


def test_planned_cells_that_are_not_built_yet_are_counted_and_have_a_sign_and_words() -> None:
    page = parsed(partly_built())
    assert page.one("p", class_="lead").text.endswith("2 of 3 planned cells are not built yet.")
    newest, every = (each.text for each in page.all("section", class_="card"))
    assert "1 of 3 cells covered" in newest
    assert "○ 8.3.1 1 of 2 kernels" in newest
    assert "○ 7.4.6 0 of 1 kernel" in newest
    assert newest.endswith("2 cells not built yet.")
    assert every == "All cells 3 2 client versions, 2 kernels, 1 release ○ 2 not built yet ✓ 1 passed"
    assert lines(page)[1:] == [
        ["OpenShift 4.19 2 kernels"],
        [f"{NEXT} el10 4.19.1", "not built yet", ""],
        [f"{NEWER} 4.19.1", "passed", "not built yet"],
    ]
    # They have no page yet.
    table = page.one("table", id="cells")
    assert [each.text for each in table.all("td") if each.all("a")] == ["passed"]
    assert "○ not built yet" in page.one("p", class_="legend").text
    boxes = [each.attributes["value"] for each in page.one("form").all("input", name="verdict")]
    assert boxes == ["pending", "passed"]
    assert page.one("p", role="status").text == "3 of 3 cells shown"


def test_without_a_failure_a_plan_that_is_not_built_is_not_called_good() -> None:
    report = replace(partly_built(), releases=())
    said = "○ No cell failed or is errored. 2 of 3 planned cells are not built yet."
    assert parsed(report).one("p", class_="lead").text == said


@pytest.mark.parametrize("state", ["published", "incomplete"])
def test_where_the_plan_is_not_known_nothing_is_called_complete(state: Any) -> None:
    releases = (ReleaseResult("4.19.1", "x86_64", state, ("el9",), (NEWER,)),)
    page = parsed(replace(partly_built(), pending=None, releases=releases))
    said = "? No known cell failed or is errored. How many cells are planned is not known."
    assert page.one("p", class_="lead").text == said
    newest, every = (each.text for each in page.all("section", class_="card"))
    assert "1 of 1 known cell covered" in newest
    assert newest.endswith("How many cells are planned is not known.")
    assert every.startswith("Known cells 1")
    assert page.one("p", class_="legend").text.endswith("no result: not planned, or not built yet")
    broken = parsed(replace(partly_built(), pending=None, cells=(cell("8.3.1", NEWER, "failed", "no"),)))
    said = "✗ 1 of 1 known cell needs attention . How many cells are planned is not known."
    assert broken.one("p", class_="lead").text == said
