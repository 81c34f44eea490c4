"""What changed between two reports, and that later reports keep it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from kmatrix.decide.report.document import document
from kmatrix.decide.report.history import MOST_CHANGES, Change, history
from kmatrix.decide.report.model import Report
from tests.unit.support.made_up_report import NEWER, NEXT, OLDER, REAL_TIME, cell, digest_of, small_report

LATER = "2026-11-22T12:00:00Z"
LAST = "2026-11-23T12:00:00Z"


def after(report: Report, made: str = LATER, **changed: Any) -> Report:
    return replace(report, made=made, previous=json.loads(document(report)), **changed)


def test_a_first_report_has_nothing_to_compare_with() -> None:
    told = history(small_report())
    assert (told.compared_with, told.changes) == ("", ())


def test_equal_results_changed_nothing() -> None:
    told = history(after(small_report()))
    assert (told.compared_with, told.changes) == (small_report().made, ())


def test_every_difference_of_a_cell_is_a_change() -> None:
    before = (
        cell("8.3.1", OLDER, number=1),
        cell("8.3.1", NEWER, number=2),
        cell("8.3.1", REAL_TIME, "failed", "it does not compile"),
    )
    now = (
        cell("8.3.1", OLDER, number=7),
        cell("8.3.1", NEXT, "errored", "the engine is unreachable"),
        cell("8.3.1", REAL_TIME, number=9),
    )
    told = history(after(replace(small_report(), cells=before), cells=now))
    assert set(told.changes) == {
        Change(LATER, "published", f"8.3.1-{OLDER}", before=digest_of(1), after=digest_of(7)),
        Change(LATER, "cell-new", f"8.3.1-{NEXT}", after="errored"),
        Change(LATER, "verdict", f"8.3.1-{REAL_TIME}", before="failed", after="passed"),
        Change(LATER, "published", f"8.3.1-{REAL_TIME}", after=digest_of(9)),
        Change(LATER, "cell-gone", f"8.3.1-{NEWER}", before="passed"),
    }


def test_every_difference_of_a_release_is_a_change() -> None:
    report = small_report()
    unresolved, incomplete, gone = report.releases[-1], report.releases[2], report.releases[0]
    now = (
        *(each for each in report.releases if each not in (unresolved, incomplete, gone)),
        replace(incomplete, state="published"),
        replace(unresolved, state="incomplete"),
        replace(unresolved, version="4.20.2"),
    )
    told = history(after(report, releases=now))
    assert told.changes == (
        Change(LATER, "release-new", release="4.20.2", arch="x86_64", after="unresolved"),
        Change(LATER, "release-state", release="4.20.1", arch="x86_64", before="unresolved", after="incomplete"),
        Change(LATER, "release-state", release="4.19.1", arch="x86_64", before="incomplete", after="published"),
        Change(LATER, "release-gone", release="4.16.30", arch="x86_64", before="published"),
    )


def test_a_published_cell_that_the_next_run_skips_is_no_news() -> None:
    report = small_report()
    skipped = tuple(replace(each, verdict="skipped") if each.verdict == "passed" else each for each in report.cells)
    assert history(after(report, cells=skipped)).changes == ()


def test_a_cell_that_lost_its_digest_is_not_said_to_be_published() -> None:
    report = small_report()
    told = history(after(report, cells=(replace(report.cells[0], verdict="failed", digest=""), *report.cells[1:])))
    assert [each.kind for each in told.changes] == ["verdict"]


def test_a_report_made_again_keeps_the_changes_of_those_before() -> None:
    second = after(small_report(), cells=small_report().cells[1:])
    third = after(second, LAST)
    assert history(third).changes == history(second).changes != ()
    back = after(third, LAST, cells=small_report().cells)
    assert [(each.at, each.kind) for each in history(back).changes] == [
        (LAST, "cell-new"),
        (LATER, "cell-gone"),
    ]


def test_equal_changes_are_not_repeated() -> None:
    second = after(small_report(), cells=small_report().cells[1:])
    previous = json.loads(document(second))
    previous["changes"] *= 2
    assert history(replace(second, made=LAST, previous=previous)).changes == history(second).changes


def test_the_newest_changes_are_kept_and_the_others_are_counted() -> None:
    report = replace(small_report(), cells=tuple(cell("8.3.1", f"5.{number}", "failed") for number in range(600)))
    second = after(report, cells=())
    told = history(second)
    assert (len(told.changes), told.left_out, told.left_out_now) == (MOST_CHANGES, 100, 100)
    third = after(second, LAST, cells=report.cells[:1])
    assert [each.at for each in history(third).changes] == [LAST] + [LATER] * (MOST_CHANGES - 1)


def test_of_too_many_changes_those_that_may_need_somebody_are_kept() -> None:
    """A failure and a lost release are no less important because hundreds of images were published meanwhile."""
    report = replace(small_report(), cells=tuple(cell("8.3.1", f"5.{number}") for number in range(700)))
    again = [replace(each, digest=digest_of(1000 + at)) for at, each in enumerate(report.cells)]
    again[-1] = replace(again[-1], verdict="failed", digest="")
    told = history(after(report, cells=tuple(again), releases=report.releases[1:]))
    assert [(each.kind, each.cell or each.release) for each in told.changes[:3]] == [
        ("verdict", again[-1].cell),
        ("release-gone", report.releases[0].version),
        ("published", again[0].cell),
    ]
    assert (len(told.changes), told.left_out) == (MOST_CHANGES, 201)
