"""What a report calls news has happened: it announces no image, verdict, cell or release twice or on a guess."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from kmatrix.decide.report import history as module
from kmatrix.decide.report.document import document, read_document
from kmatrix.decide.report.feed import feed
from kmatrix.decide.report.history import Change, history
from kmatrix.decide.report.model import Report
from tests.unit.support.made_up_report import NEWER, OLDER, cell, digest_of, pending_cell, small_report

CELL = cell("8.3.1", OLDER, number=5)
OTHER = cell("8.3.1", NEWER, number=6)
REPORT = replace(small_report(), cells=(CELL, OTHER), releases=small_report().releases[:2])
WAITING = pending_cell("8.3.1", OLDER)


def after(report: Report, day: int, **changed: Any) -> Report:
    """Return the report of a later day, which knows the document of the one before, as a file has it."""
    previous = read_document(document(report), report.profile)
    return replace(report, made=f"2026-11-{day}T12:00:00Z", previous=previous, **changed)


def news(report: Report) -> list[tuple[str, str, str]]:
    """Return the changes that a report found itself."""
    return [(each.kind, each.before, each.after) for each in history(report).changes if each.at == report.made]


def test_an_image_that_is_found_again_is_not_published_again() -> None:
    lost = after(REPORT, 22, cells=(replace(CELL, verdict="failed", digest=""), OTHER))
    still = after(lost, 23)
    back = after(still, 24, cells=(CELL, OTHER))
    assert [news(each) for each in (lost, still, back)] == [
        [("verdict", "passed", "failed")],
        [],
        [("verdict", "failed", "passed")],
    ]
    other = after(still, 24, cells=(replace(CELL, digest=digest_of(9)), OTHER))
    assert ("published", CELL.digest, digest_of(9)) in news(other)
    assert history(after(back, 25)).remembered == {}


def test_a_first_verdict_of_a_planned_cell_is_no_new_cell() -> None:
    waiting = replace(REPORT, cells=(OTHER,), pending=(WAITING,))
    built = after(waiting, 22, cells=(CELL, OTHER), pending=())
    assert news(built) == [("verdict", "", "passed"), ("published", "", CELL.digest)]


def test_a_cell_that_the_plan_has_anew_is_new_before_it_is_built_and_not_again_afterwards() -> None:
    planned = after(replace(REPORT, cells=(OTHER,)), 22, pending=(WAITING,))
    assert history(planned).changes == (Change(planned.made, "cell-new", CELL.cell),)
    assert [kind for kind, _, _ in news(after(planned, 23, cells=(CELL, OTHER), pending=()))] == [
        "verdict",
        "published",
    ]
    assert news(after(planned, 23, pending=())) == [("cell-gone", "", "")]


def test_results_that_were_deleted_and_built_again_are_no_news() -> None:
    deleted = after(REPORT, 22, cells=(OTHER,), pending=(WAITING,))
    again = after(deleted, 23, cells=(replace(CELL, verdict="skipped"), OTHER), pending=())
    assert (news(deleted), news(again)) == ([], [])
    failed = after(deleted, 23, cells=(replace(CELL, verdict="failed", digest=""), OTHER), pending=())
    assert news(failed) == [("verdict", "passed", "failed")]


def test_a_cell_that_left_the_plan_and_comes_back_has_no_newly_published_image() -> None:
    gone = after(REPORT, 22, cells=(OTHER,))
    back = after(after(gone, 23), 24, cells=(CELL, OTHER))
    assert (news(gone), news(back)) == ([("cell-gone", "passed", "")], [("cell-new", "", "passed")])


def test_without_the_plan_nothing_is_new_or_gone() -> None:
    unknown = after(REPORT, 22, cells=(OTHER,), releases=REPORT.releases[1:], pending=None)
    known = after(unknown, 23, cells=(CELL, OTHER), releases=REPORT.releases, pending=())
    assert (news(unknown), news(known)) == ([], [])
    more = after(unknown, 23, cells=(CELL, OTHER, cell("9.0.0", OLDER, number=7)), pending=())
    assert news(more) == [("verdict", "", "passed"), ("published", "", digest_of(7))]


def test_a_document_of_before_the_plan_was_known_is_read() -> None:
    content = json.loads(document(replace(REPORT, cells=(OTHER,))))
    del content["pending"], content["remembered"]
    report = replace(REPORT, previous=read_document(json.dumps(content), "ocp"), pending=(WAITING,), cells=(OTHER,))
    assert history(report).changes == ()


def test_no_more_is_remembered_than_has_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_REMEMBERED", 1)
    assert list(history(after(REPORT, 22, cells=())).remembered) == [CELL.cell]


@pytest.mark.parametrize("member", ["pending", "remembered"])
def test_a_damaged_memory_is_refused(member: str) -> None:
    content = json.loads(document(REPORT))
    values: list[object] = [{}, [1], [{"cell": 1}], "x"]
    for damaged in values:
        with pytest.raises(ValueError, match=r"is no|missing"):
            read_document(json.dumps({**content, member: damaged}), "ocp")


def test_an_image_that_is_pushed_again_keeps_its_entry_in_the_feed() -> None:
    def entry_ids(report: Report) -> list[str]:
        return [line.strip() for line in feed(report).splitlines() if "<id>" in line]

    again = replace(REPORT, cells=(replace(CELL, pushed="2026-11-26T10:00:00Z"), OTHER))
    assert sorted(entry_ids(again)) == sorted(entry_ids(REPORT))
