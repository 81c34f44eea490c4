"""The state of a release, and the minutes to its last push, which are written once and never move."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kmatrix.decide.plan import Plan, Row, make_plan
from kmatrix.decide.release_times import Key, open_results, push_times, release_findings, release_results
from kmatrix.values.cells import CellResult, Finding
from kmatrix.values.lock import ProfileLock
from kmatrix.values.matrix import Exclude
from kmatrix.values.names import ReleaseVersion
from kmatrix.values.pins import ReleasePin, UnresolvedPin
from kmatrix.values.release_result import ReleaseResult
from tests.unit.support.made_up_profile import KERNELS, lock, profile

UNSEEN, FOUND = "2026-03-01T10:00:00Z", "2026-03-01T10:30:00Z"
FIRST, LAST, LATER = "2026-03-01T10:40:00Z", "2026-03-01T10:42:30Z", "2026-03-02T00:00:00Z"
NEW = KERNELS["el9"][0]


def pin(**changes: Any) -> ReleasePin:
    """The release in the middle, as discovery found it."""
    found: ReleasePin = lock(profile()).releases[1].model_copy(update={"unseen": UNSEEN, "found": FOUND, **changes})
    return found


def lock_with(own: ReleasePin) -> ProfileLock:
    pins = lock(profile())
    return pins.model_copy(update={"releases": (pins.releases[0], own, pins.releases[2])})


def rows() -> list[Row]:
    return list(make_plan("site", profile(), lock(profile())).rows)


CELLS = [row.id for row in rows() if NEW in row.releases]


def released(
    pushed: dict[str, str],
    earlier: tuple[ReleaseResult, ...] = (),
    findings: dict[Key, tuple[Finding, ...]] | None = None,
    own: ReleasePin | None = None,
) -> ReleaseResult:
    """The new release after a run."""
    results = release_results(rows(), lock_with(own or pin()), findings or {}, pushed, earlier)
    return next(result for result in results if result.version == NEW)


def test_a_release_is_published_when_the_last_of_its_cells_is_pushed() -> None:
    assert len(CELLS) == 2
    half = released({CELLS[0]: FIRST})
    assert (half.state, half.published, half.minutes_from_discovery) == ("incomplete", "", None)
    done = released({CELLS[0]: FIRST, CELLS[1]: LAST}, (half,))
    assert done == ReleaseResult(
        version=NEW,
        arch="x86_64",
        state="published",
        streams=("el9",),
        kernels=(KERNELS["el9"][2],),
        unseen=UNSEEN,
        found=FOUND,
        published=LAST,
        minutes_from_appearance=42.5,
        minutes_from_discovery=12.5,
    )


def test_a_later_push_moves_no_time_that_is_written() -> None:
    done = released({CELLS[0]: FIRST, CELLS[1]: LAST})
    assert released({CELLS[0]: LATER, CELLS[1]: LATER}, (done,)) == done
    lost = released({CELLS[0]: LATER}, (done,))
    assert lost == replace(done, state="incomplete")
    assert released({CELLS[0]: LATER, CELLS[1]: LATER}, (lost,)) == done


def test_a_time_that_one_shard_wrote_stays_whatever_others_know() -> None:
    """A shard that has none of its cells knows the release as incomplete; one may have seen a later push."""
    done = released({CELLS[0]: FIRST, CELLS[1]: LAST})
    other, later = released({}), released(dict.fromkeys(CELLS, LATER))
    for earlier in ((done, other), (other, done), (done, later), (later, done)):
        assert released(dict.fromkeys(CELLS, LATER), earlier) == done


def test_a_time_that_is_not_known_is_not_made_up() -> None:
    unknown = released({CELLS[0]: "", CELLS[1]: LAST})
    assert (unknown.state, unknown.published, unknown.minutes_from_appearance) == ("published", "", None)
    pushed_again = released({CELLS[0]: LATER, CELLS[1]: LATER}, (unknown,))
    assert pushed_again == unknown
    first = released({CELLS[0]: FIRST, CELLS[1]: LAST}, own=pin(unseen=None, found=None))
    assert (first.published, first.minutes_from_appearance, first.minutes_from_discovery) == (LAST, None, None)


def test_a_release_whose_kernels_were_published_before_it_took_no_time() -> None:
    done = released(dict.fromkeys(CELLS, "2026-02-01T00:00:00Z"))
    assert (done.minutes_from_appearance, done.minutes_from_discovery) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("code", "state"), [("release-unresolved", "unresolved"), ("toolkit-kernel-mismatch", "mismatch")]
)
def test_a_release_with_a_finding_is_not_published(code: str, state: str) -> None:
    finding = Finding("release", code, "no", "a", "b")
    found = released(dict.fromkeys(CELLS, FIRST), findings={(NEW, "x86_64"): (finding,)})
    assert (found.state, found.findings, found.published) == (state, (finding,), "")


def test_a_release_without_cells_is_listed_only_with_a_finding() -> None:
    pins = lock_with(pin())
    assert release_results([], pins, {}, {}) == ()
    finding = Finding("release", "release-unresolved", "no")
    (only,) = release_results([], pins, {(NEW, "x86_64"): (finding,)}, {})
    assert (only.version, only.state, only.kernels) == (NEW, "unresolved", ())


def test_releases_stand_in_their_order() -> None:
    results = release_results(reversed(rows()), lock_with(pin()), {}, {})
    assert [result.version for result in results] == [version for version, _, _ in KERNELS.values()]


def test_a_cell_counts_as_pushed_only_with_every_gate_passed() -> None:
    result = CellResult("c", "8.3.1", "k", (NEW,), "passed", "", digest="sha256:1", pushed=LAST)
    result = replace(result, gates={"static": "passed", "boot": "passed"}, gates_at={"static": UNSEEN, "boot": FIRST})
    gates = ("static", "boot")
    assert push_times([result], gates) == {"c": LAST}
    assert push_times([replace(result, pushed="")], gates) == {"c": FIRST}, "the last gate of its record"
    assert push_times([replace(result, pushed="", gates_at={})], gates) == {"c": ""}
    assert push_times([replace(result, gates={**result.gates, "boot": "failed"})], gates) == {}
    assert push_times([result], (*gates, "mount")) == {}
    assert push_times([replace(result, digest="")], gates) == {}


NODE = "5.14.0-427.99.1.el9_4.x86_64"
UNRESOLVED = UnresolvedPin(
    version=ReleaseVersion.parse("4.22.2"),
    arch="x86_64",
    channels=("stable-4.22",),
    payload=lock(profile()).releases[0].payload,
    obstacle="malformed",
    reason="its payload has no image-references",
    since="2026-03-01",
)


def faulty_plan(*excluded: str) -> tuple[Plan, ProfileLock]:
    """A plan with one release whose toolkit lacks its nodes' kernel, and an unresolved one."""
    pins = lock_with(pin(node_kernel=NODE)).model_copy(update={"unresolved": (UNRESOLVED,)})
    excludes = tuple(Exclude(release=release, reason="known") for release in excluded)
    return make_plan("site", profile(excludes=excludes), pins), pins


