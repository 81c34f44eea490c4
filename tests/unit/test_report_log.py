"""The page of a log: its lines have numbers, long logs stay small, and nothing is lost."""

from __future__ import annotations

from kmatrix.decide.report.deciding import Place
from kmatrix.decide.report.log_page import log_page
from kmatrix.decide.report.model import LogText
from kmatrix.decide.report.site import site_files
from tests.unit.support.made_up_report import small_report
from tests.unit.support.parsed_page import links, tagged

REPORT = small_report()
FAILED = next(cell for cell in REPORT.cells if cell.verdict == "failed")


def log(*lines: str) -> LogText:
    return LogText(f"{FAILED.cell}.log", "build and gates", lines)


def place(number: int, name: str = f"{FAILED.cell}.log") -> Place:
    return Place(name, "build and gates", number - 1, ("before", "error", "after"), frozenset({number}))


def show(*lines: str, places: tuple[Place, ...] = ()) -> str:
    return log_page(REPORT, FAILED, log(*lines), places)


def numbers(page: str) -> list[int]:
    return [int(each.attributes["id"][1:]) for each in tagged(page, "li") if "id" in each.attributes]


def test_every_line_has_the_number_of_its_place_and_keeps_its_blanks() -> None:
    page = show("\tone", "  two <b>", "")
    found = [(each.attributes["id"], each.text) for each in tagged(page, "li") if "id" in each.attributes]
    assert found == [("L1", "\tone"), ("L2", "  two <b>"), ("L3", "")]
    assert [each.attributes["start"] for each in tagged(page, "ol", "lines")] == ["1"]


def test_the_page_leads_to_its_cell_to_the_plain_text_and_to_the_deciding_lines() -> None:
    page = show(*map(str, range(9)), places=(place(4), place(7, "another.log")))
    assert links(page)[FAILED.cell] == f"../cells/{FAILED.cell}.html"
    assert links(page)[f"{FAILED.cell}.log as plain text"] == f"../logs/{FAILED.cell}.log.txt"
    assert links(page)["deciding line 4"] == "#L4"
    assert "deciding line 7" not in links(page)
    assert [each.attributes["id"] for each in tagged(page, "li", "decides")] == ["L4"]


def test_a_long_log_has_its_first_last_and_deciding_lines_and_says_what_it_leaves_out() -> None:
    lines = [f"line {number}" for number in range(1, 200_001)]
    page = show(*lines, places=(place(100_000),))
    shown = numbers(page)
    assert len(page) < 1_000_000
    assert {1, 1_000, 99_900, 100_000, 100_100, 198_001, 200_000} <= set(shown)
    assert shown == sorted(set(shown))
    assert [each.text for each in tagged(page, "li") if each.attributes.get("id") == "L100000"] == ["line 100000"]
    left_out = [each.words for each in tagged(page, "p", "gap")]
    assert left_out == ["98,798 lines left out", "97,799 lines left out"]
    assert [each.attributes["data-partial"] for each in tagged(page, "form", "search")] == ["yes"]
    assert f"{200_000 - len(shown):,} of the lines" in page


def test_the_plain_text_of_a_long_log_has_every_line() -> None:
    lines = tuple(f"line {number}" for number in range(20_000))
    whole = log(*lines)
    files = dict(site_files(REPORT, lambda cell: (whole,) if cell == FAILED else ()))
    assert files[f"logs/{FAILED.cell}.log.txt"].splitlines() == [*lines]


def test_places_near_each_other_and_near_the_ends_repeat_no_line() -> None:
    lines = [str(number) for number in range(10_000)]
    places = (place(2), place(1_150), place(5_000), place(5_100), place(9_999))
    shown = numbers(show(*lines, places=places))
    assert shown == sorted(set(shown))
    assert {2, 1_150, 1_350, 5_000, 5_100, 9_999, 10_000} <= set(shown)


def test_a_log_of_five_thousand_lines_is_complete() -> None:
    assert len(numbers(show(*["x"] * 5_000))) == 5_000
    assert len(numbers(show(*["x"] * 5_001))) == 3_000


def test_a_line_of_a_megabyte_is_shortened_on_the_page_alone() -> None:
    page = show("a" * 1_000_000, "b")
    assert len(page) < 10_000
    assert "… 999,000 more characters" in page
    assert "the ends of 1 long line." in page


def test_an_empty_log_is_said_to_be_empty() -> None:
    assert "The log is empty." in show()


def test_the_search_waits_for_the_script() -> None:
    (form,) = tagged(show("a"), "form", "search")
    assert "hidden" in form.attributes
