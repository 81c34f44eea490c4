"""The page of releases: its table, its chart with any number of points, and that hostile text stays text."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kmatrix.decide.report.model import Report
from kmatrix.decide.report.paths import cell_path
from kmatrix.decide.report.release_chart import BOTTOM, LEFT, RIGHT, TOP, release_chart
from kmatrix.decide.report.releases_page import releases_page
from kmatrix.values.cells import Finding
from kmatrix.values.release_result import ReleaseResult
from tests.unit.support.made_up_report import (
    ARM,
    NEWER,
    NEXT,
    OLDER,
    REAL_TIME,
    large_report,
    pending_cell,
    small_report,
)
from tests.unit.support.parsed_page import elements, links, tagged

REPORT = replace(small_report(), codes=frozenset({"release-unresolved"}))


def published(number: int, minutes: float | None, at: str = "") -> ReleaseResult:
    at = at or f"2026-{1 + number // 28:02}-{1 + number % 28:02}T10:00:00Z"
    return ReleaseResult(f"4.16.{number}", "x86_64", "published", published=at, minutes_from_appearance=minutes)


def show(*releases: ReleaseResult, report: Report = REPORT) -> str:
    return releases_page(replace(report, releases=releases))


def test_releases_are_listed_newest_first_with_state_times_and_cells() -> None:
    text = releases_page(REPORT)
    rows = [each.words for each in tagged(text, "tr")][1:]
    assert rows[0] == (
        "4.20.1 x86_64 ? unresolved Its payload cannot be read: no such manifest release-unresolved "
        "2026-11-21 09:00:00 UTC not yet not known not known"
    )
    assert (
        rows[1]
        == f"4.20.0 x86_64 ◐ incomplete {NEXT} ✓ 8.3.1 passed ✗ 7.4.6 failed not known not yet not known not known"
    )
    assert rows[2].startswith(f"4.19.1 aarch64 ◐ incomplete {ARM} ! 8.3.1 errored")
    # The newest kernel of a release comes first.
    assert rows[3].index(REAL_TIME) < rows[3].index(f"{NEWER} ✓")
    assert rows[4].endswith("2026-10-20 10:00:00 UTC 2026-10-20 10:45:00 UTC 2 h 45 min 45 min")
    assert rows[5].startswith(f"4.16.30 x86_64 ✓ published {OLDER}")
    assert links(text)["release-unresolved"] == "findings.html#release-unresolved"


def test_kernels_lead_to_the_matrix_and_clients_to_their_cells() -> None:
    text = releases_page(REPORT)
    targets = [each.attributes["href"] for each in tagged(text, "a")]
    assert "index.html#text=5.14.0-570.12.1.el9_6.x86_64%2Brt" in targets
    assert {cell_path(f"8.3.1-{REAL_TIME}"), cell_path(f"7.4.6-{NEXT}")} <= set(targets)


def test_of_many_clients_those_with_a_fault_are_linked_and_the_others_counted() -> None:
    report = large_report(40, 30)
    kernel = report.releases[0].kernels[0]
    own = [cell for cell in report.cells if cell.kernel == kernel]
    broken = [cell for cell in own if cell.verdict in ("failed", "errored")]
    text = releases_page(replace(report, releases=report.releases[:1]))
    assert f"{40 - len(broken)} of 40 clients" in tagged(text, "tr")[1].words
    assert len(tagged(text, "a", "cell")) == min(6, len(broken))


def test_what_is_not_built_yet_is_neither_good_nor_a_fault() -> None:
    waiting = [pending_cell("9.0.0", ARM), pending_cell("9.0.1", ARM)]
    text = releases_page(replace(REPORT, pending=tuple(waiting)))
    (row,) = [each.words for each in tagged(text, "tr") if each.words.startswith("4.19.1 aarch64")]
    assert f"{ARM} 0 of 3 clients ! 8.3.1 errored 2 not built yet" in row
    assert text.count("not built yet") == 1


def test_a_kernel_without_cells_says_so() -> None:
    gone = ReleaseResult("4.1.1", "x86_64", "incomplete", kernels=("5.1",))
    assert "5.1 no cells" in tagged(show(gone), "tr")[1].words


def test_without_releases_the_page_says_so() -> None:
    text = show()
    assert tagged(text, "table") == []
    assert "The results name no release yet." in [each.words for each in tagged(text, "p", "note")]


@pytest.mark.parametrize("number", [1, 2, 3, 500])
def test_every_point_of_the_chart_is_within_its_axes(number: int) -> None:
    text = show(*(published(each % 300, float(each * 7 % 4001)) for each in range(number)))
    circles = tagged(text, "circle")
    assert len(circles) == number
    for each in circles:
        assert LEFT <= float(each.attributes["cx"]) <= RIGHT
        assert TOP <= float(each.attributes["cy"]) <= BOTTOM
    marks = [each.words for each in tagged(text, "text")]
    assert {"0 min", "time until published", "day of publication"} <= set(marks)
    assert len([each for each in tagged(text, "line") if "class" not in each.attributes]) <= 6


def test_the_chart_has_a_title_and_says_its_numbers_in_words() -> None:
    text = show(published(1, 0.0), published(2, 165.0), published(3, 4000.0), published(4, 30.0))
    said = "4 releases: median 1 h 38 min, longest 2 d 19 h (4.16.3, x86_64), last 30 min (4.16.4, x86_64)."
    assert said in tagged(text, "desc")[0].words
    assert any(said in each.words for each in tagged(text, "p"))
    (svg,) = tagged(text, "svg")
    ids = {each.attributes.get("id") for each in elements(text)}
    assert set(svg.attributes["aria-labelledby"].split()) <= ids
    assert tagged(text, "circle")[1].words == "4.16.2, x86_64: 2 h 45 min"


def test_one_point_is_one_release_without_a_median() -> None:
    text = show(published(1, 45.0))
    assert "One release: 45 min (4.16.1, x86_64)." in tagged(text, "desc")[0].words
    assert tagged(text, "line", "middle") == []


def test_all_at_once_and_at_zero_minutes_is_drawn_too() -> None:
    at = "2026-01-01T00:00:00Z"
    chart = release_chart([published(1, 0.0, at), published(2, 0.0, at), published(3, 0.0, at)])
    assert chart
    assert {(each.x, each.y) for each in chart.points} == {((LEFT + RIGHT) / 2, float(BOTTOM))}
    assert [each.label for each in chart.days] == ["2026-01-01"]


@pytest.mark.parametrize("minutes", [None, float("nan"), float("inf"), -1.0])
def test_a_time_that_is_none_is_no_point(minutes: float | None) -> None:
    assert release_chart([published(1, minutes)]) is None
    assert "No time is known yet" in show(published(1, minutes))


def test_a_release_whose_publication_is_not_known_is_no_point() -> None:
    assert release_chart([published(1, 5.0, "soon")]) is None


def test_hostile_text_stays_text() -> None:
    nasty = '"><script>alert(1)</script>'
    odd = ReleaseResult(
        *(nasty, nasty, "published", (nasty,), (nasty,), (Finding("x", nasty, nasty),), nasty, nasty),
        published="2026-01-01T00:00:00Z",
        minutes_from_appearance=5.0,
    )
    text = show(odd)
    assert [each.attributes["src"] for each in tagged(text, "script")] == ["assets/report.js"]
    assert len(tagged(text, "circle")) == 1


def test_nothing_has_a_style_of_its_own() -> None:
    text = show(published(1, 5.0), *REPORT.releases)
    assert not [each for each in elements(text) if "style" in each.attributes or each.tag == "style"]


def test_a_blank_parts_the_count_of_clients_from_the_first_link() -> None:
    page = releases_page(large_report(8, 12))
    assert "of 8 clients</span> " in page
    assert "</span><a" not in page