def test_a_release_without_its_nodes_kernel_has_a_finding_and_open_cells() -> None:
    plan, pins = faulty_plan()
    findings = release_findings(plan.open)
    (mismatch,) = findings[NEW, "x86_64"]
    assert (mismatch.code, mismatch.expected, mismatch.actual) == ("toolkit-kernel-mismatch", NODE, KERNELS["el9"][2])
    (unresolved,) = findings["4.22.2", "x86_64"]
    assert (unresolved.code, unresolved.expected) == ("release-unresolved", "")
    assert UNRESOLVED.reason in unresolved.message
    opened = open_results(plan.rows, plan.open)
    assert [result.cell for result in opened] == [f"7.4.6-{NODE}", f"8.2.2-{NODE}"]
    for result in opened:
        assert (result.verdict, result.releases, result.findings) == ("errored", (NEW,), (mismatch,))
        assert result.reason
        assert result.next_step
    states = {result.version: result.state for result in release_results(plan.rows, pins, findings, {})}
    assert states == {"4.12.3": "incomplete", NEW: "mismatch", "4.22.1": "incomplete", "4.22.2": "unresolved"}


def test_an_exclude_silences_a_faulty_release() -> None:
    plan, pins = faulty_plan(NEW, "4.22.2")
    assert release_findings(plan.open) == {}
    assert open_results(plan.rows, plan.open) == ()
    rows = [row for row in plan.rows if row.state != "out"]
    assert [result.version for result in release_results(rows, pins, {}, {})] == ["4.12.3", "4.22.1"]
